//! The hash of each chunk of a large array, by several threads.

use std::os::unix::thread::JoinHandleExt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
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
    let threads = (content.len() / LEAST_SHARE).min(MAX_THREADS);
    if threads > 1
        && let Some(others) = other_processors()
    {
        return shared(content, threads, &others, |_| {});
    }
    content.chunks(CHUNK).map(hash).collect()
}

/// `started` is called between the start of the helpers and their placing.
fn shared(
    content: &[u8],
    threads: usize,
    others: &CpuSet,
    started: impl FnOnce(&Helpers),
) -> Vec<u64> {
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
    let (gate, begun) = (Mutex::new(()), AtomicUsize::new(0));
    let help = || {
        begun.fetch_add(1, Ordering::Relaxed);
        work();
        drop(gate.lock());
    };
    let mut helpers = Helpers(Vec::new());
    // None of them ends before it was given its processors; see `Helpers::place`.
    let shut = gate.lock();
    for _ in 1..threads.min(1 + others.count() as usize) {
        // SAFETY: the thread borrows `content` and what was made above. It has ended when
        // `helpers` is dropped, which is before these are, also when a panic unwinds: `helpers`
        // was made after them, and is not given away.
        let helper = unsafe { Builder::new().spawn_unchecked(help) };
        // Where the system has no thread for us, the others do the work.
        helpers.0.extend(helper.ok());
    }
    started(&helpers);
    helpers.place(others);
    work();
    if begun.load(Ordering::Relaxed) < helpers.0.len() {
        // It stands behind somebody else's work; this processor is free now.
        helpers.place(&this_processor());
    }
    drop(shut);
    if helpers.join() {
        found.into_iter().map(AtomicU64::into_inner).collect()
    } else {
        // It may have left something out.
        content.chunks(CHUNK).map(hash).collect()
    }
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

fn this_processor() -> CpuSet {
    let mut set = CpuSet::new();
    set.set(sched_getcpu());
    set
}

/// Threads that share the work, and are waited for.
struct Helpers(Vec<JoinHandle<()>>);

impl Helpers {
    /// Lets them run on these processors. None of them may have ended: of one that has, the C
    /// library takes the caller for the thread that is meant.
    ///
    /// On a virtual machine, Linux takes a processor that has been idle for a while for one that
    /// the host has taken away, and leaves a new thread behind the one that has started it, even
    /// until that has done all of the work.
    fn place(&self, processors: &CpuSet) {
        // SAFETY: all zeros are a set without members.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        for processor in (0..CpuSet::MAX_CPU).filter(|one| processors.is_set(*one)) {
            // SAFETY: it only writes to `set`, and checks that the number fits.
            unsafe { libc::CPU_SET(processor, &mut set) };
        }
        for thread in &self.0 {
            #[allow(
                clippy::unnecessary_cast,
                reason = "a number, or with another C library a pointer"
            )]
            let thread = thread.as_pthread_t() as libc::pthread_t;
            // SAFETY: the thread was not waited for, so that this stands for it; `set` is as large
            // as is said. If it fails, the thread stays where it is.
            let _ =
                unsafe { libc::pthread_setaffinity_np(thread, size_of_val(&set), &raw const set) };
        }
    }

    /// Waits for them; `false` if one has panicked.
    fn join(&mut self) -> bool {
        self.0.drain(..).filter_map(|thread| thread.join().err()).count() == 0
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        self.join();
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
    fn who_helps_runs_on_other_processors_and_who_is_helped_on_all() {
        let Some(others) = other_processors() else { return };
        let all = sched_getaffinity(None).unwrap();
        let (start, started) = std::sync::mpsc::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            started.recv().unwrap();
            tell.send((sched_getaffinity(None).unwrap(), sched_getcpu())).unwrap();
        });
        let helpers = Helpers(vec![thread]);
        helpers.place(&others);
        start.send(()).unwrap();
        let (may, does) = told.recv().unwrap();
        assert_eq!(may, others);
        assert!(others.is_set(does));
        drop(helpers);
        assert_eq!(sched_getaffinity(None).unwrap(), all);
    }

    #[test]
    fn no_helper_ends_before_it_was_placed() {
        let Some(others) = other_processors() else { return };
        let all = sched_getaffinity(None).unwrap();
        let wait = |helpers: &Helpers| {
            // More than they need for what there is to do.
            (0..20_000).for_each(|_| std::thread::yield_now());
            assert!(!helpers.0.iter().any(JoinHandle::is_finished));
        };
        assert_eq!(shared(&[1], 2, &others, wait), [hash(&[1])]);
        assert_eq!(sched_getaffinity(None).unwrap(), all);
    }
}
