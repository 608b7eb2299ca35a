//! `--timeline`: what every actor process did, for <https://ui.perfetto.dev> or chrome://tracing.
//!
//! The format is the JSON array form of Chrome's trace events: one event a line, written while
//! the run goes on. Times (`ts`, `dur`) are in microseconds since the trace began. Both viewers
//! accept an array without its end, so the file of a killed run opens as well.
//!
//! Each actor process is one row (`tid`), named after the actor and its process:
//! - `ph: "M"` names the rows and sorts them by actor, then by start;
//! - `ph: "X"` is something that took time: `start` (until the state is loaded), a call by its
//!   method's name, and in it `run` and `commit`;
//! - `ph: "i"` is a moment: `kill`, `died`, `restart`, `retry`, and `exit` when a process was
//!   told to end and did.
//!
//! On Ray, all is written when the rounds are over; there is no `run`, `commit` and `retry`, of which
//! Ray does not tell its caller, and the `start` of a successor begins with the kill.
//!
//! A call that waits for another one of the same actor is drawn from when that one ended.
//!
//! ```json
//! [
//! {"ph":"M","cat":"__metadata","name":"thread_name","pid":1,"tid":1,"ts":0.0,"args":{"name":"actor-0 (process 4711)"}},
//! {"ph":"X","cat":"call","name":"process","pid":1,"tid":1,"ts":520.0,"dur":10110.5,"args":{"attempt":1,"call":"…:0","replayed":false,"reply_bytes":9,"status":"returned"}},
//! {"ph":"X","cat":"run","name":"run","pid":1,"tid":1,"ts":530.1,"dur":10040.2,"args":{}},
//! {"ph":"X","cat":"commit","name":"commit","pid":1,"tid":1,"ts":10570.3,"dur":55.0,"args":{}},
//! {"ph":"i","cat":"kill","name":"kill","pid":1,"tid":1,"ts":12000.0,"s":"t","args":{}}
//! ]
//! ```

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use persistent_actor_runtime::{CallId, CallStatus, Event, EventKind};
use serde::Serialize;
use serde_json::{Value, json};

/// The `pid` of all rows: the run is drawn as one process, each actor process as a thread.
const RUN: u32 = 1;

/// Something to be drawn.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When, in nanoseconds of `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// The actor's name.
    pub actor: Arc<str>,
    /// Which start of the actor, counted from 1.
    pub incarnation: u64,
    /// The actor's process.
    pub pid: u32,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum What {
    /// As an event of the local engine tells it; [`EventKind::Died`] is [`What::Ended`].
    Event(EventKind),
    /// The process has ended.
    Ended {
        /// `exit` or `died`.
        name: &'static str,
        /// How, for people.
        exit: String,
    },
}

impl From<&Event> for Entry {
    fn from(event: &Event) -> Self {
        let what = match &event.kind {
            EventKind::Died { exit, .. } => What::Ended {
                name: if exit.code == Some(0) { "exit" } else { "died" },
                exit: exit.to_string(),
            },
            kind => What::Event(kind.clone()),
        };
        let &Event { at_ns, ref actor, incarnation, pid, .. } = event;
        Self { at_ns, actor: actor.clone(), incarnation, pid, what }
    }
}

/// When and where something happened.
#[derive(Clone, Debug)]
struct Stamp<'a> {
    at_ns: u64,
    actor: &'a str,
    incarnation: u64,
    pid: u32,
}

/// One line of the file; see the head of this module.
#[derive(Serialize)]
struct Line<'a> {
    ph: &'a str,
    cat: &'a str,
    name: &'a str,
    pid: u32,
    tid: u64,
    ts: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<&'a str>,
    args: Value,
}

/// What is known of one row.
#[derive(Default)]
struct Row {
    tid: u64,
    spawned_ns: u64,
    /// When the last call ended.
    free_ns: u64,
    /// The calls that were sent and not answered: when, and which attempt.
    open: HashMap<CallId, (u64, &'static str, u32)>,
}

/// Writes trace events as lines.
struct Trace<W> {
    out: W,
    origin_ns: u64,
    rows: HashMap<(String, u64), Row>,
    is_empty: bool,
}

impl<W: Write> Trace<W> {
    fn begin(mut out: W, origin_ns: u64) -> io::Result<Self> {
        out.write_all(b"[")?;
        let mut trace = Self { out, origin_ns, rows: HashMap::new(), is_empty: true };
        let args = json!({ "name": "bench-persistent-actor" });
        trace.write("M", "__metadata", "process_name", 0, origin_ns, None, args)?;
        trace.out.flush()?;
        Ok(trace)
    }

    fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        let &Entry { at_ns, ref actor, incarnation, pid, .. } = entry;
        let stamp = Stamp { at_ns, actor, incarnation, pid };
        match &entry.what {
            What::Event(kind) => self.note(&stamp, kind),
            What::Ended { name, exit } => self.ended(&stamp, name, exit),
        }
    }

    fn note(&mut self, stamp: &Stamp<'_>, kind: &EventKind) -> io::Result<()> {
        match kind {
            EventKind::Spawned => self.spawned(stamp),
            EventKind::Ready { epoch, sequence } => {
                let from = self.row(stamp)?.spawned_ns;
                let args = json!({ "epoch": epoch, "sequence": sequence });
                self.span(stamp, "start", "start", (from, stamp.at_ns), args)
            }
            EventKind::CallStarted { call, method, attempt } => {
                let (at_ns, method, attempt) = (stamp.at_ns, *method, *attempt);
                self.row(stamp)?.open.insert(*call, (at_ns, method, attempt));
                Ok(())
            }
            EventKind::CallFinished { .. } => self.call_finished(stamp, kind),
            EventKind::Killed => self.instant(stamp, "kill", json!({})),
            EventKind::Restarting { attempt, .. } => {
                self.instant(stamp, "restart", json!({ "attempt": attempt }))
            }
            EventKind::Retried { call, attempt } => {
                let args = json!({ "call": call.to_string(), "attempt": attempt });
                self.instant(stamp, "retry", args)
            }
            _ => Ok(()),
        }
    }

    fn spawned(&mut self, stamp: &Stamp<'_>) -> io::Result<()> {
        self.row(stamp)?.spawned_ns = stamp.at_ns;
        Ok(())
    }

    fn call_finished(&mut self, stamp: &Stamp<'_>, kind: &EventKind) -> io::Result<()> {
        let EventKind::CallFinished {
            call,
            method,
            attempt,
            status,
            replayed,
            run_started_ns,
            run_ended_ns,
            committed_ns,
            reply_bytes,
        } = kind
        else {
            return Ok(());
        };
        let row = self.row(stamp)?;
        let sent = row.open.remove(call).map_or(stamp.at_ns, |(at_ns, ..)| at_ns);
        let from = sent.max(row.free_ns);
        row.free_ns = stamp.at_ns;
        let args = json!({
            "call": call.to_string(),
            "attempt": attempt,
            "status": status_name(*status),
            "replayed": replayed,
            "reply_bytes": reply_bytes,
        });
        self.span(stamp, "call", method, (from, stamp.at_ns), args)?;
        if let (Some(start), Some(end)) = (run_started_ns, run_ended_ns) {
            self.span(stamp, "run", "run", (*start, *end), json!({}))?;
        }
        if let (Some(start), Some(end)) = (run_ended_ns, committed_ns) {
            self.span(stamp, "commit", "commit", (*start, *end), json!({}))?;
        }
        Ok(())
    }

    /// The calls that were not answered end here.
    fn ended(&mut self, stamp: &Stamp<'_>, name: &str, exit: &str) -> io::Result<()> {
        let row = self.row(stamp)?;
        let free_ns = row.free_ns;
        let mut open: Vec<_> = row.open.drain().collect();
        open.sort_by_key(|(call, _)| *call);
        // The first of them was running, the others were waiting for it.
        for (call, (sent, method, attempt)) in open.into_iter().take(1) {
            let args = json!({
                "call": call.to_string(), "attempt": attempt, "status": "died",
            });
            self.span(stamp, "call", method, (sent.max(free_ns), stamp.at_ns), args)?;
        }
        self.instant(stamp, name, json!({ "exit": exit }))
    }

    /// The row of an actor process; a new one is given its name and its place.
    fn row(&mut self, stamp: &Stamp<'_>) -> io::Result<&mut Row> {
        let key = (stamp.actor.to_owned(), stamp.incarnation);
        if !self.rows.contains_key(&key) {
            let tid = self.rows.len() as u64 + 1;
            self.rows.insert(key.clone(), Row { tid, spawned_ns: stamp.at_ns, ..Row::default() });
            let name = format!("{} (process {})", stamp.actor, stamp.pid);
            let args = json!({ "name": name });
            self.write("M", "__metadata", "thread_name", tid, stamp.at_ns, None, args)?;
            let args = json!({ "sort_index": sort_index(stamp) });
            self.write("M", "__metadata", "thread_sort_index", tid, stamp.at_ns, None, args)?;
        }
        Ok(self.rows.entry(key).or_default())
    }

    fn span(
        &mut self,
        stamp: &Stamp<'_>,
        cat: &str,
        name: &str,
        (from_ns, to_ns): (u64, u64),
        args: Value,
    ) -> io::Result<()> {
        let tid = self.row(stamp)?.tid;
        let dur = Some(to_ns.saturating_sub(from_ns));
        self.write("X", cat, name, tid, from_ns, dur, args)
    }

    fn instant(&mut self, stamp: &Stamp<'_>, name: &str, args: Value) -> io::Result<()> {
        let tid = self.row(stamp)?.tid;
        self.write("i", name, name, tid, stamp.at_ns, None, args)
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of a line, in their order")]
    fn write(
        &mut self,
        ph: &str,
        cat: &str,
        name: &str,
        tid: u64,
        at_ns: u64,
        dur_ns: Option<u64>,
        args: Value,
    ) -> io::Result<()> {
        let line = Line {
            ph,
            cat,
            name,
            pid: RUN,
            tid,
            ts: micros(at_ns.saturating_sub(self.origin_ns)),
            dur: dur_ns.map(micros),
            s: (ph == "i").then_some("t"),
            args,
        };
        self.out.write_all(if self.is_empty { b"\n" } else { b",\n" })?;
        self.is_empty = false;
        serde_json::to_writer(&mut self.out, &line)?;
        Ok(())
    }

    fn end(mut self) -> io::Result<()> {
        self.out.write_all(b"\n]\n")?;
        self.out.flush()
    }
}

fn micros(ns: u64) -> f64 {
    ns as f64 / 1000.0
}

/// Rows are sorted by the actor's number, then by start.
fn sort_index(stamp: &Stamp<'_>) -> u64 {
    let number = stamp.actor.rsplit('-').next().and_then(|number| number.parse::<u64>().ok());
    number.unwrap_or_default() * 10_000 + stamp.incarnation
}

fn status_name(status: CallStatus) -> &'static str {
    match status {
        CallStatus::Returned => "returned",
        CallStatus::Failed => "failed",
        CallStatus::Panicked => "panicked",
        CallStatus::Rejected => "rejected",
        _ => "other",
    }
}

/// A timeline being written by a thread of its own, so that no call waits for it.
#[derive(Debug)]
pub struct Timeline {
    events: Sender<Entry>,
    writer: JoinHandle<io::Result<()>>,
}

impl Timeline {
    /// Begins the trace; times count from `origin_ns` of the events' clock.
    ///
    /// # Errors
    /// What the system said.
    pub fn begin(file: File, origin_ns: u64) -> io::Result<Self> {
        let trace = Trace::begin(BufWriter::new(file), origin_ns)?;
        let (events, receiver) = channel();
        let writer = std::thread::Builder::new()
            .name("timeline".to_owned())
            .spawn(move || write_all(trace, &receiver))?;
        Ok(Self { events, writer })
    }

    /// Where to send the events.
    pub fn events(&self) -> Sender<Entry> {
        self.events.clone()
    }

    /// Ends the file when all senders are gone.
    ///
    /// # Errors
    /// The first failure of a write.
    pub fn end(self) -> io::Result<()> {
        drop(self.events);
        self.writer.join().unwrap_or_else(|_| Err(io::Error::other("the timeline's thread died")))
    }
}

/// How often events are written. Being woken for each one would disturb the calls.
const WRITE_INTERVAL: Duration = Duration::from_millis(20);

/// Writes events as they come, a few milliseconds late.
fn write_all<W: Write>(mut trace: Trace<W>, events: &Receiver<Entry>) -> io::Result<()> {
    loop {
        let over = loop {
            match events.try_recv() {
                Ok(event) => trace.entry(&event)?,
                Err(error) => break error == TryRecvError::Disconnected,
            }
        };
        trace.out.flush()?;
        if over {
            return trace.end();
        }
        std::thread::sleep(WRITE_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use persistent_actor::SessionId;

    fn id(sequence: u64) -> CallId {
        CallId { session: SessionId(0xabc), sequence }
    }

    fn started(sequence: u64, method: &'static str) -> EventKind {
        EventKind::CallStarted { call: id(sequence), method, attempt: 1 }
    }

    fn finished(sequence: u64, method: &'static str, run: (u64, u64), commit: u64) -> EventKind {
        EventKind::CallFinished {
            call: id(sequence),
            method,
            attempt: 1,
            status: CallStatus::Returned,
            replayed: false,
            run_started_ns: Some(run.0),
            run_ended_ns: Some(run.1),
            committed_ns: Some(commit),
            reply_bytes: 9,
        }
    }

    fn at(at_ns: u64, incarnation: u64) -> Stamp<'static> {
        Stamp { at_ns, actor: "actor-3", incarnation, pid: 4710 + incarnation as u32 }
    }

    fn a_life_and_a_half(trace: &mut Trace<&mut Vec<u8>>) -> io::Result<()> {
        trace.note(&at(1_001_000, 1), &EventKind::Spawned)?;
        trace.note(&at(1_501_000, 1), &EventKind::Ready { epoch: 1, sequence: 0 })?;
        trace.note(&at(2_000_000, 1), &started(0, "process"))?;
        trace.note(&at(2_100_000, 1), &started(1, "get_data"))?;
        let reply = finished(0, "process", (2_010_000, 3_000_000), 3_060_500);
        trace.note(&at(3_070_000, 1), &reply)?;
        trace.note(&at(3_080_000, 1), &EventKind::Killed)?;
        trace.ended(&at(3_200_000, 1), "died", "signal 9")?;
        let restarting = EventKind::Restarting { attempt: 1, delay: Duration::ZERO };
        trace.note(&at(3_210_000, 1), &restarting)?;
        trace.note(&at(3_300_000, 2), &EventKind::Spawned)?;
        trace.note(&at(3_900_000, 2), &EventKind::Ready { epoch: 2, sequence: 1 })?;
        trace.note(&at(3_901_000, 2), &EventKind::Retried { call: id(1), attempt: 2 })
    }

    #[test]
    fn the_file_is_as_documented() {
        let mut out = Vec::new();
        let mut trace = Trace::begin(&mut out, 1_000_000).unwrap();
        a_life_and_a_half(&mut trace).unwrap();
        trace.end().unwrap();
        let text = String::from_utf8(out).unwrap();
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            std::fs::write("tests/expected/timeline.json", &text).unwrap();
        }
        assert_eq!(text, include_str!("../../tests/expected/timeline.json"));
        assert!(serde_json::from_str::<Vec<Value>>(&text).unwrap().len() > 10);
    }

    #[test]
    fn a_trace_that_was_cut_off_is_an_array_without_its_end() {
        let mut out = Vec::new();
        let mut trace = Trace::begin(&mut out, 1_000_000).unwrap();
        a_life_and_a_half(&mut trace).unwrap();
        drop(trace);
        let text = String::from_utf8(out).unwrap() + "]";
        assert!(serde_json::from_str::<Vec<Value>>(&text).is_ok());
    }
}
