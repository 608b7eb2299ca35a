//! What was told of a run on Ray, as entries of the timeline.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use persistent_actor::{CallId, SessionId};
use persistent_actor_runtime::{CallStatus, EventKind};

use crate::export::timeline::{Entry, What};
use crate::ray::books::{Answer, Closed};
use crate::ray::message::{KillTold, Started};
use crate::recorder::Recorder;
use crate::workload::actor_name;

/// Draws the whole run.
pub(crate) fn draw<N>(started: &Started, closed: &Closed<N>, recorder: &Recorder) {
    let mut drawing = Drawing { rows: HashMap::new(), entries: Vec::new() };
    for (actor, &pid) in started.pids.iter().enumerate() {
        drawing.start(actor, pid, started.begin_ns, started.ready_ns);
    }
    let mut kills: Vec<&KillTold> = closed.kills.iter().collect();
    kills.sort_by_key(|kill| kill.killed_ns);
    for kill in kills {
        drawing.kill(kill);
    }
    for (number, answer) in closed.answers.iter().enumerate() {
        drawing.call(number as u64, answer);
    }
    // Stable: what happens at one instant stays in the order of drawing.
    drawing.entries.sort_by_key(|entry| entry.at_ns);
    for entry in drawing.entries {
        recorder.draw(entry);
    }
}

/// One process of an actor.
struct Process {
    pid: u32,
    ready_ns: u64,
}

struct Drawing {
    /// The processes of each actor, in order.
    rows: HashMap<usize, Vec<Process>>,
    entries: Vec<Entry>,
}

impl Drawing {
    fn start(&mut self, actor: usize, pid: u32, from_ns: u64, ready_ns: u64) {
        let processes = self.rows.entry(actor).or_default();
        processes.push(Process { pid, ready_ns });
        let incarnation = processes.len() as u64;
        self.event(actor, incarnation, pid, from_ns, EventKind::Spawned);
        // Ray tells neither of them.
        let ready = EventKind::Ready { epoch: incarnation, sequence: 0 };
        self.event(actor, incarnation, pid, ready_ns, ready);
    }

    fn kill(&mut self, kill: &KillTold) {
        let incarnation = self.rows.get(&kill.actor).map_or(1, Vec::len) as u64;
        self.event(kill.actor, incarnation, kill.killed_pid, kill.killed_ns, EventKind::Killed);
        let ended = What::Ended { name: "died", exit: "signal 9".to_owned() };
        self.push(kill.actor, incarnation, kill.killed_pid, kill.killed_ns, ended);
        let restarting = EventKind::Restarting { attempt: 1, delay: Duration::ZERO };
        self.event(kill.actor, incarnation, kill.killed_pid, kill.killed_ns, restarting);
        self.start(kill.actor, kill.pid, kill.killed_ns, kill.replied_ns);
    }

    /// A call is drawn in the row of the process that answered it.
    fn call<N>(&mut self, number: u64, answer: &Answer<N>) {
        let processes = self.rows.get(&answer.actor).map_or(&[][..], Vec::as_slice);
        let answered = processes.iter().rposition(|process| process.ready_ns <= answer.replied_ns);
        let row = answered.unwrap_or(0);
        let Some(process) = processes.get(row) else { return };
        let (pid, incarnation) = (process.pid, row as u64 + 1);
        let method = if answer.argument.is_some() { "process" } else { "get_data" };
        let call = CallId { session: SessionId(0), sequence: number };
        let started = EventKind::CallStarted { call, method, attempt: 1 };
        self.event(answer.actor, incarnation, pid, answer.sent_ns, started);
        let finished = EventKind::CallFinished {
            call,
            method,
            attempt: 1,
            status: CallStatus::Returned,
            replayed: false,
            run_started_ns: None,
            run_ended_ns: None,
            committed_ns: None,
            reply_bytes: 0,
        };
        self.event(answer.actor, incarnation, pid, answer.replied_ns, finished);
    }

    fn event(&mut self, actor: usize, incarnation: u64, pid: u32, at_ns: u64, kind: EventKind) {
        self.push(actor, incarnation, pid, at_ns, What::Event(kind));
    }

    fn push(&mut self, actor: usize, incarnation: u64, pid: u32, at_ns: u64, what: What) {
        let actor: Arc<str> = actor_name(actor).into();
        self.entries.push(Entry { at_ns, actor, incarnation, pid, what });
    }
}
