//! Why a command could not do what it was asked to.

use std::io;
use std::path::PathBuf;

use persistent_actor::OpenError;

use crate::cbor::Malformed;

/// Damage or a difference was found, or a call was not committed.
pub(crate) const FOUND: u8 = 1;
/// The command could not be carried out.
pub(crate) const FAILED: u8 = 2;
/// Whether a call was committed cannot be told any more.
pub(crate) const FORGOTTEN: u8 = 3;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("cannot {operation} {}: {source}", path.display())]
    Io { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("{}: attribute {attribute:?} is {source}", path.display())]
    Value { path: PathBuf, attribute: String, source: Malformed },
    #[error("cannot write to standard output: {0}")]
    Output(#[source] io::Error),
    /// What was asked for cannot be done; says why, and what could.
    #[error("{0}")]
    Refused(String),
}

impl Error {
    /// For `map_err`.
    pub(crate) fn io(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { operation, path, source }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Open(OpenError::Damaged { .. }) | Self::Value { .. } => FOUND,
            _ => FAILED,
        }
    }

    /// What the user can do about it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Open(OpenError::Damaged { .. }) => Some(
                "`actor-state verify` lists all damage, `actor-state repair` keeps what can be read",
            ),
            _ => None,
        }
    }
}
