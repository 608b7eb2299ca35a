//! [`ForkServer`]: a worker process that is started ahead and makes others by `fork`.
//!
//! Most of what it takes to start a worker is the same for every actor: a process, its executable,
//! the libraries that this is linked with. A process that has all this behind it and waits for its
//! assignment can be copied instead: that takes a fifth of the time, and the copies share the memory
//! that none of them changes. (Python's `multiprocessing` has such servers under this name; what
//! comes before the fork is done once for all.)
//!
//! It is a worker like any other, which has opened nothing yet and belongs to no actor; and so are
//! its copies, which are children of the node, not of it. Where it cannot fork, it takes the
//! assignment itself. It is not used if what a new process would inherit is not what it was any
//! more, as far as [`Surroundings`] knows.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;

use crate::init::EntryPoint;
use crate::process::WorkerProcess;
use crate::socket::{Arrived, Inbox, pair, send_descriptor};
use crate::spawner::{self, Spawned};
use crate::surroundings::Surroundings;
use crate::wire::Frame;

/// How often it is looked whether a server that does not answer is still there and runs. It answers
/// in a tenth of a millisecond, but what comes before [`init`](crate::init()) may take long.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

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
    is_closed: bool,
}

/// A process that waits.
struct Server {
    socket: OwnedFd,
    inbox: Inbox,
    process: Arc<WorkerProcess>,
    surroundings: Surroundings,
}

/// What became of the wish for a process.
enum Forked {
    Made(Spawned),
    /// The server cannot do it now, or never.
    Refused,
    /// The server is gone or stands still, or has answered something else.
    Failed,
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
    pub(crate) fn spawn(&self) -> Option<Spawned> {
        let mut state = self.state();
        let mut server = state.server.take()?;
        state.at_work = Some(Arc::clone(&server.process));
        drop(state);
        let forked = server.fork();
        let (spawned, left) = match forked {
            Forked::Made(spawned) => (Some(spawned), Some(server)),
            Forked::Refused => (Some(server.into_worker()), None),
            Forked::Failed => (None, Some(server)),
        };
        let mut state = self.state();
        state.at_work = None;
        match left {
            Some(server) if spawned.is_some() && !state.is_closed => state.server = Some(server),
            Some(server) => server.end(),
            None => {}
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
        let Spawned { socket, process } = spawner::execute(entry, None)?;
        Ok(Self { socket, inbox: Inbox::new(), process, surroundings })
    }

    fn fork(&mut self) -> Forked {
        if !self.process.is_awake() {
            return Forked::Failed;
        }
        // What this program lacks for another socket, it lacks for another process.
        let Ok((socket, theirs)) = pair() else { return Forked::Refused };
        if send_descriptor(self.socket.as_fd(), &Frame::Fork, theirs.as_fd()).is_err() {
            return Forked::Failed;
        }
        drop(theirs);
        // While it is at work.
        let is_as_new = Surroundings::of_this_thread().is_ok_and(|now| now == self.surroundings);
        match self.receive() {
            Ok(made) if is_as_new => match made.map(|pid| self.process.adopt(pid)) {
                Some(Ok(process)) => Forked::Made(Spawned { socket, process: Arc::new(process) }),
                Some(Err(_)) => Forked::Failed,
                None => Forked::Refused,
            },
            _ => Forked::Failed,
        }
    }

    /// The id of the process that the server has made; `None` if it could not.
    fn receive(&mut self) -> io::Result<Option<u32>> {
        loop {
            match self.inbox.next().map_err(io::Error::other)? {
                Some((Frame::Forked { pid }, _)) => return Ok(pid),
                Some(_) => return Err(io::ErrorKind::InvalidData.into()),
                None => self.await_more()?,
            }
        }
    }

    fn await_more(&mut self) -> io::Result<()> {
        let mut descriptors = [PollFd::new(&self.socket, PollFlags::IN)];
        while retry_on_intr(|| poll(&mut descriptors, Some(&LOOK_EVERY)))? == 0 {
            if !self.process.is_awake() {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        match self.inbox.fill(self.socket.as_fd())? {
            Arrived::End => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    fn into_worker(self) -> Spawned {
        Spawned { socket: self.socket, process: self.process }
    }

    /// Ends the process, and one that it has made and not told of.
    fn end(self) {
        // If the process may not be killed any more, it ends because of that.
        drop(self.socket);
        self.process.end_group();
    }
}
