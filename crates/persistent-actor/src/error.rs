//! What can go wrong, one enum per operation.
//!
//! Not found, unreadable, damaged and fenced are different things: none of them is ever treated
//! as "no state yet".

use std::io;
use std::path::PathBuf;

use crate::codec::CodecError;

/// A state could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no state at this path, and none was to be made.
    #[error("no state at {}: nothing was ever saved there", path.display())]
    NotFound {
        /// The state directory.
        path: PathBuf,
    },
    /// The operating system refused an operation.
    #[error("cannot {operation} {}: {source}", path.display())]
    Unreadable {
        /// What was tried, as a verb: `open`, `read`.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not what was once written. Its bytes are left as they are.
    #[error(
        "{} is damaged at byte {offset}: {reason}; nothing was changed, keep a copy before any \
         repair",
        path.display()
    )]
    Damaged {
        /// The damaged file.
        path: PathBuf,
        /// Where, in bytes from its start.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// The state was written by a newer version.
    #[error("{} has format version {found}; this program reads versions up to {supported}", path.display())]
    NewerVersion {
        /// The file that says so.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest that can be read.
        supported: u32,
    },
    /// The newest commits of the state are durable only through a group journal that is not there.
    #[error(
        "{} needs the group journal {run}, which is not in {}: its newest commits may be only \
         there; bring both directories together again, or repair the state from what is left",
        state.display(),
        path.display()
    )]
    GroupJournalMissing {
        /// The state directory.
        state: PathBuf,
        /// Where the group journal should be.
        path: PathBuf,
        /// Which one.
        run: String,
    },
    /// Others could read or change the state.
    #[error("{} is not private ({reason}); allow access to its owner only", path.display())]
    NotPrivate {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The directory is used for something else.
    #[error(
        "{} is not a state directory: it holds {found:?}; name one that is empty or does not \
         exist yet",
        path.display()
    )]
    NotAState {
        /// The directory.
        path: PathBuf,
        /// A file in it that belongs to no state.
        found: String,
    },
    /// A committed value does not fit the type that wants to load it.
    #[error("attribute {attribute:?} cannot be loaded")]
    Attribute {
        /// The attribute's name.
        attribute: String,
        /// Why.
        source: CodecError,
    },
    /// The actor has an attribute whose name is one of the library's own.
    #[error("attribute {attribute:?}: names that begin with a NUL character are reserved")]
    ReservedAttribute {
        /// The attribute's name.
        attribute: String,
    },
    /// The first commit of a new state failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A commit failed. The store refuses everything after it; reopen the state.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A newer incarnation of the actor has taken the state over.
    #[error("fenced: epoch {epoch} of {} was superseded by a newer one", path.display())]
    Fenced {
        /// The epoch of the store that was told so.
        epoch: u64,
        /// The state.
        path: PathBuf,
    },
    /// Writing or syncing failed; what is on disk is known only after reopening.
    #[error("cannot {operation} {}: {reason}; the state must be reopened", path.display())]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// An earlier operation failed.
    #[error("the state was given up after an earlier failure ({first}); reopen it")]
    Poisoned {
        /// The first failure.
        first: String,
    },
    /// Memory could not go back to the last commit: a committed value does not load into the
    /// type that it came from.
    #[error("the committed value of attribute {attribute:?} does not load: {reason}")]
    Unloadable {
        /// The attribute's name, or the actor's type if that could not be made anew.
        attribute: String,
        /// What the codec said.
        reason: String,
    },
    /// A value is too large to be stored.
    #[error("{what} has {size} bytes; at most {limit} can be stored")]
    TooLarge {
        /// What is too large.
        what: String,
        /// Its size in bytes.
        size: u64,
        /// The bound in bytes.
        limit: u64,
    },
    /// The name is one of the library's own. Nothing was written; the state goes on.
    #[error("attribute {attribute:?}: names that begin with a NUL character are reserved")]
    Reserved {
        /// The attribute's name.
        attribute: String,
    },
}

/// An attribute could not be read or saved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The value could not be encoded, or is of another type.
    #[error("attribute {attribute:?}")]
    Value {
        /// The attribute's name.
        attribute: String,
        /// Why.
        source: CodecError,
    },
    /// The name is one of the library's own.
    #[error("attribute {attribute:?}: names that begin with a NUL character are reserved")]
    Reserved {
        /// The attribute's name.
        attribute: String,
    },
    /// The commit failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
