//! [`Event`]: what happened to actors and calls, for timelines, progress and tests.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use persistent_actor::CallId;
use rustix::time::{ClockId, clock_gettime};

/// Something that happened to an actor of this node.
///
/// Events of one actor come in the order in which they happened. An observer is called at
/// once, and the call waits for it: keep it short, and do not use nodes or handles in it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event {
    /// When, in nanoseconds of `CLOCK_MONOTONIC` (the same clock in all processes; see
    /// [`now_ns`]).
    pub at_ns: u64,
    /// The actor's name.
    pub actor: Arc<str>,
    /// Which start of the actor in this node, counted from 1.
    pub incarnation: u64,
    /// The actor's process.
    pub pid: u32,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// A process was started for the actor.
    Spawned,
    /// The actor has loaded its state and takes calls.
    Ready {
        /// The epoch under which it writes its state; 0 with durability `none`.
        epoch: u64,
        /// The number of the last commit in its state.
        sequence: u64,
    },
    /// A call was sent to the actor's process.
    CallStarted {
        /// The call.
        call: CallId,
        /// The method's name.
        method: &'static str,
        /// 1 for the first time that the call is sent, 2 for the second and so on.
        attempt: u32,
    },
    /// The reply to a call arrived.
    CallFinished {
        /// The call.
        call: CallId,
        /// The method's name.
        method: &'static str,
        /// As in [`EventKind::CallStarted`].
        attempt: u32,
        /// How the call ended.
        status: CallStatus,
        /// The call had been committed in an earlier attempt: this is the reply of that one.
        replayed: bool,
        /// When the method began to run; `None` if it did not.
        run_started_ns: Option<u64>,
        /// When the method had run; `None` if it did not.
        run_ended_ns: Option<u64>,
        /// When the call's record was committed; `None` if it left no record.
        committed_ns: Option<u64>,
        /// The size of the reply's value in bytes.
        reply_bytes: u64,
    },
    /// This node killed the process, on request or to have it gone.
    Killed,
    /// The process was stopped and given away; its successor is started beside it. Only fault
    /// injection does this.
    Superseded,
    /// The process has ended.
    Died {
        /// How.
        exit: Exit,
        /// What the process said of it, if it did.
        reason: Option<String>,
    },
    /// The actor is about to be started again.
    Restarting {
        /// How many starts in a row, this one included, followed a death before
        /// [`EventKind::Ready`]; 1 after a death in service.
        attempt: u32,
        /// The pause before the start.
        delay: Duration,
    },
    /// A call that was not answered is sent again, with the same id.
    Retried {
        /// The call.
        call: CallId,
        /// As in [`EventKind::CallStarted`].
        attempt: u32,
    },
    /// A call was given up because the actor died of it again and again.
    PoisonCall {
        /// The call.
        call: CallId,
        /// How often the actor died of it.
        deaths: u32,
    },
    /// The actor is gone for good.
    Stopped,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallStatus {
    /// The method returned.
    Returned,
    /// The method returned an `Err`.
    Failed,
    /// The method panicked.
    Panicked,
    /// The call was refused and changed nothing.
    Rejected,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exit {
    /// Its exit code, when it ended by itself.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "exit code {code}"),
            (None, Some(signal)) => write!(f, "signal {signal}"),
            (None, None) => f.write_str("unknown exit status"),
        }
    }
}

/// The time now, in nanoseconds of `CLOCK_MONOTONIC`: the clock of [`Event::at_ns`].
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // Monotonic time counts from boot and is never negative.
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Who is told of events.
pub(crate) type Observer = Arc<dyn Fn(&Event) + Send + Sync>;
