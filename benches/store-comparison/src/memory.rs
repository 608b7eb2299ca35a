//! Where large values live: page-aligned memory that is used again and again.
//!
//! Fresh memory costs 2.5 µs for each 4 KiB page, more than most commits, and the local engine
//! reuses its buffers for that reason. All engines get their values from here, so that a row
//! shows what an engine does and not where the caller's buffer happened to lie.

use std::any::Any;
use std::ffi::c_void;
use std::ptr::{NonNull, null_mut};
use std::sync::{Mutex, MutexGuard, PoisonError};

use persistent_actor::{Memory, MemoryPool, install_memory_pool};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// From this length on, memory is asked for in huge pages. Bytes.
const HUGE_PAGE: usize = 2 << 20;

/// How many regions wait for their next use.
const MAX_IDLE: usize = 4;

static IDLE: Mutex<Vec<Region>> = Mutex::new(Vec::new());

/// Makes this the source of all large values of the process.
pub(crate) fn install() {
    // Only the first call finds no pool; later ones change nothing, which is as good.
    let _ = install_memory_pool(Box::new(Pool));
}

/// Gives all memory back that waits for its next use.
pub(crate) fn release() {
    idle().clear();
}

fn idle() -> MutexGuard<'static, Vec<Region>> {
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Pool;

impl MemoryPool for Pool {
    fn allocate(&self, len: usize) -> Box<dyn Memory> {
        let waiting = {
            let mut idle = idle();
            idle.iter().position(|region| region.len == len).map(|index| idle.swap_remove(index))
        };
        match waiting.or_else(|| Region::map(len)) {
            Some(region) => Box::new(Pooled(Some(region))),
            None => Box::new(vec![0; len]),
        }
    }
}

/// A mapping of its own.
struct Region {
    start: NonNull<c_void>,
    len: usize,
}

// SAFETY: the mapping belongs to the `Region` alone and is only reached through references to
// it, so the usual rules of shared and unique access hold as for a `Vec`.
unsafe impl Send for Region {}
// SAFETY: as for `Send`.
unsafe impl Sync for Region {}

impl Region {
    fn map(len: usize) -> Option<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new private mapping at an address that the kernel chooses aliases nothing.
        let start = unsafe { mmap_anonymous(null_mut(), len, protection, MapFlags::PRIVATE) };
        let start = NonNull::new(start.ok()?)?;
        if len >= HUGE_PAGE {
            // SAFETY: the range is the mapping just made; the advice does not change content.
            // Where there are no huge pages, small ones serve.
            let _ = unsafe { madvise(start.as_ptr(), len, Advice::LinuxHugepage) };
        }
        Some(Self { start, len })
    }

    fn as_slice(&self) -> &[u8] {
        // SAFETY: `len` readable bytes are mapped at `start`, zeroed by the kernel, for as long
        // as `self` lives.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.len) }
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`; the mapping is writable and `self` is borrowed uniquely.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().cast(), self.len) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the range is exactly the mapping, and nothing refers to it any more.
        let _ = unsafe { munmap(self.start.as_ptr(), self.len) };
    }
}

/// A region in use; `None` only while it is dropped.
struct Pooled(Option<Region>);

impl Memory for Pooled {
    fn as_slice(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], Region::as_slice)
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        self.0.as_mut().map_or(&mut [], Region::as_mut_slice)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let mut idle = idle();
        if idle.len() < MAX_IDLE
            && let Some(region) = self.0.take()
        {
            idle.push(region);
        }
    }
}
