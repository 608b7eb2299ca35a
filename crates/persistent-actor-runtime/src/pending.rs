//! [`Pending`]: calls that were made and not yet answered, in the order of their numbers.

use std::collections::VecDeque;

use persistent_actor::{CallId, Encoded, SessionId};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::builder::Policy;
use crate::error::CallError;
use crate::handle::KillPoint;
use crate::lending::Payload;
use crate::wire::{Stamps, Status};

/// The answer to a call, as its caller gets it.
pub(crate) type Answered = Result<(CallId, Status, Encoded), CallError>;

/// What a caller wants.
pub(crate) enum Request {
    /// A method is to be called.
    Call {
        method: u32,
        args: Payload,
        kill_at: Option<KillPoint>,
        /// The identity that the caller has given to the call.
        id: Option<CallId>,
    },
    /// To know what became of a call.
    Outcome(CallId),
}

/// The worker's answer to a call, kept back until it is durable.
pub(crate) struct Held {
    pub(crate) status: Status,
    pub(crate) replayed: bool,
    pub(crate) stamps: Stamps,
    pub(crate) value: Encoded,
}

/// A request that was not yet answered; most are calls.
pub(crate) struct PendingCall {
    pub(crate) sequence: u64,
    pub(crate) request: Request,
    /// How often it was sent.
    pub(crate) attempt: u32,
    /// The incarnation to which it was sent last.
    pub(crate) sent_to: u64,
    /// How often the actor died while this was the call that it ran.
    lost: u32,
    /// Of these, how often it was not this node that killed it.
    pub(crate) deaths: u32,
    /// How it died the last time.
    pub(crate) last: String,
    pub(crate) caller: oneshot::Sender<Answered>,
    /// The worker's answer, while it is not durable yet.
    pub(crate) held: Option<Held>,
    /// The place among [`max_pending_calls`](crate::ActorBuilder::max_pending_calls), held until
    /// the call is answered, even if nobody waits for it any more.
    _permit: OwnedSemaphorePermit,
}

/// All calls to one actor that were not yet answered, in the order of their numbers.
pub(crate) struct Pending {
    session: SessionId,
    next_sequence: u64,
    calls: VecDeque<PendingCall>,
}

/// What became of the call that ran when the actor died.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Charge {
    /// It is sent again. If the actor died of it too often, it is not to run, but to be parked.
    Retry,
    /// The actor died of it too often, and even when it was to be parked.
    Poison { deaths: u32 },
    /// It was tried as often as it may be.
    Exhausted { attempts: u32 },
}

impl Pending {
    pub(crate) fn new(session: SessionId) -> Self {
        Self { session, next_sequence: 0, calls: VecDeque::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.calls.len()
    }

    pub(crate) fn session(&self) -> SessionId {
        self.session
    }

    /// All calls below this number are answered.
    pub(crate) fn acked_below(&self) -> u64 {
        self.calls.front().map_or(self.next_sequence, |call| call.sequence)
    }

    /// Adds a call at the end.
    pub(crate) fn push(
        &mut self,
        request: Request,
        permit: OwnedSemaphorePermit,
    ) -> oneshot::Receiver<Answered> {
        let (caller, answer) = oneshot::channel();
        self.calls.push_back(PendingCall {
            sequence: self.next_sequence,
            request,
            attempt: 0,
            sent_to: 0,
            lost: 0,
            deaths: 0,
            last: String::new(),
            caller,
            held: None,
            _permit: permit,
        });
        self.next_sequence += 1;
        answer
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut PendingCall> {
        self.calls.get_mut(index)
    }

    /// The place of the call with this number, if it was sent to this incarnation and has no
    /// answer.
    fn find(&self, sequence: u64, incarnation: u64) -> Option<usize> {
        let index = self.calls.binary_search_by_key(&sequence, |call| call.sequence).ok()?;
        let call = &self.calls[index];
        (call.sent_to == incarnation && call.held.is_none()).then_some(index)
    }

    /// Takes out the call with this number if it was sent to this incarnation.
    pub(crate) fn take(&mut self, sequence: u64, incarnation: u64) -> Option<PendingCall> {
        self.calls.remove(self.find(sequence, incarnation)?)
    }

    /// Keeps the answer to a call back; `false` if it was not sent to this incarnation.
    pub(crate) fn hold(&mut self, sequence: u64, incarnation: u64, held: Held) -> bool {
        let Some(index) = self.find(sequence, incarnation) else { return false };
        self.calls[index].held = Some(held);
        true
    }

    /// Takes out a call whose answer was kept back; `None` if it has none any more.
    pub(crate) fn release(&mut self, sequence: u64) -> Option<(PendingCall, Held)> {
        let index = self.calls.binary_search_by_key(&sequence, |call| call.sequence).ok()?;
        let held = self.calls[index].held.take()?;
        Some((self.calls.remove(index)?, held))
    }

    /// Forgets the answers that were kept back: their calls are unanswered again.
    pub(crate) fn unhold(&mut self) {
        self.calls.iter_mut().for_each(|call| call.held = None);
    }

    /// Charges the death of an incarnation to the call that it ran: the first that was not
    /// answered, if it had been sent.
    ///
    /// A call that is given up is taken out and returned. `reason` says how the actor died.
    pub(crate) fn charge(
        &mut self,
        incarnation: u64,
        killed_by_us: bool,
        reason: impl FnOnce() -> String,
        policy: &Policy,
    ) -> Option<(Charge, PendingCall)> {
        let index = self.calls.iter().position(|call| call.held.is_none())?;
        let call = self.calls.get_mut(index).filter(|call| call.sent_to == incarnation)?;
        match call.charge(killed_by_us, reason, policy) {
            Charge::Retry => None,
            given_up => Some((given_up, self.calls.remove(index)?)),
        }
    }

    /// Takes all calls out.
    pub(crate) fn take_all(&mut self) -> VecDeque<PendingCall> {
        std::mem::take(&mut self.calls)
    }
}

impl PendingCall {
    /// The call's identity in a node with this session.
    pub(crate) fn id(&self, session: SessionId) -> CallId {
        match self.request {
            Request::Call { id: Some(id), .. } => id,
            _ => CallId { session, sequence: self.sequence },
        }
    }

    /// The method, as an index; `None` if this is no call.
    pub(crate) fn method(&self) -> Option<usize> {
        match self.request {
            Request::Call { method, .. } => Some(method as usize),
            Request::Outcome(_) => None,
        }
    }

    /// Whether the actor died of it too often.
    pub(crate) fn is_poison(&self, policy: &Policy) -> bool {
        self.deaths >= policy.max_deaths_per_call
    }

    fn charge(
        &mut self,
        killed_by_us: bool,
        reason: impl FnOnce() -> String,
        policy: &Policy,
    ) -> Charge {
        let was_poison = self.is_poison(policy);
        self.lost = self.lost.saturating_add(1);
        if !killed_by_us {
            self.deaths = self.deaths.saturating_add(1);
            self.last = reason();
        }
        if !was_poison && !policy.max_task_retries.allows(u64::from(self.lost)) {
            Charge::Exhausted { attempts: self.lost }
        } else if was_poison && !killed_by_us {
            Charge::Poison { deaths: self.deaths }
        } else {
            Charge::Retry
        }
    }
}
