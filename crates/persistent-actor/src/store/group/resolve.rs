//! Makes the states whole that need a group journal which is to go.

use std::collections::HashMap;
use std::sync::Arc;

use super::DIRECTORY;
use super::chain::Chain;
use crate::error::OpenError;
use crate::options::Options;
use crate::store::disk::Disk;
use crate::store::failure::{Failure, ReadError};
use crate::store::file::FileStore;
use crate::store::names::FileName;
use crate::store::recovery::{self, Survey};
use crate::store::segment::{Grouped, Purpose};
use crate::store::storage::StateRoot;

/// Opens every state that says that it needs a group journal, which gives it a journal of its own
/// with all that is committed. `false` if one could not be: then the group journals must stay.
pub(super) fn all(
    root: &dyn StateRoot,
    group: &Disk,
    options: &Options,
) -> Result<bool, OpenError> {
    let path = root.path(DIRECTORY);
    let io_error = |failure: Failure| ReadError::from(failure).into_open_error(&path);
    let names = group.list().map_err(io_error)?.names;
    if !names.iter().any(|name| matches!(name, FileName::Journal(_))) {
        return Ok(true);
    }
    let states = root.states().map_err(|source| OpenError::Unreadable {
        operation: "list",
        path: root.path(""),
        source,
    })?;
    let mut chains = HashMap::new();
    let mut resolved = true;
    for name in states {
        resolved &= one(root, &name, group, options, &mut chains);
    }
    Ok(resolved)
}

/// The group journal of a run.
enum Known {
    Chain(Arc<Chain>),
    Missing,
    Unreadable,
}

fn one(
    root: &dyn StateRoot,
    name: &str,
    group: &Disk,
    options: &Options,
    chains: &mut HashMap<u128, Known>,
) -> bool {
    let Ok(storage) = root.open(name, false) else { return false };
    let grouped = match grouped(&Disk::new(storage, false)) {
        Ok(Some(grouped)) => grouped,
        Ok(None) => return true,
        Err(_) => return false,
    };
    let run = grouped.member.run;
    let known = chains.entry(run).or_insert_with(|| {
        match Chain::find(group, run, options.switches.checksum) {
            Ok(Some(chain)) => Known::Chain(Arc::new(chain)),
            Ok(None) => Known::Missing,
            Err(_) => Known::Unreadable,
        }
    });
    let chain = match known {
        Known::Chain(chain) => chain,
        // To keep the others does not make this state whole.
        Known::Missing => return true,
        Known::Unreadable => return false,
    };
    let options = options.clone().chain(Some(Arc::clone(chain)));
    let Ok(storage) = root.open(name, false) else { return false };
    FileStore::open_on(storage, &root.path(name), &options).is_ok()
}

/// What the newest journal of a state says of a group.
fn grouped(disk: &Disk) -> Result<Option<Grouped>, ReadError> {
    match recovery::survey(&disk.list()?)? {
        Survey::State(head) => {
            let header = recovery::read_header(disk, Purpose::State, head, true)?;
            Ok(header.grouped)
        }
        Survey::Nothing | Survey::Foreign(_) => Ok(None),
    }
}
