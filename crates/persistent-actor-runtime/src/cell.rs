//! [`Cell`]: one actor as the node knows it, shared by its handles and its supervisor.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use persistent_actor::SessionId;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::builder::Policy;
use crate::error::CallError;
use crate::event::{CallStatus, Event, EventKind, Exit, Observer, now_ns};
use crate::handle::KillPoint;
use crate::lending::Payload;
use crate::link::{Flushed, Link};
use crate::pending::{Answered, Charge, Pending, PendingCall};
use crate::process::WorkerProcess;
use crate::wire::{Frame, Stamps, Status, Value, WireError};

/// How an actor ended for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Stopped,
    Died(String),
}

/// What those who wait for an actor look at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// The last incarnation that is known to be dead.
    pub(crate) dead_through: u64,
    /// The actor is gone for good.
    pub(crate) ended: bool,
}

/// One actor as the node knows it.
pub(crate) struct Cell {
    pub(crate) name: Arc<str>,
    pub(crate) policy: Policy,
    method_name: fn(usize) -> &'static str,
    observer: Option<Observer>,
    permits: Arc<Semaphore>,
    state: Mutex<State>,
    progress: watch::Sender<Progress>,
    /// Wakes the supervisor.
    wake: Notify,
    abandoned: AtomicBool,
    incarnation: AtomicU64,
    /// The current process, or the last.
    pid: AtomicU32,
}

struct State {
    pending: Pending,
    link: Option<Link>,
    process: Option<Arc<WorkerProcess>>,
    /// This node has killed the current process.
    killed: bool,
    /// No more calls are taken.
    closing: bool,
    end: Option<End>,
    kill_next: Option<KillPoint>,
}

/// How an incarnation ended.
#[derive(Debug)]
pub(crate) struct Death {
    pub(crate) was_ready: bool,
    pub(crate) killed: bool,
    /// It had been told that no more calls will come.
    pub(crate) closed: bool,
    pub(crate) exit: Exit,
    /// What it said of it.
    pub(crate) said: Option<String>,
}

impl Death {
    /// The reason in words.
    pub(crate) fn reason(&self) -> String {
        self.said.clone().unwrap_or_else(|| self.exit.to_string())
    }
}

impl Cell {
    pub(crate) fn new(
        name: &str,
        session: SessionId,
        policy: Policy,
        method_name: fn(usize) -> &'static str,
        observer: Option<Observer>,
    ) -> Self {
        Self {
            name: name.into(),
            permits: Arc::new(Semaphore::new(policy.max_pending_calls)),
            policy,
            method_name,
            observer,
            state: Mutex::new(State {
                pending: Pending::new(session),
                link: None,
                process: None,
                killed: false,
                closing: false,
                end: None,
                kill_next: None,
            }),
            progress: watch::Sender::new(Progress::default()),
            wake: Notify::new(),
            abandoned: AtomicBool::new(false),
            incarnation: AtomicU64::new(0),
            pid: AtomicU32::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn incarnation(&self) -> u64 {
        self.incarnation.load(Ordering::Relaxed)
    }

    /// The current process; 0 while there is none.
    pub(crate) fn pid(&self) -> u32 {
        let now = *self.progress.borrow();
        let alive = !now.ended && now.dead_through < self.incarnation();
        if alive { self.pid.load(Ordering::Relaxed) } else { 0 }
    }

    /// Tells the observer, if there is one.
    pub(crate) fn emit(&self, kind: impl FnOnce() -> EventKind) {
        if let Some(observer) = &self.observer {
            observer(&Event {
                at_ns: now_ns(),
                actor: self.name.clone(),
                incarnation: self.incarnation(),
                pid: self.pid.load(Ordering::Relaxed),
                kind: kind(),
            });
        }
    }

    // ---- callers ----

    /// A place among the calls that may be unanswered at once.
    pub(crate) async fn permit(&self) -> Result<OwnedSemaphorePermit, CallError> {
        if let Ok(permit) = self.permits.clone().try_acquire_owned() {
            return Ok(permit);
        }
        self.permits.clone().acquire_owned().await.map_err(|_| self.refusal(&self.state()))
    }

    /// Sends a call; the answer comes through the result.
    pub(crate) fn send(
        &self,
        method: u32,
        args: Payload,
        permit: OwnedSemaphorePermit,
    ) -> Result<oneshot::Receiver<Answered>, CallError> {
        let mut state = self.state();
        if state.end.is_some() || state.closing {
            return Err(self.refusal(&state));
        }
        let kill_at = state.kill_next.take();
        let answer = state.pending.push(method, args, kill_at, permit);
        let index = state.pending.len() - 1;
        if state.link.as_ref().is_some_and(|link| link.ready) {
            self.transmit(&mut state, index);
            self.flush(&mut state);
        }
        Ok(answer)
    }

    /// Why no more calls are taken.
    fn refusal(&self, state: &State) -> CallError {
        self.end_error(state.end.as_ref(), None)
    }

    fn end_error(&self, end: Option<&End>, call: Option<persistent_actor::CallId>) -> CallError {
        let actor = self.name.clone();
        match end {
            Some(End::Died(reason)) => CallError::ActorDied { actor, call, reason: reason.clone() },
            Some(End::Stopped) | None => CallError::ActorStopped { actor, call },
        }
    }

    pub(crate) fn kill_during_next_call(&self, point: KillPoint) {
        self.state().kill_next = Some(point);
    }

    /// Kills the current process, or the next if that one is killed already, and waits until it
    /// is gone.
    pub(crate) async fn kill(&self) -> Result<(), CallError> {
        let mut progress = self.progress.subscribe();
        let incarnation = loop {
            if let Some(incarnation) = self.try_kill()? {
                break incarnation;
            }
            progress.changed().await.map_err(|_| self.refusal(&self.state()))?;
        };
        let gone = |now: &Progress| now.dead_through >= incarnation || now.ended;
        progress.wait_for(gone).await.map_err(|_| self.refusal(&self.state()))?;
        Ok(())
    }

    fn try_kill(&self) -> Result<Option<u64>, CallError> {
        let mut state = self.state();
        if state.end.is_some() {
            return Err(self.refusal(&state));
        }
        let Some(process) = state.process.clone().filter(|_| !state.killed) else {
            return Ok(None);
        };
        state.killed = true;
        self.emit(|| EventKind::Killed);
        process.kill();
        Ok(Some(self.incarnation()))
    }

    /// Takes no more calls; the actor stops after those that were sent.
    pub(crate) fn close(&self) {
        self.state().closing = true;
        self.wake.notify_one();
    }

    /// The last handle is gone. Takes no lock: an observer may drop handles.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// Waits until the actor is gone for good.
    pub(crate) async fn ended(&self) -> End {
        let mut progress = self.progress.subscribe();
        // The sender lives in `self`.
        let _ = progress.wait_for(|now| now.ended).await;
        self.state().end.clone().unwrap_or(End::Stopped)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.progress.borrow().ended
    }

    /// Whether the actor is on its way out.
    pub(crate) fn is_closing(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed) || self.state().closing
    }

    // ---- sending ----

    fn transmit(&self, state: &mut State, index: usize) {
        let State { pending, link, .. } = state;
        let (acked_below, incarnation) = (pending.acked_below(), self.incarnation());
        let session = pending.id(0).session;
        let (Some(link), Some(call)) = (link, pending.get_mut(index)) else { return };
        let id = persistent_actor::CallId { session, sequence: call.sequence };
        call.attempt = call.attempt.saturating_add(1);
        call.sent_to = incarnation;
        let (method, attempt) = (call.method, call.attempt);
        if attempt > 1 {
            self.emit(|| EventKind::Retried { call: id, attempt });
        }
        let name = self.method_name;
        self.emit(|| EventKind::CallStarted { call: id, method: name(method as usize), attempt });
        let kill_at = call.kill_at.filter(|_| attempt == 1);
        link.push_call(&call.args, |args| Frame::Call { id, acked_below, method, kill_at, args });
    }

    fn flush(&self, state: &mut State) -> bool {
        let Some(link) = &mut state.link else { return true };
        match link.flush() {
            Flushed::All => true,
            Flushed::Blocked | Flushed::Broken => {
                self.wake.notify_one();
                false
            }
        }
    }

    // ---- the supervisor ----

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
        link.push_start(options, initial);
        state.link = Some(link);
        state.process = Some(process);
        state.killed = false;
        self.flush(&mut state);
        // Who wants to kill it can do so now.
        self.progress.send_modify(|_| {});
        true
    }

    /// Takes a frame from the worker; `true` if it says that the worker is ready.
    pub(crate) fn take_frame(
        &self,
        frame: Frame<'_>,
        descriptor: Option<OwnedFd>,
        said: &mut Option<String>,
    ) -> Result<bool, WireError> {
        let mut state = self.state();
        let Some(link) = &mut state.link else { return Ok(false) };
        match (frame, descriptor) {
            (Frame::Reply { sequence, status, replayed, stamps, value }, _) => {
                self.take_reply(&mut state, sequence, status, replayed, stamps, &value)?;
            }
            (Frame::Ready { epoch, sequence }, _) => {
                link.ready = true;
                self.emit(|| EventKind::Ready { epoch, sequence });
                for index in 0..state.pending.len() {
                    self.transmit(&mut state, index);
                }
                self.flush(&mut state);
                return Ok(true);
            }
            (Frame::Fatal { reason }, _) => *said = Some(reason.to_owned()),
            (Frame::Buffer { id, len }, Some(descriptor)) => {
                link.lending.learn(id, len, descriptor)?;
            }
            (Frame::Forget { id }, _) => link.lending.forget(id),
            (Frame::Release { id }, _) => link.lending.take_back(id)?,
            (other, _) => return Err(WireError(format!("{other:?} is not for a node"))),
        }
        Ok(false)
    }

    fn take_reply(
        &self,
        state: &mut State,
        sequence: u64,
        status: Status,
        replayed: bool,
        stamps: Stamps,
        value: &Value<'_>,
    ) -> Result<(), WireError> {
        let State { pending, link, .. } = state;
        let Some(link) = link else { return Ok(()) };
        let value = link.lending.borrow(value)?;
        let Some(call) = pending.take(sequence, self.incarnation()) else {
            return Err(WireError(format!("a reply to call {sequence}, which was not sent")));
        };
        let id = pending.id(sequence);
        let name = self.method_name;
        self.emit(|| EventKind::CallFinished {
            call: id,
            method: name(call.method as usize),
            attempt: call.attempt,
            status: call_status(status),
            replayed,
            run_started_ns: stamp(stamps.run_started_ns),
            run_ended_ns: stamp(stamps.run_ended_ns),
            committed_ns: stamp(stamps.committed_ns),
            reply_bytes: value.size(),
        });
        // If nobody waits for the reply any more, it is discarded.
        let _ = call.caller.send(Ok((id, status, value)));
        Ok(())
    }

    /// Sends what the socket would not take before; `false` if it still does not.
    pub(crate) fn flush_waiting(&self) -> bool {
        self.flush_state(&mut self.state())
    }

    fn flush_state(&self, state: &mut State) -> bool {
        state.link.as_mut().is_none_or(|link| link.flush() != Flushed::Blocked)
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

    /// The process is gone: charges its death and lets go of the connection.
    pub(crate) fn detach(&self, exit: Exit, said: Option<String>) -> Option<Death> {
        let mut state = self.state();
        let link = state.link.take()?;
        state.process = None;
        let reason = said.clone();
        self.emit(|| EventKind::Died { exit, reason });
        let death =
            Death { was_ready: link.ready, killed: state.killed, closed: link.closed, exit, said };
        if death.was_ready {
            self.charge(&mut state, &death);
        }
        let incarnation = self.incarnation();
        self.progress.send_modify(|now| now.dead_through = incarnation);
        Some(death)
    }

    fn charge(&self, state: &mut State, death: &Death) {
        let charged = state.pending.charge(self.incarnation(), death.killed, &self.policy);
        let Some((charge, given_up)) = charged else { return };
        let (call, last) = (state.pending.id(given_up.sequence), death.reason());
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
        }
    }

    // ---- the end ----

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
        let calls = state.pending.take_all();
        for PendingCall { sequence, attempt, caller, .. } in calls {
            let call = (attempt > 0).then(|| state.pending.id(sequence));
            let _ = caller.send(Err(self.end_error(state.end.as_ref(), call)));
        }
        drop(state);
        // Its buffers may be used again only when the process cannot read them any more.
        if let (Some(process), Some(link)) = (&process, link) {
            let exit = process.end_now();
            self.emit(|| EventKind::Died { exit, reason: None });
            drop(link);
        }
        self.emit(|| EventKind::Stopped);
        self.permits.close();
        self.progress.send_modify(|now| now.ended = true);
        self.wake.notify_one();
    }
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

fn stamp(ns: u64) -> Option<u64> {
    (ns != 0).then_some(ns)
}

fn call_status(status: Status) -> CallStatus {
    match status {
        Status::Returned | Status::Unsendable => CallStatus::Returned,
        Status::Failed => CallStatus::Failed,
        Status::Panicked => CallStatus::Panicked,
        Status::Rejected | Status::Expired => CallStatus::Rejected,
    }
}
