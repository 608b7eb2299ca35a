//! The task that keeps one actor alive: starts its process, reads what it sends, and starts it
//! again when it dies.

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use persistent_actor::codec;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep};

use crate::actors::Actors;
use crate::assignment::Assignment;
use crate::cell::{Cell, Death, Duties, End, Taken};
use crate::error::SpawnError;
use crate::event::EventKind;
use crate::fork::is_want_of_room;
use crate::fork_server::ForkServer;
use crate::init::EntryPoint;
use crate::lending::Payload;
use crate::process::{MemoryHolder, WorkerProcess};
use crate::socket::{Arrived, Inbox, for_reading, for_writing};
use crate::spawner::{self, Ordered, Spawned, Wanted};

/// How long the first answer after a restart is waited for, with what can wait.
const FIRST_ANSWER: Duration = Duration::from_millis(50);

/// How many starts in a row may end before the actor is ready.
const MAX_START_ATTEMPTS: u32 = 8;

/// The pause before the second start in a row; it doubles with each that follows.
const FIRST_BACKOFF: Duration = Duration::from_millis(10);

/// The longest pause between two starts.
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// How long a worker that was told to stop may take to exit.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Keeps one actor alive.
pub(crate) struct Supervisor {
    pub(crate) cell: Arc<Cell>,
    pub(crate) actors: Weak<Actors>,
    pub(crate) entry: EntryPoint,
    pub(crate) assignment: Assignment,
    pub(crate) initial: Payload,
    /// Who waits for the first start.
    pub(crate) started: Option<oneshot::Sender<Result<(), SpawnError>>>,
    /// Makes its processes; `None` if it is to have new ones.
    pub(crate) server: Option<Arc<ForkServer>>,
    pub(crate) start: Start,
}

/// The next start, or the one under way.
#[derive(Default)]
pub(crate) struct Start {
    /// Its process, if it was ordered while the last one was being taken down.
    ordered: Option<Ordered>,
    /// It uses a copy, or a process that was started ahead, which has not proved yet that it can be
    /// used.
    is_unproved: bool,
    /// The last process died before its worker was ready: a new one is started.
    is_distrusted: bool,
    /// The memory of the process before.
    memory: Option<MemoryHolder>,
    /// Memory that is being taken down.
    let_go: JoinSet<()>,
    /// The worker has loaded its state.
    is_ready: bool,
    /// How long it takes does not matter any more.
    is_served: bool,
}

/// A process and this end of its connection.
type Connected = (Arc<WorkerProcess>, Arc<AsyncFd<OwnedFd>>);

/// Ends the actor if the supervisor is dropped, as when its runtime is shut down: it may not have run
/// at all.
impl Drop for Supervisor {
    fn drop(&mut self) {
        self.cell.end(End::Stopped);
        if let Some(actors) = self.actors.upgrade() {
            actors.remove(&self.cell);
        }
    }
}

/// How an attempt to run an incarnation ended.
enum Outcome {
    Died(Death),
    /// It could not be started.
    NotStarted(io::Error),
    /// The actor was ended from outside.
    Ended,
}

impl Supervisor {
    pub(crate) async fn run(mut self) {
        let end = self.keep_alive().await;
        let why_not_started = match &end {
            End::Died(reason) => {
                SpawnError::StartFailed { name: self.cell.name.to_string(), reason: reason.clone() }
            }
            End::Stopped => SpawnError::NodeClosed { name: self.cell.name.to_string() },
        };
        self.give_all_back().await;
        self.cell.end(end);
        let started = self.started.take();
        drop(self);
        if let Some(started) = started {
            let _ = started.send(Err(why_not_started));
        }
    }

    /// Runs one incarnation after the other until the actor ends.
    async fn keep_alive(&mut self) -> End {
        let mut restarts = 0u64;
        let mut early_deaths = 0u32;
        loop {
            let (reason, was_ready, killed) = match self.incarnation().await {
                Outcome::Ended => return End::Stopped,
                Outcome::Died(death) if death.closed => return End::Stopped,
                // Not the actor died, but a process before it became one.
                Outcome::Died(death) if self.fails_copy(&death) => {
                    if !self.pause(early_deaths).await {
                        return End::Stopped;
                    }
                    continue;
                }
                Outcome::Died(death) => {
                    self.assignment.note_ended(death.epoch);
                    if self.started.is_some() && death.said.is_some() {
                        return End::Died(death.reason());
                    }
                    (self.describe(&death), death.was_ready, death.killed)
                }
                Outcome::NotStarted(error) => {
                    self.let_memory_go(Duration::ZERO);
                    let reason = format!("cannot start a process: {error}");
                    if self.started.is_some() {
                        return End::Died(reason);
                    }
                    (reason, false, false)
                }
            };
            if self.cell.may_stop() {
                return End::Stopped;
            }
            early_deaths = match (was_ready, killed) {
                (true, _) => 0,
                (false, true) => early_deaths,
                (false, false) => early_deaths + 1,
            };
            if early_deaths >= MAX_START_ATTEMPTS {
                return End::Died(format!("{early_deaths} starts failed, the last one: {reason}"));
            }
            restarts += 1;
            if !self.cell.policy.max_restarts.allows(restarts) {
                return End::Died(format!("{reason}; it may not be restarted once more"));
            }
            if !self.pause(early_deaths).await {
                return End::Stopped;
            }
        }
    }

    fn describe(&self, death: &Death) -> String {
        match death {
            Death { was_ready: false, said: None, exit, .. } => {
                format!("its process ended with {exit} before it was ready")
            }
            _ => death.reason(),
        }
    }

    /// Whether a process that is not new has died, of itself, before it was of any use. Only once
    /// in a row: until a worker is ready, the next are new ones, and what those die of is the actor's.
    fn fails_copy(&mut self, death: &Death) -> bool {
        let is_unproved = std::mem::take(&mut self.start.is_unproved);
        self.start.is_distrusted |= !death.was_ready;
        is_unproved && !death.killed
    }

    /// Waits before the next start; `false` if the actor was ended meanwhile.
    async fn pause(&mut self, early_deaths: u32) -> bool {
        let delay = match early_deaths.checked_sub(2) {
            None => Duration::ZERO,
            Some(doublings) => (FIRST_BACKOFF * 2u32.saturating_pow(doublings)).min(MAX_BACKOFF),
        };
        self.cell.emit(|| EventKind::Restarting { attempt: early_deaths.max(1), delay });
        if delay.is_zero() {
            return !self.cell.has_ended();
        }
        self.let_memory_go(Duration::ZERO);
        let mut pause = pin!(sleep(delay));
        loop {
            tokio::select! {
                () = &mut pause => return !self.cell.has_ended(),
                () = self.cell.woken() => {}
            }
            if self.cell.has_ended() || self.cell.may_stop() {
                return false;
            }
        }
    }

    /// Runs the actor in one process until that is gone.
    async fn incarnation(&mut self) -> Outcome {
        (self.start.is_ready, self.start.is_served) = (false, false);
        let (process, socket) = match self.start().await {
            Ok(started) => started,
            Err(error) => return Outcome::NotStarted(error),
        };
        let options = match self.options() {
            Ok(options) => options,
            Err(error) => return Outcome::NotStarted(error),
        };
        if !self.cell.attach(process.clone(), socket.clone(), &options, &self.initial) {
            return Outcome::Ended;
        }
        let mut said = None;
        let served = self.serve(&socket, &mut said).await;
        // One that says why it cannot go on was of use.
        self.start.is_unproved &= said.is_none();
        if let Err(reason) = served {
            said = said.or(reason);
        }
        if self.server.is_some() && self.start.is_ready && !self.cell.may_stop() {
            // While the process is being taken down.
            self.start.ordered = self.order().ok();
        }
        if let Some(death) = self.cell.superseded() {
            return Outcome::Died(death);
        }
        let exit = process.end().await;
        match self.cell.detach(exit, said) {
            Some(mut death) => {
                self.let_memory_go(Duration::ZERO);
                self.start.memory = death.memory.take();
                Outcome::Died(death)
            }
            None => Outcome::Ended,
        }
    }

    /// What the worker is told to run.
    fn options(&self) -> io::Result<Payload> {
        let encoded = codec::encode(&self.assignment).map_err(io::Error::other)?;
        Payload::new(encoded).map_err(|error| io::Error::other(error.to_string()))
    }

    async fn start(&mut self) -> io::Result<Connected> {
        let ordered = match self.start.ordered.take() {
            Some(ordered) => ordered,
            None => self.order()?,
        };
        let Spawned { process, socket, is_new } = match ordered.spawned().await {
            // There may be no room for processes that only make restarts faster.
            Err(error) if is_want_of_room(&error) => {
                self.let_memory_go(Duration::ZERO);
                while self.start.let_go.join_next().await.is_some() {}
                self.order()?.spawned().await?
            }
            spawned => spawned?,
        };
        self.start.is_unproved = !is_new;
        Ok((process, for_reading(socket)?))
    }

    fn order(&self) -> io::Result<Ordered> {
        let server = self.server.clone().filter(|_| !self.start.is_distrusted);
        let (actor, is_restart) = (Arc::clone(&self.cell.name), self.started.is_none());
        spawner::order(self.entry, Wanted { actor, is_restart, server })
    }

    /// Takes down the memory of a process that is gone, after this time; nobody waits for it.
    fn let_memory_go(&mut self, after: Duration) {
        while self.start.let_go.try_join_next().is_some() {}
        let Some(memory) = self.start.memory.take() else { return };
        self.start.let_go.spawn(async move {
            if !after.is_zero() {
                sleep(after).await;
            }
            memory.end().await;
        });
    }

    /// Waits until there is no process any more that was ordered, and no memory is held.
    async fn give_all_back(&mut self) {
        if let Some(ordered) = self.start.ordered.take() {
            drop(ordered.spawned().await);
        }
        self.let_memory_go(Duration::ZERO);
        // Those that wait for their time end at once.
        self.start.let_go.shutdown().await;
    }

    /// The worker is ready, or has answered.
    fn note_progress(&mut self, taken: Taken) {
        if taken == Taken::Other || self.start.is_served {
            return;
        }
        if taken == Taken::Ready {
            self.start.is_ready = true;
            (self.start.is_unproved, self.start.is_distrusted) = (false, false);
            if let Some(started) = self.started.take() {
                let _ = started.send(Ok(()));
            }
        }
        if taken == Taken::Reply || self.cell.is_idle() {
            // Whoever has waited for this start waits no more.
            self.start.is_served = true;
            self.let_memory_go(Duration::ZERO);
        } else {
            // The first answer may take hours.
            self.let_memory_go(FIRST_ANSWER);
        }
    }

    /// Reads what the worker sends until it closes the connection. An error is a reason to end
    /// it.
    async fn serve(
        &mut self,
        socket: &AsyncFd<OwnedFd>,
        said: &mut Option<String>,
    ) -> Result<(), Option<String>> {
        let mut inbox = Inbox::new();
        let mut writable: Option<AsyncFd<OwnedFd>> = None;
        let mut deadline: Option<Pin<Box<Sleep>>> = None;
        let cell = self.cell.clone();
        let mut woken = pin!(cell.woken());
        loop {
            match cell.duties() {
                Duties::Read => writable = None,
                Duties::Write if writable.is_some() => {}
                Duties::Write => writable = Some(for_writing(socket).map_err(io_reason)?),
                Duties::AwaitExit => deadline = Some(Box::pin(sleep(STOP_TIMEOUT))),
                Duties::GiveUp(reason) => {
                    // What the worker has sent before counts.
                    self.take_frames(socket.as_fd(), &mut inbox, said).map_err(Some)?;
                    return Err(reason);
                }
            }
            let wakeup = poll_fn(|cx| {
                if let Poll::Ready(guard) = socket.poll_read_ready(cx) {
                    return Poll::Ready(guard.map(Wakeup::Readable));
                }
                if let Some(socket) = &writable
                    && let Poll::Ready(guard) = socket.poll_write_ready(cx)
                {
                    return Poll::Ready(guard.map(Wakeup::Writable));
                }
                if woken.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Ok(Wakeup::Duty));
                }
                match &mut deadline {
                    Some(deadline) => deadline.as_mut().poll(cx).map(|()| Ok(Wakeup::Deadline)),
                    None => Poll::Pending,
                }
            });
            match wakeup.await.map_err(io_reason)? {
                Wakeup::Readable(guard) => {
                    if self.read(guard, &mut inbox, said).map_err(Some)? == Arrived::End {
                        return Ok(());
                    }
                }
                Wakeup::Writable(mut guard) => {
                    if !cell.flush_waiting() {
                        guard.clear_ready();
                    }
                }
                Wakeup::Duty => woken.set(cell.woken()),
                Wakeup::Deadline => {
                    cell.kill_process();
                    deadline = None;
                }
            }
        }
    }

    /// Reads all that has arrived.
    fn read(
        &mut self,
        mut guard: AsyncFdReadyGuard<'_, OwnedFd>,
        inbox: &mut Inbox,
        said: &mut Option<String>,
    ) -> Result<Arrived, String> {
        let arrived = self.take_frames(guard.get_ref().as_fd(), inbox, said)?;
        if arrived != Arrived::End {
            // The socket is drained; what comes next is a new event.
            guard.clear_ready();
        }
        Ok(arrived)
    }

    /// Takes all frames that have arrived.
    fn take_frames(
        &mut self,
        socket: BorrowedFd<'_>,
        inbox: &mut Inbox,
        said: &mut Option<String>,
    ) -> Result<Arrived, String> {
        loop {
            let arrived = inbox.fill(socket).map_err(|error| error.to_string())?;
            if arrived == Arrived::End {
                return Ok(arrived);
            }
            while let Some((frame, descriptor)) = inbox.next().map_err(|e| e.to_string())? {
                let taken = self.cell.take_frame(frame, descriptor, said);
                self.note_progress(taken.map_err(|error| error.to_string())?);
            }
            if arrived != (Arrived::Bytes { more: true }) {
                return Ok(arrived);
            }
        }
    }
}

fn io_reason(error: io::Error) -> Option<String> {
    Some(error.to_string())
}

/// Why a supervisor woke up.
enum Wakeup<'a> {
    Readable(AsyncFdReadyGuard<'a, OwnedFd>),
    Writable(AsyncFdReadyGuard<'a, OwnedFd>),
    Duty,
    Deadline,
}
