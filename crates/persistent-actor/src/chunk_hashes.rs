//! The hash of each chunk of a large array, by several threads.

use std::os::unix::thread::JoinHandleExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::{Builder, JoinHandle};

use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu};
use twox_hash::XxHash3_64;

use crate::call::SessionId;

/// The unit of comparing. Bytes.
pub(crate) const CHUNK: usize = 64 * 1024;
/// What it is worth starting a thread for. Bytes. It takes 0.1 ms, and as much memory is read in
/// 0.3 ms.
const LEAST_SHARE: usize = 8 << 20;
/// More processors than these gain little: they wait for the same memory.
const MAX_THREADS: usize = 4;
/// How many chunks a thread takes at once.
const CHUNKS_AT_ONCE: usize = 4;

/// The hash of each chunk. One processor does not read a large array as fast as the memory gives it,
/// so several share it, if this thread may run on several.
pub(crate) fn chunk_hashes(content: &[u8]) -> Vec<u64> {
    let found: Vec<AtomicU64> = content.chunks(CHUNK).map(|_| AtomicU64::new(0)).collect();
    let next = AtomicUsize::new(0);
    // Each takes more when it has done what it took: a new thread may be late.
    let work = || {
        loop {
            let first = next.fetch_add(CHUNKS_AT_ONCE, Ordering::Relaxed);
            let Some(found) = found.get(first..) else { return };
            let chunks = content.chunks(CHUNK).skip(first);
            for (found, chunk) in found.iter().zip(chunks).take(CHUNKS_AT_ONCE) {
                found.store(hash(chunk), Ordering::Relaxed);
            }
        }
    };
    let mut helpers = Vec::new();
    let threads = (content.len() / LEAST_SHARE).min(MAX_THREADS);
    if let Some(others) = other_processors().filter(|_| threads > 1) {
        for _ in 1..threads.min(1 + others.count() as usize) {
            // SAFETY: the thread borrows `found`, `next` and `content`. It has ended when its
            // `Helper` is dropped, which is before these are: `helpers` was made after them, is
            // dropped on every way out, and is not given away.
            let helper = unsafe { Builder::new().spawn_unchecked(work) };
            // Where the system has no thread for us, the others do the work.
            helpers.extend(helper.ok().map(|thread| Helper::beside(thread, &others)));
        }
    }
    work();
    drop(helpers);
    found.into_iter().map(AtomicU64::into_inner).collect()
}

fn hash(chunk: &[u8]) -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    // Without randomness from the system, an address has some.
    let seed = SEED.get_or_init(|| {
        SessionId::generate().map_or_else(|_| (&raw const SEED).addr() as u64, |id| id.0 as u64)
    });
    XxHash3_64::oneshot_with_seed(*seed, chunk)
}

/// On which processors this thread may run beside the one that it is on; `None` if there are none.
fn other_processors() -> Option<CpuSet> {
    let mut set = sched_getaffinity(None).ok()?;
    set.unset(sched_getcpu());
    (set.count() > 0).then_some(set)
}

/// A thread that shares the work, and is waited for.
struct Helper(Option<JoinHandle<()>>);

impl Helper {
    /// Lets it run on one of these processors.
    ///
    /// On a virtual machine, Linux takes a processor that has been idle for a while for one that
    /// the host has taken away, and leaves a new thread behind the one that has started it, even
    /// until that has done all of the work.
    fn beside(thread: JoinHandle<()>, processors: &CpuSet) -> Self {
        // SAFETY: all zeros are a set without members.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        for processor in (0..CpuSet::MAX_CPU).filter(|one| processors.is_set(*one)) {
            // SAFETY: it only writes to `set`, and checks that the number fits.
            unsafe { libc::CPU_SET(processor, &mut set) };
        }
        // SAFETY: the thread is not waited for yet, so its handle is valid; `set` is as large as
        // is said. If this fails, the thread runs where it was put.
        let _ = unsafe {
            libc::pthread_setaffinity_np(thread.as_pthread_t(), size_of_val(&set), &raw const set)
        };
        Self(Some(thread))
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            // It does not panic.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_chunk_has_its_own_hash_however_many_threads_share_the_work() {
        for len in [0, 1, CHUNK, CHUNK + 1, 2 * LEAST_SHARE + 5, 3 * LEAST_SHARE] {
            let content: Vec<u8> = (0..len).map(|index| (index / 4096) as u8).collect();
            let alone: Vec<u64> = content.chunks(CHUNK).map(hash).collect();
            assert_eq!(chunk_hashes(&content), alone, "{len} bytes");
        }
    }

    #[test]
    fn a_thread_that_helps_runs_on_other_processors() {
        let Some(others) = other_processors() else { return };
        let (start, started) = std::sync::mpsc::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            started.recv().unwrap();
            tell.send((sched_getaffinity(None).unwrap(), sched_getcpu())).unwrap();
        });
        let helper = Helper::beside(thread, &others);
        start.send(()).unwrap();
        let (may, does) = told.recv().unwrap();
        assert_eq!(may, others);
        assert!(others.is_set(does));
        drop(helper);
    }
}
