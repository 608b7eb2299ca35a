//! [`ForkServer`]: a worker process that is started ahead and makes others by `fork`.
//!
//! Most of what it takes to start a worker is the same for every actor: a process, its executable,
//! the libraries that this is linked with. A process that has all this behind it and waits for its
//! assignment can be copied instead. Beside as many bare processes, 1 000 actors have answered after 0.4
//! of the time that way, and after 1.3 times as long otherwise; and copies share the memory that none
//! of them changes. (Python's `multiprocessing` has such servers under this name; what
//! comes before the fork is done once for all.)
//!
//! It is a worker like any other, which has opened nothing yet and belongs to no actor; and so are
//! its copies, which are children of the node, not of it. Where it cannot fork, it takes the
//! assignment itself. It is not used if what a new process would inherit is not what it was any
//! more, as far as [`Surroundings`] knows.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;

use crate::init::EntryPoint;
use crate::process::WorkerProcess;
use crate::socket::{Arrived, Inbox, pair, send_descriptor};
use crate::spawner::{self, Spawned};
use crate::surroundings::Surroundings;
use crate::wire::Frame;

/// How long it is waited until a server has come to [`init`](crate::init()), once: what a program does
/// before may take long, and the processes of several actors could do it at the same time.
const UNTIL_INIT: Duration = Duration::from_millis(200);

/// How long a copy is waited for, which takes a tenth of a millisecond, before the server is given up:
/// all starts of the program wait meanwhile.
const UNTIL_COPY: Duration = Duration::from_secs(1);

/// How often it is looked whether a server that is waited for still runs.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The fork server of a node, or the place for it. Asked by the thread that starts workers.
#[derive(Default)]
pub(crate) struct ForkServer {
    state: Mutex<State>,
    /// Told when the server is not at work any more.
    rests: Condvar,
}

#[derive(Default)]
struct State {
    server: Option<Server>,
    /// The server's process while the thread that starts workers has it.
    at_work: Option<Arc<WorkerProcess>>,
    /// It never can fork. Then it is a process that was started ahead, for a restart.
    cannot_fork: bool,
    is_closed: bool,
}

/// A process that waits.
struct Server {
    socket: OwnedFd,
    inbox: Inbox,
    process: Arc<WorkerProcess>,
    surroundings: Surroundings,
    has_come_to_init: bool,
    /// It was waited for once.
    is_late: bool,
}

/// What a server has for who wants a process.
enum Offer {
    Copy(Spawned),
    /// Itself: it cannot make another, now or never.
    Itself {
        can_fork: bool,
    },
    /// It has not come to `init` yet, or is kept for others.
    Nothing,
    /// It is gone or stands still, or is not as a new process would be.
    Unusable,
}

impl ForkServer {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process, if there is one.
    pub(crate) fn pid(&self) -> Option<u32> {
        let state = self.state();
        let process = state.server.as_ref().map(|server| &server.process);
        process.or(state.at_work.as_ref()).map(|process| process.pid())
    }

    /// A worker that the server has made, or that it was; `None` if there is no server, or none
    /// that is as good as a new process.
    pub(crate) fn spawn(&self, is_restart: bool) -> Option<Spawned> {
        let mut state = self.state();
        let mut server = state.server.take()?;
        let can_fork = !state.cannot_fork;
        state.at_work = Some(Arc::clone(&server.process));
        drop(state);
        let (spawned, left) = match server.offer(can_fork, is_restart) {
            Offer::Copy(spawned) => (Some(spawned), Ok(server)),
            Offer::Nothing => (None, Ok(server)),
            Offer::Unusable => (None, Err(Some(server))),
            Offer::Itself { can_fork } => {
                self.state().cannot_fork |= !can_fork;
                (Some(server.into_worker()), Err(None))
            }
        };
        let mut state = self.state();
        state.at_work = None;
        match left {
            Ok(server) if !state.is_closed => state.server = Some(server),
            Ok(server) | Err(Some(server)) => server.end(),
            Err(None) => {}
        }
        self.rests.notify_all();
        spawned
    }

    /// Starts a server, unless there is one. Without it, starts and restarts take longer.
    pub(crate) fn make_ready(&self, entry: EntryPoint) {
        let mut state = self.state();
        if state.server.is_none() && !state.is_closed {
            state.server = Server::start(entry).ok();
        }
    }

    /// Ends the server, if there is one, and starts no more.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        while let Some(process) = state.at_work.clone() {
            // Whoever waits for it need not.
            process.kill();
            state = self.rests.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(server) = state.server.take() {
            server.end();
        }
    }
}

impl Server {
    fn start(entry: EntryPoint) -> io::Result<Self> {
        // Known before the process is there: if they change meanwhile, it is not used.
        let surroundings = Surroundings::of_this_thread()?;
        let Spawned { socket, process, .. } = spawner::execute(entry, None)?;
        let (inbox, has_come_to_init, is_late) = (Inbox::new(), false, false);
        Ok(Self { socket, inbox, process, surroundings, has_come_to_init, is_late })
    }

    fn offer(&mut self, can_fork: bool, is_restart: bool) -> Offer {
        let now = Surroundings::of_this_thread();
        if !self.process.is_awake() || !now.is_ok_and(|now| now == self.surroundings) {
            return Offer::Unusable;
        }
        let waits = can_fork && !self.is_late;
        match self.come_to_init(if waits { UNTIL_INIT } else { Duration::ZERO }) {
            Ok(true) if can_fork => self.fork().unwrap_or(Offer::Unusable),
            Ok(true) if is_restart => Offer::Itself { can_fork },
            Ok(_) => Offer::Nothing,
            Err(_) => Offer::Unusable,
        }
    }

    /// Whether the server has come to `init`, if need be after a wait.
    fn come_to_init(&mut self, patience: Duration) -> io::Result<bool> {
        if self.has_come_to_init {
            return Ok(true);
        }
        match self.receive(patience, |frame| matches!(frame, Frame::Waits)) {
            Ok(true) => self.has_come_to_init = true,
            Ok(false) => return Err(io::ErrorKind::InvalidData.into()),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => self.is_late = true,
            Err(error) => return Err(error),
        }
        Ok(self.has_come_to_init)
    }

    fn fork(&mut self) -> io::Result<Offer> {
        // What this program lacks for another socket, it lacks for another process.
        let Ok((socket, theirs)) = pair() else { return Ok(Offer::Itself { can_fork: true }) };
        send_descriptor(self.socket.as_fd(), &Frame::Fork, theirs.as_fd())?;
        drop(theirs);
        let made = self.receive(UNTIL_COPY, |frame| match frame {
            Frame::Forked { pid } => Some(Ok(pid)),
            Frame::NotForked { ever } => Some(Err(ever)),
            _ => None,
        })?;
        match made {
            Some(Ok(pid)) => {
                let process = Arc::new(self.process.adopt(pid)?);
                Ok(Offer::Copy(Spawned { socket, process, is_new: false }))
            }
            Some(Err(can_fork)) => Ok(Offer::Itself { can_fork }),
            None => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Gives the next frame from the server to `take`.
    fn receive<T>(
        &mut self,
        patience: Duration,
        take: impl FnOnce(Frame<'_>) -> T,
    ) -> io::Result<T> {
        let deadline = Instant::now() + patience;
        while !self.inbox.has_whole_frame().map_err(io::Error::other)? {
            let left = deadline.saturating_duration_since(Instant::now());
            let moment = Timespec::try_from(left.min(LOOK_EVERY)).map_err(io::Error::other)?;
            let mut descriptors = [PollFd::new(&self.socket, PollFlags::IN)];
            if retry_on_intr(|| poll(&mut descriptors, Some(&moment)))? == 0 {
                if left.is_zero() {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                if !self.process.is_awake() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                continue;
            }
            if self.inbox.fill(self.socket.as_fd())? == Arrived::End {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        match self.inbox.next().map_err(io::Error::other)? {
            Some((frame, _)) => Ok(take(frame)),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn into_worker(self) -> Spawned {
        Spawned { socket: self.socket, process: self.process, is_new: false }
    }

    /// Ends the process, and one that it has made and not told of.
    fn end(self) {
        // If the process may not be killed any more, it ends because of that.
        drop(self.socket);
        self.process.end_group();
    }
}
