//! [`Keeper`]: what has time: syncing the states, and zeroing the next file.

use std::io::ErrorKind;

use super::{GroupJournal, Member, forsaken};
use crate::error::{OpenError, StoreError};
use crate::store::disk::Disk;
use crate::store::failure::Failure;
use crate::store::names::{FileId, FileName};
use crate::store::segment::Spare;

/// How much is zeroed, and synced, at a time. Bytes.
const STEP: u64 = 1024 * 1024;

pub(super) struct Keeper {
    disk: Disk,
    epoch: u64,
    spare: Option<Spare>,
    next_spare: u32,
    /// The full file whose entries are to become durable in the states.
    pub(super) due: Option<u32>,
    /// What a sync of a state failed with, if one did. A sync that failed is never tried again: the
    /// second one may succeed without having written what the first one lost.
    failed: Option<String>,
}

impl Keeper {
    pub(super) fn new(disk: Disk, epoch: u64) -> Self {
        Self { disk, epoch, spare: None, next_spare: u32::MAX, due: None, failed: None }
    }

    pub(super) fn has_spare(&self) -> bool {
        self.spare.is_some()
    }

    pub(super) fn take_spare(&mut self) -> Option<Spare> {
        self.spare.take()
    }

    pub(super) fn give(&mut self, spare: Option<Spare>) {
        self.spare = spare.or(self.spare.take());
    }

    /// Syncs of states; after one that failed, none.
    fn unless_failed(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if let Some(first) = &self.failed {
            return Err(StoreError::Poisoned { first: first.clone() });
        }
        let done = work(self);
        self.failed = done.as_ref().err().map(StoreError::to_string);
        done
    }

    /// Syncs the journals of all states with entries in the file that is due.
    pub(super) fn sync_states(&mut self, group: &GroupJournal) -> Result<(), StoreError> {
        self.unless_failed(|keeper| keeper.try_sync_states(group))
    }

    fn try_sync_states(&mut self, group: &GroupJournal) -> Result<(), StoreError> {
        let Some(file) = self.due else { return Ok(()) };
        // An entry in a newer file means nothing for those in this one.
        let states = group.members().with_entries_since(file);
        if group.options.switches.group_segments {
            for (state, segment) in states {
                sync_segment(group, &state, segment)?;
            }
        }
        self.due = None;
        Ok(())
    }

    /// Makes the state of one member whole that was forsaken, if there is one.
    pub(super) fn release_one(&mut self, group: &GroupJournal) -> Result<(), StoreError> {
        self.unless_failed(|_| {
            let next = group.members().next_forsaken();
            let Some((number, state, epoch)) = next else { return Ok(()) };
            let member = Member { run: group.run(), number };
            if forsaken::make_whole(group, &state, member, epoch)? {
                group.members().leave(number);
            }
            Ok(())
        })
    }

    /// Makes a spare of this size, all zeros and synced.
    pub(super) fn prepare_spare(&mut self, capacity: u64) -> Result<(), Failure> {
        let mut spare = match self.spare.take() {
            Some(spare) => spare,
            None => {
                // Numbers from above, so that none is that of a file which was used.
                let id = FileId { epoch: self.epoch, number: self.next_spare };
                self.next_spare -= 1;
                Spare::create(&self.disk, id)?
            }
        };
        while !spare.is_ready(capacity, true) {
            spare.step(&self.disk, capacity, STEP, true)?;
        }
        self.spare = Some(spare);
        Ok(())
    }
}

/// Syncs a state's journal. If it is not there any more, a newer one is, which was synced with all
/// that the older one said before that was removed.
fn sync_segment(group: &GroupJournal, state: &str, id: FileId) -> Result<(), StoreError> {
    let path = group.path(state);
    let storage = match group.root.open(state, false) {
        Err(OpenError::NotFound { .. }) => return Ok(()),
        Err(error) => {
            return Err(StoreError::Io { operation: "open", path, reason: error.to_string() });
        }
        Ok(storage) => storage,
    };
    let disk = Disk::new(storage, group.options.switches.sync);
    match disk.open(FileName::Journal(id)).and_then(|file| disk.sync(&file)) {
        Err(failure) if failure.kind() == ErrorKind::NotFound => Ok(()),
        other => other.map_err(|failure| failure.into_store_error(&path)),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::PoisonError;

    use rustix::io::Errno;

    use super::*;
    use crate::codec;
    use crate::options::Options;
    use crate::store::{FileStore, Record, Store};
    use crate::testing::{Fault, SimDisk};

    #[test]
    fn a_sync_of_a_state_that_failed_is_not_tried_again() {
        let (disk, options) = (SimDisk::default(), Options::default());
        let group = GroupJournal::open_on(disk.root(), &options, None).unwrap();
        let member = group.join("a");
        let member_options = options.clone().group(Some(member)).group_run(Some(group.run()));
        let opened = FileStore::open_on(disk.dir("a"), Path::new("a"), &member_options);
        let (mut store, view) = opened.unwrap();
        let changes = vec![("n".to_owned(), codec::encode(&1).unwrap())];
        store.commit(&Record { sequence: 1, call: None, changes }, &view).unwrap();
        group.submit(member, &store.take_written().unwrap()).unwrap();
        group.flush().unwrap();

        let mut keeper = group.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        keeper.due = Some(1);
        disk.plan(disk.operations(), Fault::Errno(Errno::IO));
        let first = keeper.sync_states(&group).unwrap_err();
        assert!(matches!(first, StoreError::Io { .. }), "{first}");
        let operations = disk.operations();
        let second = keeper.sync_states(&group).unwrap_err();
        assert!(matches!(second, StoreError::Poisoned { .. }), "{second}");
        assert_eq!(disk.operations(), operations, "nothing was tried");
        assert_eq!(keeper.due, Some(1), "what it holds is still needed");
    }
}
