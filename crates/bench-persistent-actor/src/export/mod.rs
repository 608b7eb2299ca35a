//! The files that a run writes.

pub mod csv;
pub mod json;
pub mod timeline;

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// A file that will be written anew; opened before the run, emptied when writing begins.
#[derive(Debug)]
pub struct OutputFile {
    file: File,
    path: PathBuf,
}

/// An output file cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The system refused to open it.
    #[error("cannot write this file: {0}; expected a file in an existing, writable directory")]
    Open(#[source] io::Error),
}

impl OutputFile {
    /// Opens a file for writing and leaves its content alone for now.
    ///
    /// # Errors
    /// [`OutputError::Open`]
    pub fn open(path: &Path) -> Result<Self, OutputError> {
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(path)
            .map_err(OutputError::Open)?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Empties the file for writing from its start.
    ///
    /// # Errors
    /// What the system said.
    pub fn begin(self) -> io::Result<File> {
        // A pipe or a device cannot be cut to a length, and need not be.
        if self.file.metadata()?.is_file() {
            self.file.set_len(0)?;
        }
        Ok(self.file)
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
