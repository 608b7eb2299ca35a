//! Counts what the events of a run say: deaths, restarts, retries, recovery times.

use std::collections::HashMap;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use persistent_actor_runtime::{Event, EventKind};

use crate::export::timeline::Entry;

/// The number of the signal that kills (signal(7)).
const SIGKILL: i32 = 9;

/// What the events said so far.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Actor processes that were started after the actor's first.
    pub restarts: u64,
    /// Calls that were sent again.
    pub retries: u64,
    /// Calls that were answered from the record of an earlier attempt.
    pub replays: u64,
    /// Processes that this run killed.
    pub killed: u64,
    /// Processes that died of SIGKILL.
    pub died_of_sigkill: u64,
    /// For each kill of an actor, in order: from the kill to its next reply. Nanoseconds; `None`
    /// when no reply came.
    pub recoveries_ns: HashMap<String, Vec<Option<u64>>>,
    /// The latest process of each actor.
    pub pids: HashMap<String, u32>,
    /// The kills that no reply followed yet: the actor's process and when.
    pending: HashMap<String, Vec<Pending>>,
}

/// A kill that waits for the next reply.
#[derive(Clone, Copy, Debug)]
struct Pending {
    incarnation: u64,
    at_ns: u64,
    /// Its place in `recoveries_ns`.
    index: usize,
}

/// Listens to a node's events. Clones are one recorder.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    counts: Counts,
    timeline: Option<Sender<Entry>>,
}

impl Recorder {
    /// A recorder that also passes every event on.
    pub fn new(timeline: Option<Sender<Entry>>) -> Self {
        let inner = Inner { timeline, ..Inner::default() };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Takes note of an event.
    pub fn observe(&self, event: &Event) {
        let mut inner = self.lock();
        inner.counts.note(&event.actor, event.incarnation, event.at_ns, &event.kind);
        if event.kind == EventKind::Spawned {
            inner.counts.pids.insert(event.actor.to_string(), event.pid);
        }
        inner.pass_on(|| event.into());
    }

    /// Passes on what another engine has recorded.
    pub fn draw(&self, entry: Entry) {
        self.lock().pass_on(|| entry);
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        self.lock().counts.clone()
    }

    /// Passes no more events on, so that whoever receives them can end.
    pub fn close(&self) {
        self.lock().timeline = None;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn pass_on(&self, entry: impl FnOnce() -> Entry) {
        if let Some(timeline) = &self.timeline {
            // The timeline's thread is gone after a failed write, which is reported at the end.
            let _ = timeline.send(entry());
        }
    }
}

impl Counts {
    fn note(&mut self, actor: &str, incarnation: u64, at_ns: u64, kind: &EventKind) {
        match kind {
            EventKind::Spawned if incarnation > 1 => self.restarts += 1,
            EventKind::Retried { .. } => self.retries += 1,
            EventKind::Died { exit, .. } if exit.signal == Some(SIGKILL) => {
                self.died_of_sigkill += 1;
                self.await_reply(actor, incarnation, at_ns);
            }
            EventKind::Killed => {
                self.killed += 1;
                self.await_reply(actor, incarnation, at_ns);
            }
            EventKind::CallFinished { replayed, .. } => {
                self.replays += u64::from(*replayed);
                self.replied(actor, incarnation, at_ns);
            }
            _ => {}
        }
    }

    /// A process was killed, or died of it without our doing: its recovery begins.
    fn await_reply(&mut self, actor: &str, incarnation: u64, at_ns: u64) {
        let pending = self.pending.entry(actor.to_owned()).or_default();
        if pending.iter().any(|kill| kill.incarnation == incarnation) {
            return;
        }
        let recoveries = self.recoveries_ns.entry(actor.to_owned()).or_default();
        pending.push(Pending { incarnation, at_ns, index: recoveries.len() });
        recoveries.push(None);
    }

    fn replied(&mut self, actor: &str, incarnation: u64, at_ns: u64) {
        let Some(pending) = self.pending.get_mut(actor) else { return };
        let recoveries = self.recoveries_ns.entry(actor.to_owned()).or_default();
        // A reply that the killed process had already sent is not a recovery.
        pending.retain(|kill| {
            let recovered = incarnation > kill.incarnation;
            if recovered {
                recoveries[kill.index] = Some(at_ns.saturating_sub(kill.at_ns));
            }
            !recovered
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use persistent_actor::{CallId, SessionId};
    use persistent_actor_runtime::CallStatus;

    fn reply() -> EventKind {
        EventKind::CallFinished {
            call: CallId { session: SessionId(1), sequence: 0 },
            method: "process",
            attempt: 1,
            status: CallStatus::Returned,
            replayed: false,
            run_started_ns: None,
            run_ended_ns: None,
            committed_ns: None,
            reply_bytes: 0,
        }
    }

    #[test]
    fn recovery_is_the_time_from_a_kill_to_the_next_reply_of_the_next_process() {
        let mut counts = Counts::default();
        counts.note("a", 1, 0, &EventKind::Spawned);
        counts.note("a", 1, 100, &EventKind::Killed);
        counts.note("a", 1, 110, &reply());
        counts.note("b", 2, 120, &reply());
        counts.note("a", 2, 150, &EventKind::Spawned);
        counts.note("a", 2, 400, &reply());
        counts.note("a", 2, 500, &reply());
        counts.note("a", 2, 600, &EventKind::Killed);
        assert_eq!(counts.recoveries_ns["a"], [Some(300), None]);
        assert_eq!((counts.restarts, counts.killed), (1, 2));
    }

    #[test]
    fn an_actor_that_is_killed_while_it_restarts_recovers_from_both_kills_at_once() {
        let mut counts = Counts::default();
        counts.note("a", 1, 100, &EventKind::Killed);
        counts.note("a", 2, 200, &EventKind::Killed);
        counts.note("a", 3, 700, &reply());
        assert_eq!(counts.recoveries_ns["a"], [Some(600), Some(500)]);
    }
}
