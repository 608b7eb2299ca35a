//! Many writers share the syncs of one database: the batching that its users would write.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};

use anyhow::{Context, Result, anyhow};

use crate::engine::KeyValue;

/// A record of one writer.
pub(crate) type Record = [u8; 64];

/// Commits what arrived while the last commit was under way, as one transaction.
pub(crate) struct GroupCommit {
    store: Mutex<Box<dyn KeyValue>>,
    queue: Mutex<Queue>,
    arrived: Condvar,
    /// How many transactions there were.
    batches: AtomicU64,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Waiting>,
    closed: bool,
    failed: Option<String>,
}

struct Waiting {
    key: u32,
    record: Record,
    /// The number of the writer's commit; published when it is durable.
    number: u64,
    writer: Thread,
}

/// Where a writer learns that its record is durable. Zero before the first.
#[derive(Default)]
pub(crate) struct Done(AtomicU64);

/// A number that no commit has: the database has failed.
const FAILED: u64 = u64::MAX;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl GroupCommit {
    pub(crate) fn new(store: Box<dyn KeyValue>) -> Self {
        Self {
            store: Mutex::new(store),
            queue: Mutex::default(),
            arrived: Condvar::new(),
            batches: AtomicU64::new(0),
        }
    }

    /// Commits a record of the writer `key`, its `number`-th; returns when it is durable.
    pub(crate) fn commit(
        &self,
        key: u32,
        number: u64,
        record: &Record,
        done: &[Done],
    ) -> Result<()> {
        {
            let mut queue = lock(&self.queue);
            if let Some(reason) = &queue.failed {
                return Err(anyhow!("the database failed: {reason}"));
            }
            let writer = thread::current();
            queue.waiting.push(Waiting { key, record: *record, number, writer });
            if queue.waiting.len() == 1 {
                self.arrived.notify_one();
            }
        }
        let done = &done.get(key as usize).context("an unknown writer")?.0;
        loop {
            match done.load(Ordering::Acquire) {
                FAILED => return Err(anyhow!("the database failed while a writer waited")),
                reached if reached >= number => return Ok(()),
                _ => thread::park(),
            }
        }
    }

    /// Commits batches until [`GroupCommit::close`]; for a thread of its own.
    pub(crate) fn run(&self, done: &[Done]) -> Result<()> {
        let mut batch = Vec::new();
        loop {
            {
                let mut queue = lock(&self.queue);
                while queue.waiting.is_empty() && !queue.closed {
                    queue = self.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner);
                }
                if queue.waiting.is_empty() {
                    return Ok(());
                }
                std::mem::swap(&mut queue.waiting, &mut batch);
            }
            let entries: Vec<(u32, &[u8])> =
                batch.iter().map(|waiting| (waiting.key, &waiting.record[..])).collect();
            let result = lock(&self.store).put_all(&entries);
            self.batches.fetch_add(1, Ordering::Relaxed);
            for waiting in batch.drain(..) {
                let number = if result.is_ok() { waiting.number } else { FAILED };
                if let Some(done) = done.get(waiting.key as usize) {
                    done.0.store(number, Ordering::Release);
                }
                waiting.writer.unpark();
            }
            if let Err(error) = result {
                self.fail(&error, done);
                return Err(error);
            }
        }
    }

    /// Tells those who queued up during the batch that failed, and all who come later.
    fn fail(&self, error: &anyhow::Error, done: &[Done]) {
        let mut queue = lock(&self.queue);
        queue.failed = Some(format!("{error:#}"));
        for waiting in queue.waiting.drain(..) {
            if let Some(done) = done.get(waiting.key as usize) {
                done.0.store(FAILED, Ordering::Release);
            }
            waiting.writer.unpark();
        }
    }

    /// Lets [`GroupCommit::run`] return when the queue is empty.
    pub(crate) fn close(&self) {
        lock(&self.queue).closed = true;
        self.arrived.notify_one();
    }

    /// How many transactions there were.
    pub(crate) fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }

    /// What the database holds of a writer.
    pub(crate) fn get(&self, key: u32) -> Result<Option<Vec<u8>>> {
        let mut copy = None;
        lock(&self.store).get(key, &mut |value| copy = Some(value.to_vec()))?;
        Ok(copy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails from the third transaction on.
    struct Failing(u32);

    impl KeyValue for Failing {
        fn put_all(&mut self, _: &[(u32, &[u8])]) -> Result<()> {
            self.0 += 1;
            if self.0 < 3 { Ok(()) } else { Err(anyhow!("no space")) }
        }

        fn get(&mut self, _: u32, _: &mut dyn FnMut(&[u8])) -> Result<bool> {
            Ok(false)
        }
    }

    #[test]
    fn a_failed_transaction_reaches_every_writer_and_hangs_none() {
        let group = GroupCommit::new(Box::new(Failing(0)));
        let done: Vec<Done> = (0..8).map(|_| Done::default()).collect();
        thread::scope(|scope| {
            let committer = scope.spawn(|| group.run(&done));
            let writer = |key| {
                let (group, done) = (&group, &done);
                move || (1..10).find_map(|n| group.commit(key, n, &[0; 64], done).err())
            };
            let writers: Vec<_> = (0..8).map(|key| scope.spawn(writer(key))).collect();
            for writer in writers {
                assert!(writer.join().unwrap().is_some());
            }
            assert!(committer.join().unwrap().is_err());
        });
    }
}
