//! [`Standby`]: a worker process that is started ahead and waits for an actor whose own has died.
//!
//! Most of what it takes to start a worker is the same for every actor: a process, its executable,
//! the libraries that this is linked with. A process that has all this behind it and waits for its
//! assignment makes a restart faster by that.
//!
//! It is a worker like any other and is told what to run in the same way, once. Until then it has
//! opened nothing and belongs to no actor. It is not used if what a new process would
//! inherit is not what it was any more, as far as [`Surroundings`] knows.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use crate::init::EntryPoint;
use crate::process::WorkerProcess;
use crate::socket::pair;
use crate::spawner;
use crate::surroundings::Surroundings;

/// How long no actor may have been started before the first standby is: the start of many actors
/// must not wait for it.
const QUIET: Duration = Duration::from_millis(100);

/// The one worker process of a node that waits for its assignment, or the place for it.
pub(crate) struct Standby {
    is_wanted: bool,
    /// Told when a process has been started.
    filled: Notify,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: Option<Waiting>,
    /// One is being started.
    is_filling: bool,
    /// One will be started when no actor is.
    is_preparing: bool,
    is_closed: bool,
    /// How many actors are being started.
    starting: usize,
    /// How many have been so far.
    started: u64,
}

/// A worker process that waits for its assignment.
pub(crate) struct Waiting {
    /// The node's end of its connection. Dropped first: if the process may not be killed any more,
    /// it ends because of that.
    pub(crate) socket: OwnedFd,
    pub(crate) process: WorkerProcess,
    surroundings: Surroundings,
}

impl Waiting {
    async fn start(entry: EntryPoint) -> io::Result<Self> {
        let (socket, theirs) = pair()?;
        // Known before the process is there: if they change meanwhile, it is not used.
        let surroundings = Surroundings::of_children_of(spawner::thread()?)?;
        let process = spawner::spawn(entry, None, theirs).await?;
        Ok(Self { process, socket, surroundings })
    }

    /// Whether it can take the place of a process that is started now.
    fn is_as_new(&self) -> bool {
        let now = spawner::thread().and_then(Surroundings::of_children_of);
        self.process.is_awake() && now.is_ok_and(|now| now == self.surroundings)
    }
}

/// An actor is being started, until this is dropped.
pub(crate) struct Starting(Arc<Standby>);

impl Drop for Starting {
    fn drop(&mut self) {
        self.0.state().starting -= 1;
    }
}

impl Standby {
    pub(crate) fn new(is_wanted: bool) -> Self {
        Self { is_wanted, filled: Notify::new(), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process that waits, if there is one.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.state().waiting.as_ref().map(|waiting| waiting.process.pid())
    }

    /// The process that waits, for the one who calls; `None` if there is none, or it is not as
    /// good as a new one.
    pub(crate) fn take(&self) -> Option<Waiting> {
        let waiting = self.state().waiting.take()?;
        // One that is not is killed here and now.
        waiting.is_as_new().then_some(waiting)
    }

    /// Gives back what was taken and not used.
    pub(crate) fn put_back(&self, waiting: Waiting) {
        let mut state = self.state();
        if !state.is_closed && state.waiting.is_none() {
            state.waiting = Some(waiting);
        }
    }

    /// To be kept while an actor is being started.
    pub(crate) fn actor_starts(self: &Arc<Self>) -> Starting {
        let mut state = self.state();
        state.starting += 1;
        state.started += 1;
        drop(state);
        Starting(Arc::clone(self))
    }

    /// Starts a process, unless there is one; later, if actors are being started, for which the
    /// processor is needed.
    pub(crate) fn fill(self: &Arc<Self>, entry: EntryPoint) {
        let mut state = self.state();
        let has_one = state.waiting.is_some() || state.is_filling;
        if !self.is_wanted || state.is_closed || has_one {
            return;
        }
        if state.starting > 0 {
            drop(state);
            return self.prepare(entry);
        }
        state.is_filling = true;
        drop(state);
        let filling = Filling(Arc::clone(self));
        tokio::spawn(async move {
            // Without it, restarts take as long as starts.
            if let Ok(waiting) = Waiting::start(entry).await {
                filling.0.put_back(waiting);
            }
        });
    }

    /// The same as soon as no actor has been started for a while.
    pub(crate) fn prepare(self: &Arc<Self>, entry: EntryPoint) {
        let mut state = self.state();
        let has_one = state.waiting.is_some() || state.is_filling || state.is_preparing;
        if !self.is_wanted || state.is_closed || has_one {
            return;
        }
        state.is_preparing = true;
        let mut started = state.started;
        drop(state);
        let preparing = Preparing(Arc::downgrade(self));
        tokio::spawn(async move {
            loop {
                sleep(QUIET).await;
                let Some(standby) = preparing.0.upgrade() else { return };
                let before = std::mem::replace(&mut started, standby.state().started);
                if started == before {
                    drop(preparing);
                    standby.fill(entry);
                    return;
                }
            }
        });
    }

    /// Ends the process, if there is one: its room is needed.
    pub(crate) fn give_way(&self) {
        let waiting = self.state().waiting.take();
        drop(waiting);
    }

    /// Waits until no process is being started.
    pub(crate) async fn settle(&self) {
        loop {
            let mut filled = pin!(self.filled.notified());
            filled.as_mut().enable();
            if !self.state().is_filling {
                return;
            }
            filled.await;
        }
    }

    /// Ends the process, if there is one, and starts no more.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        let waiting = state.waiting.take();
        drop(state);
        drop(waiting);
    }
}

/// A process is being started, until this is dropped; with its runtime, say.
struct Filling(Arc<Standby>);

impl Drop for Filling {
    fn drop(&mut self) {
        self.0.state().is_filling = false;
        self.0.filled.notify_waiters();
    }
}

/// A process will be started, unless this is dropped before; with its runtime, say.
struct Preparing(Weak<Standby>);

impl Drop for Preparing {
    fn drop(&mut self) {
        if let Some(standby) = self.0.upgrade() {
            standby.state().is_preparing = false;
        }
    }
}
