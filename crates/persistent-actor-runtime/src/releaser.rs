//! [`Releaser`]: gives callers what the group journal has made durable, on their own runtime.
//!
//! To wake a task from another thread costs a system call each, and a thread that is preempted
//! while it does so holds up an actor whose next call is already on its way. So the thread that
//! writes passes a whole batch on, and wakes one task for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::cell::Cell;

/// A reply that was kept back.
pub(crate) struct Waiting {
    pub(crate) cell: Arc<Cell>,
    pub(crate) sequence: u64,
}

/// Gives the replies of actors of one runtime to their callers.
#[derive(Default)]
pub(crate) struct Releaser {
    queue: Mutex<Queue>,
    filled: Notify,
}

#[derive(Default)]
struct Queue {
    /// What is durable, and since when.
    durable: Vec<(Waiting, u64)>,
    /// No more will come.
    closed: bool,
    /// Nobody takes anything out any more.
    ended: bool,
}

impl Releaser {
    pub(crate) fn start(runtime: &Handle) -> Arc<Self> {
        let releaser = Arc::new(Self::default());
        let ends = EndOnDrop(Arc::clone(&releaser));
        runtime.spawn(async move { ends.0.run().await });
        releaser
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets these replies go; they are durable.
    pub(crate) fn release(&self, replies: Vec<Waiting>, durable_ns: u64) {
        let mut queue = self.queue();
        queue.durable.extend(replies.into_iter().map(|reply| (reply, durable_ns)));
        let ended = queue.ended;
        drop(queue);
        if ended {
            // Their runtime is gone; whoever waits for them does so on another.
            self.give_all();
        } else {
            self.filled.notify_one();
        }
    }

    /// Lets the task end when it has done what is left.
    pub(crate) fn close(&self) {
        self.queue().closed = true;
        self.filled.notify_one();
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.queue().ended
    }

    async fn run(&self) {
        loop {
            self.filled.notified().await;
            self.give_all();
            let queue = self.queue();
            if queue.closed && queue.durable.is_empty() {
                return;
            }
        }
    }

    fn give_all(&self) {
        let durable = std::mem::take(&mut self.queue().durable);
        for (Waiting { cell, sequence }, durable_ns) in durable {
            cell.release(sequence, durable_ns);
        }
    }
}

/// The task is over, as when its runtime is shut down.
struct EndOnDrop(Arc<Releaser>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.queue().ended = true;
        self.0.give_all();
    }
}
