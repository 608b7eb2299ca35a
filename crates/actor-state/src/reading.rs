//! A state as it was read, and what all commands want to know of it.

use std::fs;
use std::path::{Path, PathBuf};

use persistent_actor::store::{Inspection, inspect};
use persistent_actor::{Encoded, Intents};

use crate::cbor::{self, Item, Malformed, NoTree};
use crate::cli::RootArg;
use crate::error::Error;
use crate::holder::Holder;
use crate::locate::state_path;
use crate::output::show_name;

/// A state that was read.
pub(crate) struct Reading {
    pub(crate) path: PathBuf,
    pub(crate) state: Inspection,
}

impl Reading {
    /// Reads the state that was named on the command line.
    pub(crate) fn named(state: &Path, root: &RootArg) -> Result<Self, Error> {
        Self::of(&state_path(state, root)?)
    }

    pub(crate) fn of(path: &Path) -> Result<Self, Error> {
        refuse_link(path)?;
        Ok(Self { path: path.to_owned(), state: inspect(path)? })
    }

    pub(crate) fn holder(&self) -> Option<Holder> {
        Holder::from_claim(&self.state.holder)
    }

    pub(crate) fn disk_bytes(&self) -> u64 {
        self.state.files.iter().map(|file| file.size).sum()
    }

    /// The value of an attribute that must be there.
    pub(crate) fn attribute(&self, name: &str) -> Result<&Encoded, Error> {
        let mut attributes = self.state.view.named_attributes();
        attributes.find(|(found, _)| *found == name).map(|(_, value)| value).ok_or_else(|| {
            let attributes = || self.state.view.named_attributes();
            let mut known: Vec<String> =
                attributes().take(10).map(|(name, _)| show_name(name)).collect();
            if attributes().count() > known.len() {
                known.push("…".to_owned());
            }
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let path = self.path.display();
            Error::Refused(format!("{path} has no attribute {name:?}; its attributes: {known}"))
        })
    }

    /// Calls that the actor died of.
    pub(crate) fn intents(&self) -> Result<Intents, Error> {
        self.state.view.intents().map_err(|error| {
            let path = self.path.display();
            Error::Refused(format!("{path}: what it holds of parked calls cannot be read: {error}"))
        })
    }

    /// An attribute as a tree.
    pub(crate) fn parse<'a>(&self, name: &str, value: &'a Encoded) -> Result<Item<'a>, Error> {
        cbor::parse(value).map_err(|error| match error {
            NoTree::Malformed(source) => self.malformed(name, source),
            NoTree::TooMany { .. } => Error::Refused(format!(
                "{}: attribute {name:?} is too long to be shown or printed as JSON: it has {error}; \
                 --raw prints its bytes, which are CBOR",
                self.path.display()
            )),
        })
    }

    /// An attribute that is not what it should be.
    pub(crate) fn malformed(&self, attribute: &str, source: Malformed) -> Error {
        Error::Value { path: self.path.clone(), attribute: attribute.to_owned(), source }
    }
}

/// The running process that holds the state at `path`, read from its claim alone: for states that
/// may be damaged. `None` if nobody does.
pub(crate) fn living_holder(path: &Path) -> Result<Option<Holder>, Error> {
    refuse_link(path)?;
    let claim = persistent_actor::store::last_holder(path)?;
    Ok(Holder::from_claim(&claim).filter(|holder| holder.alive))
}

/// Links are not followed; the system's own message for that says something else.
fn refuse_link(path: &Path) -> Result<(), Error> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_symlink() => {
            let path = path.display();
            Err(Error::Refused(format!(
                "{path} is a symbolic link, which is not followed; expected the path that it leads to"
            )))
        }
        _ => Ok(()),
    }
}

/// Refuses a state that a running process holds.
pub(crate) fn refuse_if_held(path: &Path, what_to_do: &str) -> Result<(), Error> {
    let Some(holder) = living_holder(path)? else { return Ok(()) };
    let (path, pid) = (path.display(), holder.pid);
    Err(Error::Refused(format!("{path} is in use by process {pid}; {what_to_do}")))
}
