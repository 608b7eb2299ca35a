//! What an opener does before it writes: refuses what is no state, and reads what is committed.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use super::disk::{Disk, Listing};
use super::failure::{Failure, ReadError};
use super::names::FileName;
use super::reading::Reading;
use super::recovery::{self, Recovered, Survey};
use super::segment::Purpose;
use super::slots::Slots;
use crate::durability::Durability;
use crate::error::OpenError;
use crate::options::Options;

/// Whether slots of incarnations that have ended are written anew. Not where what lies in a slot may
/// have been passed on, and is read there by whoever has it.
pub(super) fn takes_over_slots(options: &Options) -> bool {
    options.durability == Durability::Power || options.in_place.0.is_none()
}

/// Refuses what can be refused before another writer is fenced.
///
/// Gives the names of all files.
pub(super) fn refuse_early(
    disk: &Disk,
    path: &Path,
    options: &Options,
) -> Result<Listing, OpenError> {
    let read_error = |error: ReadError| error.into_open_error(path);
    let listing = disk.list().map_err(|failure| read_error(failure.into()))?;
    match recovery::survey(&listing).map_err(read_error)? {
        Survey::Foreign(found) => {
            return Err(OpenError::NotAState { path: path.to_owned(), found });
        }
        Survey::Nothing if !options.create => {
            return Err(OpenError::NotFound { path: path.to_owned() });
        }
        Survey::Nothing => {}
        Survey::State(head) => match recovery::read_header(disk, Purpose::State, head, true) {
            // Damage is told after another look, under our claim; what is missing may have moved.
            Err(ReadError::Damaged { .. }) | Ok(_) => {}
            Err(ReadError::Io(failure)) if failure.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(read_error(error)),
        },
    }
    Ok(listing)
}

/// Makes durable what an incarnation at a lower level has left.
pub(super) fn sync_inherited(disk: &Disk, slots: &Slots) -> Result<(), Failure> {
    match disk.open(FileName::Identity) {
        Err(failure) if failure.kind() == ErrorKind::NotFound => {}
        file => disk.sync(&file?)?,
    }
    disk.sync_own_name()?;
    slots.sync_adopted(disk)
}

/// Reads the state under our claim, `None` if there is none; also gives the names of all files.
pub(super) fn recover(
    disk: &Disk,
    options: &Options,
) -> Result<(Option<Recovered>, Vec<FileName>), ReadError> {
    let attempts: u32 = if options.patient { 5 } else { 1 };
    let reading = Reading {
        verify: options.switches.checksum,
        redo: options.switches.redo,
        trusted_run: options.trusted_run,
        chain: options.chain.clone(),
        in_place: options.in_place.clone(),
        slots_are_kept: !takes_over_slots(options),
    };
    let mut attempt: u32 = 0;
    loop {
        let listing = disk.list()?;
        let has_identity = listing.names.contains(&FileName::Identity);
        let Survey::State(head) = recovery::survey(&listing)? else {
            return Ok((None, listing.names));
        };
        match recovery::read(disk, head, has_identity, &reading) {
            Ok(recovered) => return Ok((Some(recovered), listing.names)),
            // An older incarnation may be in the middle of its last write.
            Err(ReadError::Damaged { .. } | ReadError::GroupMissing { .. })
                if attempt + 1 < attempts =>
            {
                attempt += 1;
                std::thread::sleep(Duration::from_millis(u64::from(attempt)));
            }
            Err(error) => return Err(error),
        }
    }
}
