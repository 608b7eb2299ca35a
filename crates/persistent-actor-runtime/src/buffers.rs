//! [`Pool`]: the shared-memory buffers of this process, made once and used again and again.
//!
//! A fresh shared buffer of 10 MiB costs 12 ms of page faults, one that was used before costs
//! nothing. So a buffer whose content nobody holds any more, here or in another process, waits
//! in the pool for the next content of its size class.

use std::any::Any;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use persistent_actor::store::SlotId;
use persistent_actor::{Bytes, Memory, MemoryPool, install_memory_pool};

use crate::mapping::{MAX_BUFFER_BYTES, Mapping};
use crate::slot_buffers::slot_buffers;
use crate::wire::{BufferId, MAX_INLINE_BYTES};

/// How much memory may wait in the pool for its next use, beside the buffer that came back last.
/// Bytes.
const MAX_IDLE_BYTES: usize = 256 << 20;

/// The buffers that this process made and that nobody uses.
pub(crate) struct Pool {
    id: u64,
    next: AtomicU64,
    made: AtomicU64,
    idle: Mutex<Vec<Arc<Mapping>>>,
}

static POOL: OnceLock<Pool> = OnceLock::new();

/// The pool of this process.
pub(crate) fn pool() -> &'static Pool {
    POOL.get_or_init(Pool::new)
}

/// How many buffers this process has made so far.
pub fn buffers_made() -> u64 {
    pool().made.load(Ordering::Relaxed)
}

/// Whether this process has made shared buffers: a copy of it would make others of the same names.
pub(crate) fn has_pool() -> bool {
    POOL.get().is_some()
}

/// Makes shared memory the home of all large [`Bytes`](persistent_actor::Bytes) built in this
/// process.
pub(crate) fn use_shared_memory() {
    // Another pool may be there already; its `Bytes` are copied when they are sent.
    let _ = install_memory_pool(Box::new(SharedPool));
}

struct SharedPool;

impl MemoryPool for SharedPool {
    fn allocate(&self, len: usize) -> Box<dyn Memory> {
        if let Some(slot) = slot_buffers().take(len) {
            return Box::new(SharedMemory::own(slot, len));
        }
        match pool().allocate(len) {
            Ok(memory) => Box::new(memory),
            // Out of descriptors, say: the heap serves, and sending it will tell.
            Err(_) => Box::new(vec![0; len]),
        }
    }
}

impl Pool {
    fn new() -> Self {
        // A pool is told from others by a random number. Without one, the process id tells it
        // from all that live.
        let id = persistent_actor::SessionId::generate()
            .map_or_else(|_| u64::from(std::process::id()), |id| id.0 as u64);
        Self { id, next: AtomicU64::new(0), made: AtomicU64::new(0), idle: Mutex::default() }
    }

    /// Takes over a buffer of an incarnation that is gone.
    pub(crate) fn inherit(&self, descriptor: OwnedFd, len: u64) -> io::Result<()> {
        let id = self.next_id();
        self.give_back(Arc::new(Mapping::inherit(id, descriptor, len)?));
        Ok(())
    }

    pub(crate) fn next_id(&self) -> BufferId {
        BufferId { pool: self.id, index: self.next.fetch_add(1, Ordering::Relaxed) }
    }

    /// Memory of `len` bytes with unspecified content.
    pub(crate) fn allocate(&'static self, len: usize) -> io::Result<SharedMemory> {
        let class = size_class(len).ok_or(io::ErrorKind::OutOfMemory)?;
        let mapping = match self.take_idle(class) {
            Some(mapping) => {
                mapping.warm(len);
                mapping
            }
            None => {
                self.made.fetch_add(1, Ordering::Relaxed);
                Arc::new(Mapping::create(self.next_id(), class)?)
            }
        };
        mapping.gather(len);
        Ok(SharedMemory::own(mapping, len))
    }

    fn take_idle(&self, class: usize) -> Option<Arc<Mapping>> {
        let mut idle = self.idle();
        let newest = idle.iter().rposition(|mapping| mapping.len() == class)?;
        Some(idle.remove(newest))
    }

    /// Takes a buffer back that nobody uses any more.
    fn give_back(&self, mapping: Arc<Mapping>) {
        let mut idle = self.idle();
        let mut bytes: usize = idle.iter().map(|mapping| mapping.len()).sum();
        while bytes > MAX_IDLE_BYTES {
            bytes -= idle.remove(0).len();
        }
        idle.push(mapping);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Arc<Mapping>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The size of the buffers for contents of `len` bytes: a power of two. Only pages that are
/// written take memory.
fn size_class(len: usize) -> Option<usize> {
    let class = len.max(MAX_INLINE_BYTES).checked_next_power_of_two()?;
    (class <= MAX_BUFFER_BYTES).then_some(class)
}

/// Values that were received and dropped; their sender is told with the next frames.
#[derive(Default)]
pub(crate) struct Returns(Mutex<Vec<BufferId>>);

impl Returns {
    fn push(&self, id: BufferId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(id);
    }

    /// What was dropped since the last look.
    pub(crate) fn take(&self) -> Vec<BufferId> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Memory of a [`Bytes`](persistent_actor::Bytes) that other processes can read in place.
pub(crate) struct SharedMemory {
    content: Content,
    len: usize,
}

enum Content {
    /// In a buffer of this process's pool or a slot of its state, and the only hand on it.
    Own(Arc<Mapping>),
    /// In a buffer that was received. One that this process had lent itself is kept from its next
    /// use by what was lent, also when whoever it was lent to is gone.
    Borrowed(Arc<Mapping>, Arc<Returns>, Option<Bytes>),
    /// In a slot of this process's state that an earlier incarnation has written.
    Committed(Arc<Mapping>),
    /// Was received, then copied in order to be written.
    Copied(Box<dyn Memory>),
}

impl SharedMemory {
    /// The first `len` bytes of a buffer that this process took from where it waited.
    pub(crate) fn own(mapping: Arc<Mapping>, len: usize) -> Self {
        let len = len.min(mapping.len());
        Self { content: Content::Own(mapping), len }
    }

    /// The first `len` bytes of a buffer that was received.
    pub(crate) fn borrowed(mapping: Arc<Mapping>, len: usize, returns: Arc<Returns>) -> Self {
        let len = len.min(mapping.len());
        Self { content: Content::Borrowed(mapping, returns, None), len }
    }

    /// The first `len` bytes of a value that this process has lent, and that came back.
    ///
    /// `None` if it does not lie in shared memory.
    pub(crate) fn come_back(lent: &Bytes, len: usize, returns: Arc<Returns>) -> Option<Self> {
        let memory = lent.memory().as_any().downcast_ref::<Self>()?;
        let mapping = memory.mapping()?.clone();
        let kept = match &memory.content {
            // What that keeps is enough: values that come and go make no chain.
            Content::Borrowed(_, _, Some(kept)) => kept.clone(),
            _ => lent.clone(),
        };
        let len = len.min(mapping.len());
        Some(Self { content: Content::Borrowed(mapping, returns, Some(kept)), len })
    }

    /// What is committed and lies in a slot that is written no more.
    pub(crate) fn committed(mapping: Arc<Mapping>) -> Self {
        let len = mapping.len();
        Self { content: Content::Committed(mapping), len }
    }

    /// The buffer that holds the content; `None` if it lies on the heap.
    pub(crate) fn mapping(&self) -> Option<&Arc<Mapping>> {
        match &self.content {
            Content::Own(mapping)
            | Content::Borrowed(mapping, ..)
            | Content::Committed(mapping) => Some(mapping),
            Content::Copied(memory) => memory.as_any().downcast_ref::<Self>()?.mapping(),
        }
    }

    /// Puts the content where this process may write it.
    fn copy_if_borrowed(&mut self) {
        if let Content::Borrowed(mapping, ..) | Content::Committed(mapping) = &self.content {
            let mut copy = SharedPool.allocate(self.len);
            copy.as_mut_slice().copy_from_slice(&mapping.bytes()[..self.len]);
            self.give_up();
            self.content = Content::Copied(copy);
        }
    }

    /// Lets go of the buffer.
    fn give_up(&mut self) {
        match std::mem::replace(&mut self.content, Content::Copied(Box::new(Vec::new()))) {
            Content::Own(mapping) => match mapping.slot() {
                Some(slot) => slot_buffers().give_back(slot),
                None => pool().give_back(mapping),
            },
            Content::Borrowed(mapping, returns, _) => returns.push(mapping.id()),
            Content::Copied(_) | Content::Committed(_) => {}
        }
    }
}

impl Memory for SharedMemory {
    fn as_slice(&self) -> &[u8] {
        match &self.content {
            Content::Own(mapping)
            | Content::Borrowed(mapping, ..)
            | Content::Committed(mapping) => &mapping.bytes()[..self.len],
            Content::Copied(memory) => memory.as_slice(),
        }
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        self.copy_if_borrowed();
        match &mut self.content {
            // SAFETY: the buffer is this process's own, and `self` the only hand on it here: the
            // pool gave it out and gets it back when `self` goes. Another process holds the
            // content only while this one keeps a clone of the `Bytes` (`Lending`), and then no
            // `&mut Memory` can be had; the same is true of what came back from there.
            Content::Own(mapping) => unsafe { &mut mapping.bytes_mut()[..self.len] },
            Content::Copied(memory) => memory.as_mut_slice(),
            Content::Borrowed(..) | Content::Committed(_) => unreachable!("was copied just now"),
        }
    }

    fn slot(&self) -> Option<SlotId> {
        match &self.content {
            Content::Own(mapping) => mapping.slot(),
            Content::Copied(memory) => memory.slot(),
            // The content is that of a slot, but may be a part of it only.
            Content::Borrowed(..) => None,
            // Not one in which anything can be built.
            Content::Committed(_) => None,
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        self.give_up();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn private_pool() -> &'static Pool {
        Box::leak(Box::new(Pool::new()))
    }

    #[test]
    fn a_buffer_that_came_back_is_used_again_for_its_size() {
        let pool = private_pool();
        let buffer = Arc::new(Mapping::create(BufferId { pool: 0, index: 0 }, 1 << 20).unwrap());
        pool.give_back(buffer);
        assert!(pool.take_idle(1 << 21).is_none());
        assert!(pool.take_idle(1 << 20).is_some());
        assert!(pool.take_idle(1 << 20).is_none());
    }

    #[test]
    fn idle_buffers_beyond_the_bound_are_freed_oldest_first() {
        let pool = private_pool();
        for index in 0..7 {
            let id = BufferId { pool: 0, index };
            pool.give_back(Arc::new(Mapping::create(id, 64 << 20).unwrap()));
        }
        let kept: Vec<u64> = pool.idle().iter().map(|mapping| mapping.id().index).collect();
        assert_eq!(kept, [2, 3, 4, 5, 6], "256 MiB and the one that came last");
    }

    #[test]
    fn received_memory_is_copied_before_it_is_written_and_then_given_back() {
        let source = Arc::new(Mapping::create(BufferId { pool: 9, index: 9 }, 1 << 16).unwrap());
        let returns = Arc::new(Returns::default());
        let mut memory = SharedMemory::borrowed(source.clone(), 100, returns.clone());
        memory.as_mut_slice().fill(1);
        assert!(source.bytes().iter().all(|byte| *byte == 0), "the source is unharmed");
        assert_eq!(memory.as_slice(), [1; 100]);
        assert_eq!(returns.take(), [source.id()]);
        drop(memory);
        assert_eq!(returns.take(), [], "given back once");
    }

    #[test]
    fn a_value_that_comes_and_goes_keeps_its_memory_and_nothing_else() {
        let mut own = private_pool().allocate(100).unwrap();
        own.as_mut_slice().fill(7);
        let own = Bytes::from_memory(Box::new(own));
        let returns = Arc::new(Returns::default());
        let mut value = own.clone();
        for _ in 0..100_000 {
            let back = SharedMemory::come_back(&value, 100, returns.clone()).unwrap();
            value = Bytes::from_memory(Box::new(back));
        }
        assert_eq!(own.shares(), 2);
        drop(own);
        assert_eq!(*value, [7; 100]);
    }

    #[test]
    fn sizes_beyond_the_largest_buffer_are_refused() {
        assert_eq!(size_class(1), Some(MAX_INLINE_BYTES));
        assert_eq!(size_class(10 << 20), Some(16 << 20));
        assert_eq!(size_class(MAX_BUFFER_BYTES + 1), None);
        assert_eq!(size_class(usize::MAX), None);
    }
}
