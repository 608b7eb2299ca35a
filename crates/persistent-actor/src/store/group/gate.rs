//! [`Gate`]: where those who wait for a batch sleep, and who of them writes the next.
//!
//! A sync lets a hundred threads go on at once. With a mutex and its condition variable each of
//! them would have to take the mutex first, one after the other, and be woken a second time for
//! it. Here one system call wakes them all, and none of them takes a lock.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use rustix::thread::futex;

/// All that sleep, as the kernel wants to hear it.
const ALL: u32 = i32::MAX as u32;

/// How far all is durable, and those who wait for more.
#[derive(Default)]
pub(super) struct Gate {
    /// All batches up to this one are durable.
    durable: AtomicU64,
    /// No further batch ever will be.
    failed: AtomicBool,
    /// Somebody who waits is writing, or is about to.
    led: AtomicBool,
    /// How often those were called who wait for a batch with an even number, and with an odd one;
    /// they sleep until this changes. Two are enough: while one batch is written, the next
    /// gathers, and nobody waits for a later one.
    calls: [AtomicU32; 2],
}

/// Why somebody who waits was let through.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// The batch is durable.
    Durable,
    /// It never will be.
    Failed,
    /// Nobody writes: whoever gets this must do so, and then [hand over](Gate::hand_over).
    Leads,
}

impl Gate {
    pub(super) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// Sleeps until there is something to do or to tell.
    pub(super) fn wait(&self, number: u64) -> Passed {
        let calls = self.calls_of(number);
        loop {
            // Read first: a call that comes after the looks below ends the sleep, or prevents it.
            // (Unless exactly 2^32 of them come in between.)
            let seen = calls.load(Ordering::SeqCst);
            if self.durable() >= number {
                return Passed::Durable;
            }
            if self.failed.load(Ordering::Acquire) {
                return Passed::Failed;
            }
            if !self.led.load(Ordering::SeqCst) && !self.led.swap(true, Ordering::SeqCst) {
                return Passed::Leads;
            }
            // An error says that the number has changed, or that a signal came: look again.
            let _ = futex::wait(calls, futex::Flags::PRIVATE, seen, None);
        }
    }

    /// Batches up to this one are durable; who waits for it is still to be [called](Gate::call).
    pub(super) fn settle(&self, number: u64) {
        self.durable.store(number, Ordering::Release);
    }

    /// Wakes all who wait for the batch of this number.
    pub(super) fn call(&self, number: u64) {
        self.wake(number, ALL);
    }

    /// Whoever got to lead does so no more. One of those who wait for the batch that `gathers`
    /// takes over, if there is one; whoever comes later sees that nobody leads.
    ///
    /// `gathers` is asked when the lead was given up. So a batch whose waiters this misses was
    /// taken by another writer meanwhile, who will call them.
    pub(super) fn hand_over(&self, gathers: impl FnOnce() -> u64) {
        self.led.store(false, Ordering::SeqCst);
        // It may hit one who waits for the batch before last and was not called yet: then that
        // call, which wakes all, is still to come.
        self.wake(gathers(), 1);
    }

    /// Nothing becomes durable any more.
    pub(super) fn fail(&self) {
        self.failed.store(true, Ordering::Release);
        self.call(0);
        self.call(1);
    }

    fn calls_of(&self, number: u64) -> &AtomicU32 {
        &self.calls[(number % 2) as usize]
    }

    fn wake(&self, number: u64, how_many: u32) {
        let calls = self.calls_of(number);
        calls.fetch_add(1, Ordering::SeqCst);
        // The kernel knows every number that may be waited on: there is nothing to fail.
        let _ = futex::wake(calls, futex::Flags::PRIVATE, how_many);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn the_first_who_waits_leads_and_hands_over_to_one_of_the_next_batch() {
        let gate = Gate::default();
        assert_eq!(gate.wait(1), Passed::Leads);
        let (tell, told) = mpsc::channel();
        thread::scope(|scope| {
            for number in [1, 1, 2, 2] {
                let (tell, gate) = (tell.clone(), &gate);
                scope.spawn(move || {
                    let passed = gate.wait(number);
                    tell.send((number, passed)).unwrap();
                });
            }
            gate.settle(1);
            gate.hand_over(|| 2);
            gate.call(1);
            let mut first: Vec<_> = (0..3).map(|_| told.recv().unwrap()).collect();
            first.sort_by_key(|(number, _)| *number);
            let durable = (1, Passed::Durable);
            assert_eq!(first, [durable, (1, Passed::Durable), (2, Passed::Leads)]);
            assert!(told.try_recv().is_err(), "two lead");
            gate.settle(2);
            gate.hand_over(|| 3);
            gate.call(2);
            assert_eq!(told.recv().unwrap(), (2, Passed::Durable));
        });
        assert_eq!(gate.durable(), 2);
        assert_eq!(gate.wait(3), Passed::Leads);
    }

    #[test]
    fn who_waits_for_what_never_comes_is_told() {
        let gate = Gate::default();
        assert_eq!(gate.wait(1), Passed::Leads);
        thread::scope(|scope| {
            let gate = &gate;
            let wait = |number| scope.spawn(move || gate.wait(number));
            let waiting: Vec<_> = [1, 2, 1, 2].into_iter().map(wait).collect();
            gate.fail();
            for waiting in waiting {
                assert_eq!(waiting.join().unwrap(), Passed::Failed);
            }
        });
        assert_eq!(gate.wait(1), Passed::Failed);
    }

    #[test]
    fn many_threads_that_take_turns_at_leading_all_pass() {
        const THREADS: u64 = 32;
        const TURNS: u64 = 200;
        let gate = Gate::default();
        // What gathers, as the group journal's queue has it.
        let gathers = AtomicU64::new(1);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..TURNS {
                        let number = gathers.load(Ordering::SeqCst);
                        loop {
                            match gate.wait(number) {
                                Passed::Durable => break,
                                Passed::Failed => panic!("nothing failed"),
                                Passed::Leads => {}
                            }
                            let written = gathers.fetch_add(1, Ordering::SeqCst);
                            gate.settle(written);
                            gate.hand_over(|| gathers.load(Ordering::SeqCst));
                            gate.call(written);
                        }
                    }
                });
            }
        });
        assert!(!gate.led.load(Ordering::SeqCst));
    }
}
