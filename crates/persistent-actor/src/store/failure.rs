//! What can go wrong below [`FileStore`](super::FileStore), before it is told to the user.

use std::io;
use std::path::Path;

use super::names::FileName;
use crate::error::{OpenError, StoreError};

/// An operation on a file that the system refused.
#[derive(Debug)]
pub(crate) struct Failure {
    operation: &'static str,
    /// The file's name; empty for the directory itself.
    name: String,
    source: io::Error,
}

impl Failure {
    pub(crate) fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    pub(crate) fn into_store_error(self, dir: &Path) -> StoreError {
        let Self { operation, name, source } = self;
        StoreError::Io { operation, path: join(dir, &name), reason: source.to_string() }
    }
}

fn join(dir: &Path, name: &str) -> std::path::PathBuf {
    if name.is_empty() { dir.to_owned() } else { dir.join(name) }
}

/// Adds what was tried on which file to an error.
pub(crate) trait Context<T> {
    fn context(self, operation: &'static str, name: FileName) -> Result<T, Failure>;
    fn context_dir(self, operation: &'static str) -> Result<T, Failure>;
    /// For a directory beside that of the state.
    fn context_beside(self, operation: &'static str, name: &str) -> Result<T, Failure>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, operation: &'static str, name: FileName) -> Result<T, Failure> {
        self.map_err(|source| Failure { operation, name: name.to_string(), source })
    }

    fn context_dir(self, operation: &'static str) -> Result<T, Failure> {
        self.map_err(|source| Failure { operation, name: String::new(), source })
    }

    fn context_beside(self, operation: &'static str, name: &str) -> Result<T, Failure> {
        self.map_err(|source| Failure { operation, name: format!("../{name}"), source })
    }
}

/// A state could not be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    Io(Failure),
    Damaged {
        name: FileName,
        offset: u64,
        reason: String,
    },
    Newer {
        name: FileName,
        found: u32,
    },
    /// The same of the group journal beside the state.
    Group(Box<ReadError>),
    /// The state needs a group journal that is not there.
    GroupMissing {
        run: u128,
    },
}

impl ReadError {
    pub(crate) fn damaged(name: FileName, offset: u64, reason: impl Into<String>) -> Self {
        Self::Damaged { name, offset, reason: reason.into() }
    }

    pub(crate) fn into_open_error(self, dir: &Path) -> OpenError {
        match self {
            Self::Io(Failure { operation, name, source }) => {
                OpenError::Unreadable { operation, path: join(dir, &name), source }
            }
            Self::Damaged { name, offset, reason } => {
                OpenError::Damaged { path: dir.join(name.to_string()), offset, reason }
            }
            Self::Newer { name, found } => OpenError::NewerVersion {
                path: dir.join(name.to_string()),
                found,
                supported: match name {
                    FileName::Journal(_) => super::segment::GROUPED_VERSION,
                    _ => super::FORMAT_VERSION,
                },
            },
            Self::Group(error) => error.into_open_error(&group_path(dir)),
            Self::GroupMissing { run } => OpenError::GroupJournalMissing {
                state: dir.to_owned(),
                path: group_path(dir),
                run: format!("{run:032x}"),
            },
        }
    }
}

/// Where the group journal of the state in `dir` lies.
fn group_path(dir: &Path) -> std::path::PathBuf {
    dir.parent().unwrap_or(Path::new("")).join(super::group::DIRECTORY)
}

impl From<Failure> for ReadError {
    fn from(failure: Failure) -> Self {
        Self::Io(failure)
    }
}
