//! The thread that starts all worker processes of this program.
//!
//! A worker asks the kernel to kill it when its parent dies, and "parent" there means the
//! *thread* that started it. So one thread, which never ends while the program lives, starts them
//! all. It uses `Command` without `pre_exec`, which would make it fork: 10 to 20 ms under a
//! parent of 512 MiB, instead of 0.4 ms.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc;
use std::thread;

use rustix::process::Pid;
use rustix::thread::gettid;
use tokio::sync::oneshot;

use crate::init::EntryPoint;
use crate::process::WorkerProcess;

/// The environment variable that tells a process that it is a worker; the process id of its
/// node.
pub(crate) const WORKER_VARIABLE: &str = "PERSISTENT_ACTOR_WORKER";

/// The executable of this process, even if its file was replaced since.
const THIS_EXECUTABLE: &str = "/proc/self/exe";

/// The thread, once it is there.
struct Spawner {
    orders: mpsc::Sender<Order>,
    thread: Pid,
}

struct Order {
    entry: EntryPoint,
    /// What the process is started for; `None` if that is not known yet.
    actor: Option<String>,
    socket: OwnedFd,
    reply: oneshot::Sender<io::Result<WorkerProcess>>,
}

/// Starts a worker that talks over `socket`: for this actor, or for one that is not known yet.
pub(crate) async fn spawn(
    entry: EntryPoint,
    actor: Option<&str>,
    socket: OwnedFd,
) -> io::Result<WorkerProcess> {
    let gone = || io::Error::other("the thread that starts workers is gone");
    let (reply, answer) = oneshot::channel();
    let order = Order { entry, actor: actor.map(str::to_owned), socket, reply };
    spawner()?.orders.send(order).map_err(|_| gone())?;
    answer.await.map_err(|_| gone())?
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
    let (orders, receiver) = mpsc::channel();
    let (known, thread) = mpsc::channel();
    thread::Builder::new().name("actor-spawner".to_owned()).spawn(move || {
        // Who asked may have given up.
        let _ = known.send(gettid());
        while let Ok(order) = receiver.recv() {
            let Order { entry, actor, socket, reply } = order;
            // Nobody waits any more: the process is dropped, and so killed.
            let _ = reply.send(start(entry, actor.as_deref(), socket));
        }
    })?;
    let thread = thread.recv().map_err(io::Error::other)?;
    // Of two threads that were started at once, the one whose channel is dropped here ends.
    Ok(SPAWNER.get_or_init(|| Spawner { orders, thread }))
}

fn start(entry: EntryPoint, actor: Option<&str>, socket: OwnedFd) -> io::Result<WorkerProcess> {
    let mut command = Command::new(THIS_EXECUTABLE);
    let program = std::env::args_os().next().unwrap_or_else(|| THIS_EXECUTABLE.into());
    command.arg0(program);
    match entry {
        // Nobody reads these: they tell a person what the process is.
        EntryPoint::Main => command.args(["actor", actor.unwrap_or("(standby)")]),
        EntryPoint::Test(test) => {
            command.args(["--exact", test, "--nocapture", "--test-threads=1"]).stdout(Stdio::null())
        }
    };
    command.env(WORKER_VARIABLE, std::process::id().to_string());
    command.stdin(Stdio::from(socket));
    // Ctrl-C reaches the program alone; it decides what becomes of its actors.
    command.process_group(0);
    command.spawn().map(WorkerProcess::new)
}
