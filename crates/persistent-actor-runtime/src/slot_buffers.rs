//! [`SlotBuffers`]: the memory of slot files, in which a worker builds large values.
//!
//! What is built there lies where the store keeps it: a commit has only to checksum it. When a
//! slot may be written is said by the store; see [`SlotPool`].

use std::any::Any;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use persistent_actor::store::{SlotId, SlotPool, StorageFile};
use persistent_actor::{Bytes, Memory};

use crate::buffers::{SharedMemory, pool};
use crate::mapping::Mapping;

/// Values below this size are not built in slots. Bytes. They are written in about the time that
/// it takes to enter their pages into the page table.
const MIN_BYTES: usize = 1 << 20;

/// After this time without use, a slot's pages are entered anew into the page table before they are
/// written. The kernel will have made them read-only in order to write them to the disk, and
/// allows it again page by page: for 10 MiB this takes 4.0 ms, and 0.4 ms if they are entered anew.
const STALE_AFTER: Duration = Duration::from_secs(5);

/// The slots that the store has offered.
#[derive(Default)]
pub(crate) struct SlotBuffers(Mutex<Vec<Entry>>);

struct Entry {
    mapping: Arc<Mapping>,
    slot: SlotId,
    stage: Stage,
    used: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Available,
    GivenOut,
    AtRest,
}

/// The slots of this process.
pub(crate) fn slot_buffers() -> &'static Arc<SlotBuffers> {
    static BUFFERS: OnceLock<Arc<SlotBuffers>> = OnceLock::new();
    BUFFERS.get_or_init(Arc::default)
}

impl SlotBuffers {
    /// The memory of an available slot in which `len` bytes have room, and not much more than that.
    pub(crate) fn take(&self, len: usize) -> Option<Arc<Mapping>> {
        if len < MIN_BYTES {
            return None;
        }
        let mut entries = self.entries();
        let suits = |entry: &&mut Entry| {
            let room = entry.mapping.len();
            entry.stage == Stage::Available && room >= len && room / 4 <= len
        };
        // The one that was used last is the most likely to be in the cache.
        let best = entries.iter_mut().filter(suits).max_by_key(|entry| entry.used)?;
        best.stage = Stage::GivenOut;
        if best.used.elapsed() > STALE_AFTER {
            best.mapping.refresh();
        }
        Some(best.mapping.clone())
    }

    /// The last owner of a slot's memory is gone.
    pub(crate) fn give_back(&self, slot: SlotId) {
        if let Some(entry) = self.entries().iter_mut().find(|entry| entry.slot == slot) {
            entry.stage = Stage::AtRest;
            entry.used = Instant::now();
        }
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn map(&self, slot: SlotId, file: BorrowedFd<'_>, len: u64) -> std::io::Result<()> {
        let file = file.try_clone_to_owned()?;
        let mapping = Arc::new(Mapping::of_slot(pool().next_id(), slot, file, len)?);
        let (stage, used) = (Stage::Available, Instant::now());
        self.entries().push(Entry { mapping, slot, stage, used });
        Ok(())
    }
}

impl SlotPool for SlotBuffers {
    fn least_bytes(&self) -> u64 {
        MIN_BYTES as u64
    }

    fn clear(&self) {
        self.entries().clear();
    }

    fn offer(&self, slot: SlotId, file: &dyn StorageFile, len: u64) -> bool {
        file.to_map().is_some_and(|file| self.map(slot, file, len).is_ok())
    }

    fn renew(&self, slot: SlotId) {
        let mut entries = self.entries();
        let entry = entries.iter_mut().find(|entry| entry.slot == slot);
        if let Some(entry) = entry.filter(|entry| entry.stage == Stage::AtRest) {
            entry.stage = Stage::Available;
        }
    }

    fn is_idle(&self, slot: SlotId) -> bool {
        let entries = self.entries();
        entries.iter().any(|entry| entry.slot == slot && entry.stage != Stage::GivenOut)
    }

    fn withdraw(&self, slot: SlotId) -> bool {
        let mut entries = self.entries();
        let idle = |entry: &Entry| entry.slot == slot && entry.stage != Stage::GivenOut;
        let found = entries.iter().position(idle);
        found.map(|index| drop(entries.remove(index))).is_some()
    }

    fn map_committed(
        &self,
        _: SlotId,
        file: &dyn StorageFile,
        len: u64,
        is_kept: bool,
    ) -> Option<Box<dyn Memory>> {
        let file = file.to_map()?.try_clone_to_owned().ok()?;
        let mapping = Arc::new(Mapping::open_slot(pool().next_id(), file, len).ok()?);
        Some(match is_kept {
            true => Box::new(SharedMemory::committed(mapping)),
            false => Box::new(Committed { mapping, copy: OnceLock::new() }),
        })
    }
}

/// What is committed and lies in a slot that may be written anew when this process is gone: others
/// get a copy.
pub(crate) struct Committed {
    mapping: Arc<Mapping>,
    copy: OnceLock<Bytes>,
}

impl Committed {
    /// The content in memory that others may read, made by `copy` if it is not there.
    pub(crate) fn copy<E>(&self, copy: impl FnOnce() -> Result<Bytes, E>) -> Result<Bytes, E> {
        if let Some(known) = self.copy.get() {
            return Ok(known.clone());
        }
        let made = copy()?;
        Ok(self.copy.get_or_init(|| made).clone())
    }
}

impl Memory for Committed {
    fn as_slice(&self) -> &[u8] {
        self.mapping.bytes()
    }

    fn is_writable(&self) -> bool {
        false
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        unreachable!("it is copied first")
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: SlotId = SlotId { epoch: 1, number: 1 };
    const LEN: usize = 2 << 20;

    fn slot_file() -> std::fs::File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096 + LEN as u64).unwrap();
        file
    }

    #[test]
    fn a_slot_is_given_out_once_for_each_time_the_store_says_that_it_is_free() {
        let buffers = SlotBuffers::default();
        let file = slot_file();
        buffers.map(SLOT, std::os::fd::AsFd::as_fd(&file), LEN as u64).unwrap();
        assert!(buffers.take(LEN + 1).is_none() && buffers.take(LEN / 5).is_none());
        assert!(buffers.is_idle(SLOT));
        let taken = buffers.take(LEN).unwrap();
        assert_eq!(taken.slot(), Some(SLOT));
        buffers.renew(SLOT);
        assert!(buffers.take(LEN).is_none(), "somebody has it");
        assert!(!buffers.is_idle(SLOT) && !buffers.withdraw(SLOT));
        buffers.give_back(SLOT);
        assert!(buffers.take(LEN).is_none(), "the committed state may need it");
        buffers.renew(SLOT);
        assert!(buffers.take(LEN).is_some());
        buffers.give_back(SLOT);
        assert!(buffers.withdraw(SLOT));
        assert!(!buffers.is_idle(SLOT) && !buffers.withdraw(SLOT));
    }

    #[test]
    fn what_is_written_to_the_memory_is_in_the_file_behind_the_header() {
        let file = slot_file();
        let mapping = {
            let file = file.try_clone().unwrap().into();
            Arc::new(Mapping::of_slot(pool().next_id(), SLOT, file, LEN as u64).unwrap())
        };
        let mut memory = SharedMemory::own(mapping.clone(), LEN);
        memory.as_mut_slice().fill(7);
        mapping.refresh();
        assert!(memory.as_slice().iter().all(|byte| *byte == 7), "entered anew, not emptied");
        let mut content = vec![9; 4096 + LEN];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut content, 0).unwrap();
        assert!(content[..4096].iter().all(|byte| *byte == 0));
        assert!(content[4096..].iter().all(|byte| *byte == 7));
    }

    #[test]
    fn a_file_that_is_too_short_is_not_mapped() {
        let file = slot_file();
        let len = LEN as u64 + 1;
        assert!(Mapping::of_slot(pool().next_id(), SLOT, file.into(), len).is_err());
    }
}
