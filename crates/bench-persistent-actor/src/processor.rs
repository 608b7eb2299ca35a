//! Staying on one processor.
//!
//! In the workload's chain only one process works at a time: the caller waits for an actor, or
//! an actor for a call. Spread over several processors, each message has to wake an idle one
//! first, which costs more than the call itself, above all on a virtual machine (20 actors, delay
//! 10 ms, `process`: 2.3 to 2.7 % over the floor on two processors, 1.1 to 1.3 % on one). So the
//! program, and with it the actors that it starts, stays where it is.

use std::io;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// Keeps this process, and those that it starts from now on, on the processor where it runs.
///
/// # Errors
/// If the system does not allow it.
pub fn stay_on_one() -> io::Result<()> {
    let mut one = CpuSet::new();
    one.set(sched_getcpu());
    Ok(sched_setaffinity(None, &one)?)
}

/// This process and what it starts stay on one processor while the value lives; then all may
/// spread again. Processes inherit the place of the *thread* that starts them, so all threads of
/// this process are moved.
#[derive(Debug)]
pub struct OneProcessor {
    before: CpuSet,
}

impl OneProcessor {
    /// Keeps all threads of this process on the processor where this one runs.
    ///
    /// # Errors
    /// If the system does not allow it.
    pub fn enter() -> io::Result<Self> {
        let before = sched_getaffinity(None)?;
        let mut one = CpuSet::new();
        one.set(sched_getcpu());
        move_all_threads(&one)?;
        Ok(Self { before })
    }
}

impl Drop for OneProcessor {
    fn drop(&mut self) {
        // Threads that are gone meanwhile need no place.
        let _ = move_all_threads(&self.before);
    }
}

fn move_all_threads(to: &CpuSet) -> io::Result<()> {
    sched_setaffinity(None, to)?;
    for task in std::fs::read_dir("/proc/self/task")? {
        let id = task?.file_name().to_str().and_then(|id| id.parse().ok());
        // A thread may have ended since.
        if let Some(id) = id.and_then(Pid::from_raw) {
            let _ = sched_setaffinity(Some(id), to);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_stays_on_one_processor_and_passes_this_on() {
        let set = std::thread::spawn(|| {
            stay_on_one().unwrap();
            let child = std::thread::spawn(|| rustix::thread::sched_getaffinity(None).unwrap());
            child.join().unwrap()
        });
        assert_eq!(set.join().unwrap().count(), 1);
    }
}
