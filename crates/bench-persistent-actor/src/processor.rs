//! Staying on one processor.
//!
//! In the workload's chain only one process works at a time: the caller waits for an actor, or
//! an actor for a call. Spread over several processors, each message has to wake an idle one
//! first, which costs more than the call itself, above all on a virtual machine (20 actors, delay
//! 10 ms, `process`: 2.3 to 2.7 % over the floor on two processors, 1.1 to 1.3 % on one). So the
//! program, and with it the actors that it starts, stays where it is.

use std::io;

use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};

/// Keeps this process, and those that it starts from now on, on the processor where it runs.
///
/// # Errors
/// If the system does not allow it.
pub fn stay_on_one() -> io::Result<()> {
    let mut one = CpuSet::new();
    one.set(sched_getcpu());
    Ok(sched_setaffinity(None, &one)?)
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
