//! The thread that starts all worker processes of this program.
//!
//! A worker asks the kernel to kill it when its parent dies, and "parent" there means the
//! *thread* that started it. So one thread, which never ends while the program lives, starts them
//! all, or has [fork servers](crate::fork_server) make them, which it has started. It uses `Command`
//! without `pre_exec`, which would make it fork: 10 to 20 ms under a parent of 512 MiB, instead of
//! 0.4 ms.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;

use rustix::process::Pid;
use rustix::thread::gettid;
use tokio::sync::oneshot;

use crate::descriptors::open_ones;
use crate::fork_server::ForkServer;
use crate::init::EntryPoint;
use crate::process::WorkerProcess;
use crate::process_name::no_name;
use crate::socket::pair;

/// The environment variable that tells a process that it is a worker; the process id of its
/// node.
pub(crate) const WORKER_VARIABLE: &str = "PERSISTENT_ACTOR_WORKER";

/// The environment variable that tells a worker that it is to make others; the descriptors that it
/// has from its node, beside the standard ones.
pub(crate) const INHERITED_VARIABLE: &str = "PERSISTENT_ACTOR_INHERITED";

/// The executable of this process, even if its file was replaced since.
const THIS_EXECUTABLE: &str = "/proc/self/exe";

/// The thread, once it is there.
struct Spawner {
    orders: mpsc::Sender<Order>,
    thread: Pid,
}

struct Order {
    entry: EntryPoint,
    what: Wanted,
    reply: oneshot::Sender<io::Result<Spawned>>,
}

/// What a process is wanted for.
pub(crate) struct Wanted {
    pub(crate) actor: Arc<str>,
    /// The actor had one before.
    pub(crate) is_restart: bool,
    /// Who is to make it.
    pub(crate) server: Option<Arc<ForkServer>>,
}

/// A worker process, and this end of its connection, which does not block.
pub(crate) struct Spawned {
    /// Dropped first: if the process may not be killed any more, it ends because of that.
    pub(crate) socket: OwnedFd,
    pub(crate) process: Arc<WorkerProcess>,
    /// It was started for this, and is not a copy, nor one that was started ahead.
    pub(crate) is_new: bool,
}

/// A worker process that was ordered. If nobody waits for it, it is ended.
pub(crate) struct Ordered(oneshot::Receiver<io::Result<Spawned>>);

impl Ordered {
    pub(crate) async fn spawned(self) -> io::Result<Spawned> {
        self.0.await.map_err(|_| gone())?
    }
}

/// Orders a worker.
pub(crate) fn order(entry: EntryPoint, what: Wanted) -> io::Result<Ordered> {
    let (reply, answer) = oneshot::channel();
    spawner()?.orders.send(Order { entry, what, reply }).map_err(|_| gone())?;
    Ok(Ordered(answer))
}

fn gone() -> io::Error {
    io::Error::other("the thread that starts workers is gone")
}

/// The thread that starts them.
pub(crate) fn thread() -> io::Result<Pid> {
    spawner().map(|spawner| spawner.thread)
}

fn spawner() -> io::Result<&'static Spawner> {
    static SPAWNER: OnceLock<Spawner> = OnceLock::new();
    if let Some(spawner) = SPAWNER.get() {
        return Ok(spawner);
    }
    let (orders, receiver) = mpsc::channel::<Order>();
    let (known, thread) = mpsc::channel();
    thread::Builder::new().name("actor-spawner".to_owned()).spawn(move || {
        // Who asked may have given up.
        let _ = known.send(gettid());
        while let Ok(order) = receiver.recv() {
            order.fulfil();
        }
    })?;
    let thread = thread.recv().map_err(io::Error::other)?;
    // Of two threads that were started at once, the one whose channel is dropped here ends.
    Ok(SPAWNER.get_or_init(|| Spawner { orders, thread }))
}

impl Order {
    fn fulfil(self) {
        let Self { entry, what, reply } = self;
        if reply.is_closed() {
            return;
        }
        let Wanted { actor, is_restart, server } = what;
        let made = server.as_ref().and_then(|server| server.spawn(is_restart));
        let spawned = made.map_or_else(|| execute(entry, Some(&actor)), Ok);
        // If nobody waits any more, the process is dropped, and so ended.
        let _ = reply.send(spawned);
        // For the next.
        if let Some(server) = server {
            server.make_ready(entry);
        }
    }
}

/// What the command line of a process says of its actor. Nobody reads it: it tells a person what the
/// process is. An argument cannot hold a NUL, a name can.
fn shown(actor: Option<&str>) -> String {
    actor.map_or_else(no_name, |name| name.replace('\0', "\u{fffd}"))
}

/// Starts this executable as a worker: for this actor, or to make others.
pub(crate) fn execute(entry: EntryPoint, actor: Option<&str>) -> io::Result<Spawned> {
    let (socket, theirs) = pair()?;
    let mut command = Command::new(THIS_EXECUTABLE);
    let program = std::env::args_os().next().unwrap_or_else(|| THIS_EXECUTABLE.into());
    command.arg0(program);
    match entry {
        EntryPoint::Main => command.arg("actor").arg(shown(actor)),
        EntryPoint::Test(test) => {
            command.args(["--exact", test, "--nocapture", "--test-threads=1"]).stdout(Stdio::null())
        }
    };
    command.env(WORKER_VARIABLE, std::process::id().to_string());
    match actor {
        Some(_) => command.env_remove(INHERITED_VARIABLE),
        None => command.env(INHERITED_VARIABLE, inherited()?),
    };
    command.stdin(Stdio::from(theirs));
    // Ctrl-C reaches the program alone; it decides what becomes of its actors.
    command.process_group(0);
    let pid = Pid::from_child(&command.spawn()?);
    Ok(Spawned { socket, process: Arc::new(WorkerProcess::new(pid)), is_new: true })
}

/// The descriptors that a process gets which is started now.
fn inherited() -> io::Result<String> {
    let open = open_ones()?.into_iter().filter(|(_, stays)| !stays);
    Ok(open.map(|(number, _)| number.to_string()).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_cannot_be_an_argument_is_shown_as_it_can() {
        assert_eq!(shown(Some("a\0b")), "a\u{fffd}b");
        assert_eq!(shown(Some("visits")), "visits");
    }
}
