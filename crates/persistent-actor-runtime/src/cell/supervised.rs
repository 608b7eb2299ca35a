//! What an actor's supervisor does with its [`Cell`]: processes come and go, replies arrive.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use persistent_actor::store::Written;
use persistent_actor::{Encoded, SessionId, codec};
use tokio::io::unix::AsyncFd;

use super::{Cell, End, Former, State};
use crate::error::CallError;
use crate::event::{CallStatus, EventKind, Exit};
use crate::lending::Payload;
use crate::link::{Flushed, Link};
use crate::pending::{Charge, Held, PendingCall};
use crate::process::{MemoryHolder, WorkerProcess};
use crate::wire::{Frame, Stamps, Status, Value, WireError};

/// What a frame from the worker was, as far as its supervisor wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The worker has loaded its state.
    Ready,
    /// The answer to a call.
    Reply,
    Other,
}

/// How an incarnation ended.
#[derive(Debug)]
pub(crate) struct Death {
    pub(crate) was_ready: bool,
    pub(crate) killed: bool,
    /// Under which epoch it had opened its state, if it is gone and had done so; else 0.
    pub(crate) epoch: u64,
    /// It had been told that no more calls will come.
    pub(crate) closed: bool,
    pub(crate) exit: Exit,
    /// What it said of it.
    pub(crate) said: Option<String>,
    /// Who still has its memory.
    pub(crate) memory: Option<MemoryHolder>,
}

impl Death {
    /// The reason in words.
    pub(crate) fn reason(&self) -> String {
        self.said.clone().unwrap_or_else(|| self.exit.to_string())
    }
}

impl Cell {
    /// Resolves when there is something for the supervisor to look at.
    pub(crate) fn woken(&self) -> tokio::sync::futures::Notified<'_> {
        self.wake.notified()
    }

    /// Takes over a new process and tells it what to run; `false` if the actor has ended.
    pub(crate) fn attach(
        &self,
        process: Arc<WorkerProcess>,
        socket: Arc<AsyncFd<OwnedFd>>,
        options: &Payload,
        initial: &Payload,
    ) -> bool {
        let mut state = self.state();
        if state.end.is_some() {
            return false;
        }
        self.incarnation.fetch_add(1, Ordering::Relaxed);
        self.pid.store(process.pid(), Ordering::Relaxed);
        self.emit(|| EventKind::Spawned);
        let mut link = Link::new(socket);
        link.push_legacy(std::mem::take(&mut state.legacy));
        link.push_start(options, initial);
        state.link = Some(link);
        state.process = Some(process);
        state.killed = false;
        self.flush(&mut state);
        // Who wants to kill it can do so now.
        self.progress.send_modify(|_| {});
        true
    }

    /// Takes a frame from the worker.
    pub(crate) fn take_frame(
        self: &Arc<Self>,
        frame: Frame<'_>,
        descriptor: Option<OwnedFd>,
        said: &mut Option<String>,
    ) -> Result<Taken, WireError> {
        let mut state = self.state();
        let Some(link) = &mut state.link else { return Ok(Taken::Other) };
        match (frame, descriptor) {
            (Frame::Reply { sequence, status, replayed, stamps, value }, _) => {
                self.take_reply(&mut state, sequence, status, replayed, stamps, &value)?;
                return Ok(Taken::Reply);
            }
            (Frame::Ready { epoch, sequence }, _) => {
                link.ready = true;
                link.epoch = epoch;
                let former = std::mem::take(&mut state.former);
                self.progress.send_modify(|_| {});
                self.emit(|| EventKind::Ready { epoch, sequence });
                // Its own journal holds all that theirs did.
                self.leave_group(former.into_iter().map(|former| former.member));
                for index in 0..state.pending.len() {
                    self.transmit(&mut state, index);
                }
                self.flush(&mut state);
                return Ok(Taken::Ready);
            }
            (Frame::Written { epoch, number, offset, bytes }, _) => {
                self.take_written(&mut link.seat, Written { epoch, number, offset, bytes })?;
            }
            (Frame::Fatal { reason }, _) => *said = Some(reason.to_owned()),
            (Frame::Memory { pid }, _) => {
                link.memory = MemoryHolder::new(pid, self.pid.load(Ordering::Relaxed));
            }
            (Frame::Buffer { id, len }, Some(descriptor)) => {
                link.lending.learn(id, len, descriptor)?;
            }
            (Frame::Slot { id, len }, Some(descriptor)) => {
                link.lending.learn_slot(id, len, descriptor)?;
            }
            (Frame::Forget { id }, _) => link.lending.forget(id),
            (Frame::Release { id }, _) => link.lending.take_back(id)?,
            (other, _) => return Err(WireError(format!("{other:?} is not for a node"))),
        }
        Ok(Taken::Other)
    }

    fn take_reply(
        self: &Arc<Self>,
        state: &mut State,
        sequence: u64,
        status: Status,
        replayed: bool,
        stamps: Stamps,
        value: &Value<'_>,
    ) -> Result<(), WireError> {
        let Some(link) = &mut state.link else { return Ok(()) };
        let value = link.lending.borrow(value)?;
        let answer = Held { status, replayed, stamps, value };
        if link.seat.is_void {
            return Ok(());
        }
        if std::mem::take(&mut link.seat.has_written) || state.held > 0 {
            return self.hold(state, sequence, answer);
        }
        let Some(call) = state.pending.take(sequence, self.incarnation()) else {
            return Err(not_sent(sequence));
        };
        self.count_busy(state);
        self.deliver(state.pending.session(), call, answer);
        Ok(())
    }

    /// Gives a call its answer.
    pub(super) fn deliver(&self, session: SessionId, call: PendingCall, answer: Held) {
        let Held { status, replayed, stamps, value } = answer;
        let id = call.id(session);
        if status == Status::Poison {
            self.emit(|| EventKind::PoisonCall { call: id, deaths: deaths_told(&value) });
        } else if let Some(method) = call.method() {
            let method = (self.method_name)(method);
            self.emit(|| EventKind::CallFinished {
                call: id,
                method,
                attempt: call.attempt,
                status: call_status(status),
                replayed,
                run_started_ns: stamp(stamps.run_started_ns),
                run_ended_ns: stamp(stamps.run_ended_ns),
                committed_ns: stamp(stamps.committed_ns),
                reply_bytes: value.size(),
            });
        }
        // If nobody waits for the reply any more, it is discarded.
        let _ = call.caller.send(Ok((id, status, value)));
    }

    /// Sends what the socket would not take before; `false` if it still does not.
    pub(crate) fn flush_waiting(&self) -> bool {
        self.state().link.as_mut().is_none_or(|link| link.flush() != Flushed::Blocked)
    }

    /// What the supervisor has to do beside reading.
    pub(crate) fn duties(&self) -> Duties {
        let mut state = self.state();
        state.closing |= self.abandoned.load(Ordering::Relaxed);
        let State { pending, link, closing, .. } = &mut *state;
        // Without a link the actor was ended.
        let Some(link) = link else { return Duties::GiveUp(None) };
        if let Some(reason) = &link.broken {
            return Duties::GiveUp(Some(reason.clone()));
        }
        if *closing && link.ready && !link.closed && pending.is_empty() {
            return match link.close() {
                Ok(()) => Duties::AwaitExit,
                Err(error) => Duties::GiveUp(Some(format!("cannot stop it: {error}"))),
            };
        }
        if link.is_blocked() { Duties::Write } else { Duties::Read }
    }

    /// The process is gone and reaped: charges its death and lets go of the connection.
    pub(crate) fn detach(&self, exit: Exit, said: Option<String>) -> Option<Death> {
        let mut state = self.state();
        let mut link = state.link.take()?;
        state.process = None;
        let reason = said.clone();
        self.emit(|| EventKind::Died { exit, reason });
        let (was_ready, closed) = (link.ready, link.closed);
        let epoch = ended_epoch(&link, exit);
        let memory = link.take_memory(self.pid.load(Ordering::Relaxed));
        let killed = state.killed;
        let death = Death { was_ready, killed, epoch, closed, exit, said, memory };
        if death.was_ready {
            self.charge(&mut state, &death);
            self.count_busy(&mut state);
        }
        let seat = &link.seat;
        let whole = death.closed && exit.code == Some(0);
        match (whole, seat.member) {
            // It has made its state whole before it went.
            (true, Some(member)) => self.leave_group([member]),
            (_, member) => state.former.extend(member.map(|member| Former { member, epoch })),
        }
        state.legacy = link.lending.into_legacy();
        let incarnation = self.incarnation();
        self.progress.send_modify(|now| now.dead_through = incarnation);
        Some(death)
    }

    /// What became of an incarnation that was given away; `None` if it was not.
    pub(crate) fn superseded(&self) -> Option<Death> {
        let mut state = self.state();
        if !std::mem::take(&mut state.superseded) {
            return None;
        }
        let exit = Exit { code: None, signal: None };
        // To the calls it is as if this node had killed it.
        let (closed, said, memory) = (false, None, None);
        let death = Death { was_ready: true, killed: true, epoch: 0, closed, exit, said, memory };
        self.charge(&mut state, &death);
        self.count_busy(&mut state);
        let incarnation = self.incarnation();
        self.progress.send_modify(|now| now.dead_through = incarnation);
        Some(death)
    }

    fn charge(&self, state: &mut State, death: &Death) {
        let (incarnation, reason) = (self.incarnation(), || death.reason());
        let charged = state.pending.charge(incarnation, death.killed, reason, &self.policy);
        let Some((charge, given_up)) = charged else { return };
        let (call, last) = (given_up.id(state.pending.session()), death.reason());
        let error = match charge {
            Charge::Poison { deaths } => {
                self.emit(|| EventKind::PoisonCall { call, deaths });
                CallError::PoisonCall { call, deaths, last }
            }
            Charge::Exhausted { attempts } => CallError::RetriesExhausted { call, attempts, last },
            Charge::Retry => unreachable!("a call that is retried is not given up"),
        };
        let _ = given_up.caller.send(Err(error));
    }

    /// Whether all calls are answered.
    pub(crate) fn is_idle(&self) -> bool {
        self.state().pending.is_empty()
    }

    /// Whether nothing is left to do for an actor that is to stop.
    pub(crate) fn may_stop(&self) -> bool {
        self.is_closing() && self.state().pending.is_empty()
    }

    /// Kills the process, if there is one, because it is not wanted any more.
    pub(crate) fn kill_process(&self) {
        let mut state = self.state();
        if let Some(process) = state.process.clone().filter(|_| !state.killed) {
            state.killed = true;
            self.emit(|| EventKind::Killed);
            process.kill();
            // Takes long if there is much of it: it begins now.
            state.link.iter().filter_map(|link| link.memory.as_ref()).for_each(MemoryHolder::kill);
        }
    }

    /// Ends the actor for good: kills its process, waits until that is gone, and fails the calls
    /// that were not answered.
    pub(crate) fn end(&self, end: End) {
        self.kill_process();
        let mut state = self.state();
        if state.end.is_some() {
            return;
        }
        state.end = Some(end);
        let process = state.process.take();
        let link = state.link.take();
        let mut former = std::mem::take(&mut state.former);
        let calls = state.pending.take_all();
        state.held = 0;
        self.count_busy(&mut state);
        for call in calls {
            let id = call.id(state.pending.session());
            let error = if call.is_poison(&self.policy) {
                CallError::PoisonCall { call: id, deaths: call.deaths, last: call.last }
            } else {
                self.end_error(state.end.as_ref(), (call.attempt > 0).then_some(id))
            };
            let _ = call.caller.send(Err(error));
        }
        drop(state);
        // Its buffers may be used again only when the process cannot read them any more.
        if let (Some(process), Some(mut link)) = (&process, link) {
            let exit = process.end_now();
            self.emit(|| EventKind::Died { exit, reason: None });
            drop(link.take_memory(process.pid()));
            let epoch = ended_epoch(&link, exit);
            former.extend(link.seat.member.map(|member| Former { member, epoch }));
            drop(link);
        }
        self.forsake(former);
        self.emit(|| EventKind::Stopped);
        self.permits.close();
        self.progress.send_modify(|now| now.ended = true);
        self.wake.notify_one();
    }
}

/// Under which epoch an incarnation had opened its state whose process ended so; 0 if it had not, or
/// if nobody has seen it end: then there is no status.
fn ended_epoch(link: &Link, exit: Exit) -> u64 {
    if exit.code.or(exit.signal).is_some() { link.epoch } else { 0 }
}

pub(super) fn not_sent(sequence: u64) -> WireError {
    WireError(format!("a reply to call {sequence}, which was not sent"))
}

/// What a supervisor has to do beside reading.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Duties {
    /// Nothing.
    Read,
    /// Send more as soon as the socket takes it.
    Write,
    /// The worker was told just now that no more calls will come.
    AwaitExit,
    /// The connection is of no more use, for this reason.
    GiveUp(Option<String>),
}

/// The number of deaths in the answer of a worker to a call that it has not run because of them.
fn deaths_told(value: &Encoded) -> u32 {
    codec::decode::<(u32, String)>(value).map_or(0, |(deaths, _)| deaths)
}

fn stamp(ns: u64) -> Option<u64> {
    (ns != 0).then_some(ns)
}

fn call_status(status: Status) -> CallStatus {
    match status {
        Status::Returned | Status::Unsendable => CallStatus::Returned,
        Status::Failed => CallStatus::Failed,
        Status::Panicked => CallStatus::Panicked,
        Status::Rejected | Status::Expired | Status::Poison | Status::NotCommitted => {
            CallStatus::Rejected
        }
    }
}
