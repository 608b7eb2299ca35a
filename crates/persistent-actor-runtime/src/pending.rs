//! [`Pending`]: calls that were made and not yet answered, in the order of their numbers.

use std::collections::VecDeque;

use persistent_actor::{CallId, Encoded, SessionId};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::builder::Policy;
use crate::error::CallError;
use crate::handle::KillPoint;
use crate::lending::Payload;
use crate::wire::Status;

/// The answer to a call, as its caller gets it.
pub(crate) type Answered = Result<(CallId, Status, Encoded), CallError>;

/// A call that was not yet answered.
pub(crate) struct PendingCall {
    pub(crate) sequence: u64,
    pub(crate) method: u32,
    pub(crate) args: Payload,
    pub(crate) kill_at: Option<KillPoint>,
    /// How often it was sent.
    pub(crate) attempt: u32,
    /// The incarnation to which it was sent last.
    pub(crate) sent_to: u64,
    /// How often the actor died while this was the call that it ran.
    lost: u32,
    /// Of these, how often it was not this node that killed it.
    deaths: u32,
    pub(crate) caller: oneshot::Sender<Answered>,
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
    /// It is sent again.
    Retry,
    /// The actor died of it too often.
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

    pub(crate) fn id(&self, sequence: u64) -> CallId {
        CallId { session: self.session, sequence }
    }

    /// All calls below this number are answered.
    pub(crate) fn acked_below(&self) -> u64 {
        self.calls.front().map_or(self.next_sequence, |call| call.sequence)
    }

    /// Adds a call at the end.
    pub(crate) fn push(
        &mut self,
        method: u32,
        args: Payload,
        kill_at: Option<KillPoint>,
        permit: OwnedSemaphorePermit,
    ) -> oneshot::Receiver<Answered> {
        let (caller, answer) = oneshot::channel();
        self.calls.push_back(PendingCall {
            sequence: self.next_sequence,
            method,
            args,
            kill_at,
            attempt: 0,
            sent_to: 0,
            lost: 0,
            deaths: 0,
            caller,
            _permit: permit,
        });
        self.next_sequence += 1;
        answer
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut PendingCall> {
        self.calls.get_mut(index)
    }

    /// Takes out the call with this number if it was sent to this incarnation.
    pub(crate) fn take(&mut self, sequence: u64, incarnation: u64) -> Option<PendingCall> {
        let index = self.calls.binary_search_by_key(&sequence, |call| call.sequence).ok()?;
        if self.calls[index].sent_to != incarnation {
            return None;
        }
        self.calls.remove(index)
    }

    /// Charges the death of an incarnation to the call that it ran: the first that was not
    /// answered, if it had been sent.
    ///
    /// A call that is given up is taken out and returned.
    pub(crate) fn charge(
        &mut self,
        incarnation: u64,
        killed_by_us: bool,
        policy: &Policy,
    ) -> Option<(Charge, PendingCall)> {
        let call = self.calls.front_mut().filter(|call| call.sent_to == incarnation)?;
        match call.charge(killed_by_us, policy) {
            Charge::Retry => None,
            given_up => Some((given_up, self.calls.pop_front()?)),
        }
    }

    /// Takes all calls out.
    pub(crate) fn take_all(&mut self) -> VecDeque<PendingCall> {
        std::mem::take(&mut self.calls)
    }
}

impl PendingCall {
    fn charge(&mut self, killed_by_us: bool, policy: &Policy) -> Charge {
        self.lost = self.lost.saturating_add(1);
        self.deaths = self.deaths.saturating_add(u32::from(!killed_by_us));
        if !policy.max_task_retries.allows(u64::from(self.lost)) {
            Charge::Exhausted { attempts: self.lost }
        } else if self.deaths >= policy.max_deaths_per_call {
            Charge::Poison { deaths: self.deaths }
        } else {
            Charge::Retry
        }
    }
}
