//! Makes the states whole that need a group journal which is to go.

use std::collections::HashMap;
use std::sync::Arc;

use super::DIRECTORY;
use super::chain::Chain;
use super::head::Head;
use crate::error::OpenError;
use crate::options::Options;
use crate::store::disk::Disk;
use crate::store::failure::{Failure, ReadError};
use crate::store::file::FileStore;
use crate::store::names::FileName;
use crate::store::storage::StateRoot;

/// A directory that a file system may have in its uppermost one, and that only root may open.
const LOST_AND_FOUND: &str = "lost+found";

/// Makes the states whole that need a group journal which is to go.
pub(super) struct Resolver<'a> {
    root: &'a dyn StateRoot,
    group: &'a Disk,
    options: &'a Options,
    chains: HashMap<u128, Known>,
}

/// What is done with a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Care {
    /// Nothing: it needs no group journal.
    Skip,
    /// It is opened if it says that it needs a group journal. That gives it a journal of its own with
    /// all that is committed.
    Needy,
    /// The same. If it does not say so, it must not do so after a power loss either: what is not
    /// surely durable of that is synced.
    Synced,
    /// The same, and it is written anew before: an earlier sync may have failed, and then another
    /// one proves nothing. All who wrote to the states have ended.
    Written,
}

/// The group journal of a run.
enum Known {
    Chain(Arc<Chain>),
    Missing,
    Unreadable,
}

impl<'a> Resolver<'a> {
    /// For the states in `root`, whose group journals are in `group`.
    pub(super) fn new(root: &'a dyn StateRoot, group: &'a Disk, options: &'a Options) -> Self {
        Self { root, group, options, chains: HashMap::new() }
    }

    /// Makes all states whole; `false` if one could not be: then the group journals must stay.
    pub(super) fn resolve(mut self, care: impl Fn(&str) -> Care) -> Result<bool, OpenError> {
        let path = self.root.path(DIRECTORY);
        let io_error = |failure: Failure| ReadError::from(failure).into_open_error(&path);
        let names = self.group.list().map_err(io_error)?.names;
        if !names.iter().any(|name| matches!(name, FileName::Journal(_))) {
            return Ok(true);
        }
        let states = self.root.states().map_err(|source| OpenError::Unreadable {
            operation: "list",
            path: self.root.path(""),
            source,
        })?;
        let mut resolved = true;
        for name in states {
            resolved &= self.one(&name, care(&name));
        }
        Ok(resolved)
    }

    fn one(&mut self, name: &str, care: Care) -> bool {
        if care == Care::Skip {
            return true;
        }
        let Ok(storage) = self.root.open(name, false) else { return name == LOST_AND_FOUND };
        let disk = Disk::new(storage, self.options.switches.sync);
        let head = match Head::find(&disk) {
            Ok(Some(head)) => head,
            Ok(None) => return true,
            Err(_) => return false,
        };
        let chain = match head.grouped() {
            None if is_confirmed(&head, &disk, care) => return true,
            None => None,
            Some(grouped) => match self.known(grouped.member.run) {
                Known::Chain(chain) => Some(Arc::clone(chain)),
                // To keep the others does not make this state whole.
                Known::Missing => return true,
                Known::Unreadable => return false,
            },
        };
        let options = self.options.clone().chain(chain);
        let Ok(storage) = self.root.open(name, false) else { return false };
        FileStore::open_on(storage, &self.root.path(name), &options).is_ok()
    }

    fn known(&mut self, run: u128) -> &Known {
        let (group, verify) = (self.group, self.options.switches.checksum);
        self.chains.entry(run).or_insert_with(|| match Chain::find(group, run, verify) {
            Ok(Some(chain)) => Known::Chain(Arc::new(chain)),
            Ok(None) => Known::Missing,
            Err(_) => Known::Unreadable,
        })
    }
}

/// Whether it is made sure, as far as that is wanted, that a state does not need a group journal.
fn is_confirmed(head: &Head, disk: &Disk, care: Care) -> bool {
    let confirmed = match care {
        Care::Skip | Care::Needy => Ok(true),
        Care::Synced => head.confirm(disk),
        Care::Written => head.confirm_anew(disk),
    };
    confirmed.unwrap_or(false)
}
