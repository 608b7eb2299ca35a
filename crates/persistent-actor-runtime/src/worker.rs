//! The worker: receive a call, look it up, run it, commit, reply.

use std::io::Write;

use crate::actor_type::Remote;

/// What a worker is to run.
pub(crate) struct Assignment {}

/// How a worker ended.
pub(crate) enum Finish {
    /// The node closed the connection.
    Closed,
}

/// A process that was started as a worker.
pub(crate) struct Worker {}

impl Worker {
    pub(crate) fn of_this_process() -> Option<Self> {
        None
    }

    pub(crate) fn run(self) -> ! {
        std::process::exit(0)
    }
}

pub(crate) fn serve<A: Remote>(_: Assignment) -> Finish {
    Finish::Closed
}

/// Ends a process that cannot go on.
pub(crate) fn exit_with(message: &str) -> ! {
    // With stderr gone there is nobody left to tell.
    let _ = writeln!(std::io::stderr(), "error: {message}");
    std::process::exit(1)
}
