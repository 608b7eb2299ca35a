//! [`Cell`]: one actor as the node knows it, shared by its handles and its supervisor.

mod grouped;
mod supervised;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use persistent_actor::store::Member;
use persistent_actor::{CallId, SessionId};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot, watch};

pub(crate) use self::supervised::{Death, Duties, Taken};
use crate::builder::Policy;
use crate::error::CallError;
use crate::event::{Event, EventKind, Observer, now_ns};
use crate::group::GroupCommit;
use crate::handle::KillPoint;
use crate::link::{Flushed, Link};
use crate::mapping::Mapping;
use crate::pending::{Answered, Pending, Request};
use crate::process::WorkerProcess;
use crate::releaser::Releaser;
use crate::wire::Frame;
use crate::zombie::{SupersedeError, Zombie};

/// How an actor ended for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Stopped,
    Died(String),
}

/// What those who wait for an actor look at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// The last incarnation that is known to be dead or was given away.
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
    /// With those of the node that commit at the same time, for an actor at `power`.
    group: Option<Arc<GroupCommit>>,
    /// Who gives it to callers what the group has made durable.
    releaser: Option<Arc<Releaser>>,
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
    /// The process was given away, and the supervisor does not know it yet.
    superseded: bool,
    /// Shared buffers of the last incarnation, for the next.
    legacy: Vec<Arc<Mapping>>,
    /// How many answers are kept back until they are durable.
    held: usize,
    /// Whether the group counts this actor as one that has something to do.
    is_busy: bool,
    /// Incarnations that are gone, whose journal may need the group's.
    former: Vec<Former>,
}

/// An earlier incarnation that was in the group.
struct Former {
    member: Member,
    /// Under which epoch it had opened its state; 0 if its process may not have ended.
    epoch: u64,
}

impl Cell {
    pub(crate) fn new(
        name: &str,
        session: SessionId,
        policy: Policy,
        method_name: fn(usize) -> &'static str,
        observer: Option<Observer>,
        group: Option<(Arc<GroupCommit>, Arc<Releaser>)>,
    ) -> Self {
        let (group, releaser) = group.unzip();
        Self {
            name: name.into(),
            permits: Arc::new(Semaphore::new(policy.max_pending_calls)),
            policy,
            method_name,
            observer,
            group,
            releaser,
            state: Mutex::new(State {
                pending: Pending::new(session),
                link: None,
                process: None,
                killed: false,
                closing: false,
                end: None,
                kill_next: None,
                superseded: false,
                legacy: Vec::new(),
                held: 0,
                is_busy: false,
                former: Vec::new(),
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
        let Some(observer) = &self.observer else { return };
        let event = Event {
            at_ns: now_ns(),
            actor: self.name.clone(),
            incarnation: self.incarnation(),
            pid: self.pid.load(Ordering::Relaxed),
            kind: kind(),
        };
        // If it panics, the panic hook has told of it. Whoever calls this may have the replies of
        // other actors in hand.
        let _ = catch_unwind(AssertUnwindSafe(|| observer(&event)));
    }

    /// A place among the calls that may be unanswered at once.
    pub(crate) async fn permit(&self) -> Result<OwnedSemaphorePermit, CallError> {
        if let Ok(permit) = self.permits.clone().try_acquire_owned() {
            return Ok(permit);
        }
        self.permits.clone().acquire_owned().await.map_err(|_| self.refusal(&self.state()))
    }

    /// Sends a call or a question; the answer comes through the result.
    pub(crate) fn send(
        &self,
        mut request: Request,
        permit: OwnedSemaphorePermit,
    ) -> Result<oneshot::Receiver<Answered>, CallError> {
        let mut state = self.state();
        if state.end.is_some() || state.closing {
            return Err(self.refusal(&state));
        }
        if let Request::Call { kill_at, .. } = &mut request {
            *kill_at = state.kill_next.take();
        }
        let answer = state.pending.push(request, permit);
        self.count_busy(&mut state);
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

    fn end_error(&self, end: Option<&End>, call: Option<CallId>) -> CallError {
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

    /// Stops the current process, or the next that is ready, and gives it away with its
    /// connection; the supervisor starts a successor beside it.
    pub(crate) async fn supersede(&self) -> Result<Zombie, SupersedeError> {
        let mut progress = self.progress.subscribe();
        loop {
            if let Some(process) = self.ready_process()?
                && process.suspend().await?
                && let Some(zombie) = self.give_away(&process)
            {
                return Ok(zombie);
            }
            let gone = progress.changed().await;
            gone.map_err(|_| SupersedeError::Actor(self.refusal(&self.state())))?;
        }
    }

    fn ready_process(&self) -> Result<Option<Arc<WorkerProcess>>, SupersedeError> {
        let state = self.state();
        if state.end.is_some() || state.closing {
            return Err(SupersedeError::Actor(self.refusal(&state)));
        }
        let ready = state.link.as_ref().is_some_and(|link| link.ready) && !state.killed;
        Ok(state.process.clone().filter(|_| ready))
    }

    fn give_away(&self, process: &Arc<WorkerProcess>) -> Option<Zombie> {
        let mut state = self.state();
        let is_current = |current: &Arc<WorkerProcess>| Arc::ptr_eq(current, process);
        if state.killed || !state.process.as_ref().is_some_and(is_current) {
            return None;
        }
        let link = state.link.take()?;
        let process = state.process.take()?;
        state.former.extend(link.seat.member.map(|member| Former { member, epoch: 0 }));
        state.superseded = true;
        self.emit(|| EventKind::Superseded);
        self.wake.notify_one();
        Some(Zombie::new(process, link))
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

    fn transmit(&self, state: &mut State, index: usize) {
        let State { pending, link, .. } = state;
        let (acked_below, incarnation) = (pending.acked_below(), self.incarnation());
        let session = pending.session();
        let (Some(link), Some(call)) = (link, pending.get_mut(index)) else { return };
        if call.held.is_some() {
            return;
        }
        call.attempt = call.attempt.saturating_add(1);
        call.sent_to = incarnation;
        let (id, sequence, attempt) = (call.id(session), call.sequence, call.attempt);
        let (method, args, kill_at, given) = match &call.request {
            Request::Outcome(id) => {
                link.push(&Frame::Ask { sequence, id: *id });
                return;
            }
            Request::Call { method, args, kill_at, id } => (*method, args, *kill_at, id.is_some()),
        };
        // A call that is to be parked does not start.
        if !call.is_poison(&self.policy) {
            if attempt > 1 {
                self.emit(|| EventKind::Retried { call: id, attempt });
            }
            let method = (self.method_name)(method as usize);
            self.emit(|| EventKind::CallStarted { call: id, method, attempt });
        }
        if let Some(group) = &self.group {
            group.seat(link, &self.name);
        }
        if call.deaths > 0 || given {
            let limit = self.policy.max_deaths_per_call;
            link.push(&Frame::Attempt { id, deaths: call.deaths, limit, last: &call.last });
        }
        let kill_at = kill_at.filter(|_| attempt == 1);
        let id = CallId { session, sequence };
        link.push_call(args, |args| Frame::Call { id, acked_below, method, kill_at, args });
    }

    /// Sends what waits; what the socket does not take is left to the supervisor.
    fn flush(&self, state: &mut State) {
        if state.link.as_mut().is_some_and(|link| link.flush() != Flushed::All) {
            self.wake.notify_one();
        }
    }
}
