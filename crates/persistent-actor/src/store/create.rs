//! [`create`]: a new state that starts with a given content.

use std::io;
use std::path::Path;

use super::disk::Disk;
use super::failure::{Failure, ReadError};
use super::fence::Claim;
use super::file::{FileStore, Stop, new_state_id};
use super::names::FileName;
use super::patches::Plan;
use super::slots::{Slots, Target};
use super::storage::open_storage;
use super::{CallRecord, Record, View};
use crate::error::{OpenError, StoreError};
use crate::options::Options;

/// Makes a state at `path` that holds `view`: its attributes, its calls and its sequence number.
/// Nothing is there yet, or an empty directory, or an empty file, which then becomes the state.
/// It survives power loss before this returns.
///
/// Its first epoch lies above `after_epoch`. Its id is `state_id`, or a new one.
///
/// This is for tools that copy a state. When it fails, or the machine stops, an incomplete
/// state may be left: make it beside the place where it belongs, and rename it.
///
/// # Errors
/// See [`OpenError`]; [`OpenError::Unreadable`] if there is anything else.
pub fn create(
    path: &Path,
    view: &View,
    after_epoch: u64,
    state_id: Option<u128>,
) -> Result<(), OpenError> {
    if let Err(reason) = view.check() {
        let source = io::Error::new(io::ErrorKind::InvalidInput, reason);
        return Err(OpenError::Unreadable { operation: "create", path: path.to_owned(), source });
    }
    let options = Options::default();
    let disk = Disk::new(open_storage(path, true, true)?, true);
    let io_error = |failure: Failure| ReadError::from(failure).into_open_error(path);
    let listing = disk.list().map_err(io_error)?;
    if !listing.names.is_empty() || listing.foreign.is_some() {
        let source = io::Error::new(io::ErrorKind::AlreadyExists, "it is not empty");
        return Err(OpenError::Unreadable { operation: "create", path: path.to_owned(), source });
    }
    let state_id = match state_id {
        Some(id) => id,
        None => new_state_id(path)?,
    };
    if after_epoch > 0 {
        // A claim is all it takes to make the next one higher.
        disk.create(FileName::Claim(after_epoch)).map_err(io_error)?;
    }
    let listing = disk.list().map_err(io_error)?;
    let claim = Claim::take(&disk, listing, options.switches).map_err(io_error)?;
    let fenced = |epoch| StoreError::Fenced { epoch, path: path.to_owned() };
    let claim = claim.ok_or_else(|| fenced(after_epoch))?;
    let epoch = claim.epoch;
    let target = Target { disk: &disk, state_id, epoch };
    let slots = write_slots(&target, view).map_err(io_error)?;
    let store = FileStore::start(path, disk, claim, state_id, slots, view, &[], &options);
    let created = store.and_then(|mut store| store.complete());
    created.map(drop).map_err(|stop: Stop| stop.into_store_error(path, epoch).into())
}

/// Writes everything large in `view`.
fn write_slots(target: &Target<'_>, view: &View) -> Result<Slots, Failure> {
    let (mut slots, nothing) = (Slots::default(), Plan::new());
    let changes = view.attributes.iter().map(|(name, value)| (name.clone(), value.clone()));
    let attributes = Record { sequence: view.sequence, call: None, changes: changes.collect() };
    slots.write(target, &attributes, &View::default(), &nothing)?;
    slots.committed(&attributes, &nothing);
    for (session, calls) in view.ledger.sessions() {
        for (&sequence, entry) in &calls.calls {
            let call = CallRecord {
                id: crate::call::CallId { session, sequence },
                acked_below: 0,
                digest: entry.digest,
                at_ms: entry.at_ms,
                reply: entry.reply.clone(),
            };
            let changes = Vec::new();
            let record = Record { sequence: entry.commit, call: Some(call), changes };
            slots.write(target, &record, view, &nothing)?;
            slots.committed(&record, &nothing);
        }
    }
    Ok(slots)
}
