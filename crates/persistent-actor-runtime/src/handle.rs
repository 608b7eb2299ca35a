//! [`Handle`]: one actor, as its callers see it.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use persistent_actor::{CallId, CallOutcome, CodecError, Encoded, Reply, ReplyStatus, codec};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::actor_type::Remote;
use crate::cell::{Cell, End};
use crate::error::CallError;
use crate::lending::{Payload, PayloadError};
use crate::never::Never;
use crate::pending::Request;
use crate::wire::Status;
use crate::zombie::{SupersedeError, Zombie};

/// Where in a call the worker is to kill itself; see [`Handle::kill_during_next_call`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillPoint {
    /// Before the method runs.
    BeforeRun,
    /// After the method has run and before its changes are committed.
    BeforeCommit,
    /// After the commit and before the reply leaves.
    AfterCommit,
}

/// What became of a call: when it was committed, what the call itself gave or would have given.
pub type TypedOutcome<T, E = Never> = CallOutcome<Result<T, CallError<E>>>;

/// One actor, as its callers see it. Clones share the actor.
///
/// Calls are processed one at a time, in the order in which they were sent. When the last handle
/// is dropped, the actor answers what was sent and stops.
pub struct Handle<A> {
    shared: Arc<Shared>,
    /// The identity of the calls made through this handle, if the caller has chosen it.
    id: Option<CallId>,
    actor: PhantomData<fn() -> A>,
}

/// What the handles of an actor share; the last to go lets the actor stop.
struct Shared {
    cell: Arc<Cell>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.cell.abandon();
    }
}

impl<A> Clone for Handle<A> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), id: self.id, actor: PhantomData }
    }
}

impl<A> fmt::Debug for Handle<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle({:?}, incarnation {})", self.name(), self.incarnation())
    }
}

impl<A> Handle<A> {
    pub(crate) fn new(cell: Arc<Cell>) -> Self {
        Self { shared: Arc::new(Shared { cell }), id: None, actor: PhantomData }
    }

    /// Calls the method `A::METHODS[method]` and waits for its reply.
    ///
    /// What a `#[safe_state]` method changes is saved exactly once, however often the actor dies; other
    /// methods may run again when it does. The arguments are
    /// encoded at once; the call is sent when the future is first polled. If the future is
    /// dropped later, the call still runs and its reply is discarded.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn call<Args, T, E>(
        &self,
        method: usize,
        args: &Args,
    ) -> impl Future<Output = Result<T, CallError<E>>> + Send + use<A, Args, T, E>
    where
        Args: Serialize + ?Sized,
        T: DeserializeOwned,
        E: DeserializeOwned,
    {
        let args = codec::encode(args);
        let (shared, id) = (self.shared.clone(), self.id);
        async move {
            let (call, status, value) = shared
                .call(method, args, id)
                .await
                .map_err(|e| e.map_method(|never| match never {}))?;
            typed(call, status, &value)
        }
    }

    /// What became of a call of a `#[safe_state]` method, as the actor knows after all calls that
    /// were sent before: `T` and `E` are those of the method.
    ///
    /// [`Node::outcome`](crate::Node::outcome) tells it also while the actor does not run.
    ///
    /// # Errors
    /// [`CallError`] if the actor cannot be asked.
    pub async fn outcome<T, E>(&self, call: CallId) -> Result<TypedOutcome<T, E>, CallError>
    where
        T: DeserializeOwned,
        E: DeserializeOwned,
    {
        ask(&self.shared.cell, call).await
    }

    /// A handle whose calls have this identity instead of one that the node gives them.
    ///
    /// Whoever writes the identity down before the call can send it again after its whole program
    /// was killed, and it takes effect once; [`outcome`](Self::outcome) tells what became of it.
    /// Take one [`SessionId`](crate::SessionId) for each caller, and number its calls. Every call
    /// needs a number of its own: another call under a number that was used is refused.
    ///
    /// Nobody acknowledges the replies to such calls, so they are remembered until a bound of
    /// [`LedgerLimits`](crate::LedgerLimits) is reached. A call whose session began before this
    /// actor was spawned may be a retry after its program died: its intent is noted durably before
    /// it runs, which costs one more commit.
    ///
    /// ```
    /// # use persistent_actor_runtime::*;
    /// # #[derive(Default, serde::Serialize, serde::Deserialize)]
    /// # struct Counter { counter: u64 }
    /// # #[actor]
    /// # impl Counter {
    /// #     #[safe_state("counter")]
    /// #     fn increment(&mut self, by: u64) -> u64 { self.counter += by; self.counter }
    /// # }
    /// # #[persistent_actor_runtime::main]
    /// # async fn main() -> Result<()> {
    /// # let dir = tempfile::tempdir()?;
    /// # let node = Node::open(dir.path())?;
    /// let counter = node.actor::<Counter>("visits").spawn().await?;
    /// let id = CallId { session: SessionId::generate()?, sequence: 0 };
    /// assert_eq!(counter.with_call_id(id).increment(1).await?, 1);
    /// assert_eq!(counter.with_call_id(id).increment(1).await?, 1, "the same call");
    /// let outcome = node.outcome::<u64, Never>("visits", id).await?;
    /// assert!(matches!(outcome, CallOutcome::Committed(Ok(1))));
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_call_id(&self, id: CallId) -> A::Handle
    where
        A: Remote,
    {
        A::Handle::from(Self { id: Some(id), ..self.clone() })
    }

    /// Kills the actor's process from outside (SIGKILL) and waits until it is gone; the restart
    /// policy then applies as for any death.
    ///
    /// While the actor has no process, waits for the next one.
    ///
    /// # Errors
    /// [`CallError::ActorStopped`] or [`CallError::ActorDied`] if there will be none any more.
    pub async fn kill(&self) -> Result<(), CallError> {
        self.shared.cell.kill().await
    }

    /// Stops the actor after the calls that were sent, and waits until its process is gone.
    ///
    /// Calls made from now on get [`CallError::ActorStopped`]. Stopping twice is no error.
    ///
    /// # Errors
    /// [`CallError::ActorDied`] if it died for good instead.
    pub async fn stop(&self) -> Result<(), CallError> {
        let cell = &self.shared.cell;
        cell.close();
        match cell.ended().await {
            End::Stopped => Ok(()),
            End::Died(reason) => {
                Err(CallError::ActorDied { actor: cell.name.clone(), call: None, reason })
            }
        }
    }

    /// Fault injection: in the next call made through any handle of this actor, the worker kills
    /// itself (SIGKILL) at this point, in the call's first attempt only.
    ///
    /// For a call that leaves no record, the two later points are both after the run.
    pub fn kill_during_next_call(&self, point: KillPoint) {
        self.shared.cell.kill_during_next_call(point);
    }

    /// Fault injection: stops the actor's process (SIGSTOP) as soon as there is one that takes
    /// calls, and has its successor started while it stands still, as when a machine hangs and
    /// another takes its work over. The local engine never does this by itself: it starts a
    /// process only when the one before is gone.
    ///
    /// Calls that were not answered are sent to the successor.
    ///
    /// # Errors
    /// See [`SupersedeError`].
    #[doc(hidden)]
    pub async fn supersede(&self) -> Result<Zombie, SupersedeError> {
        self.shared.cell.supersede().await
    }

    /// The actor's name.
    pub fn name(&self) -> &str {
        &self.shared.cell.name
    }

    /// The actor's process; 0 while there is none.
    pub fn pid(&self) -> u32 {
        self.shared.cell.pid()
    }

    /// Which start of the actor in this node is the current one, counted from 1.
    pub fn incarnation(&self) -> u64 {
        self.shared.cell.incarnation()
    }
}

impl Shared {
    /// Sends a call and waits for its answer.
    async fn call(
        &self,
        method: usize,
        args: Result<Encoded, CodecError>,
        id: Option<CallId>,
    ) -> Result<(CallId, Status, Encoded), CallError> {
        let args = Payload::new(args.map_err(CallError::Encode)?).map_err(unsendable)?;
        // A number beyond the range is no method either, and the worker says so.
        let method = u32::try_from(method).unwrap_or(u32::MAX);
        answer(&self.cell, Request::Call { method, args, kill_at: None, id }).await
    }
}

fn unsendable(error: PayloadError) -> CallError {
    match error {
        PayloadError::TooLarge { what, size, limit } => CallError::TooLarge { what, size, limit },
        PayloadError::Memory { reason } => CallError::Memory { reason },
    }
}

/// Asks a running actor what became of a call.
pub(crate) async fn ask<T, E>(cell: &Cell, call: CallId) -> Result<TypedOutcome<T, E>, CallError>
where
    T: DeserializeOwned,
    E: DeserializeOwned,
{
    let (_, status, value) = answer(cell, Request::Outcome(call)).await?;
    Ok(match status {
        Status::NotCommitted => CallOutcome::NotCommitted,
        Status::Expired => CallOutcome::Expired,
        Status::Poison => {
            let decoded = codec::decode::<(u32, String)>(&value);
            let (deaths, last) = decoded.map_err(|source| CallError::Decode { call, source })?;
            CallOutcome::Parked { deaths, last }
        }
        status => CallOutcome::Committed(typed(call, status, &value)),
    })
}

/// Sends a request and waits for its answer.
async fn answer(cell: &Cell, request: Request) -> Result<(CallId, Status, Encoded), CallError> {
    let permit = cell.permit().await?;
    match cell.send(request, permit)?.await {
        Ok(answer) => answer,
        Err(_) => Err(CallError::ActorStopped { actor: cell.name.clone(), call: None }),
    }
}

/// A reply that was remembered, in the types of its method.
pub(crate) fn typed_reply<T, E>(call: CallId, reply: &Reply) -> Result<T, CallError<E>>
where
    T: DeserializeOwned,
    E: DeserializeOwned,
{
    let status = match reply.status {
        ReplyStatus::Returned => Status::Returned,
        ReplyStatus::Failed => Status::Failed,
        ReplyStatus::Panicked => Status::Panicked,
    };
    typed(call, status, &reply.value)
}

/// The answer to a call in the types of its method.
fn typed<T, E>(call: CallId, status: Status, value: &Encoded) -> Result<T, CallError<E>>
where
    T: DeserializeOwned,
    E: DeserializeOwned,
{
    let undecodable = |source| CallError::Decode { call, source };
    let text = || codec::decode::<String>(value).map_err(undecodable);
    match status {
        Status::Returned => codec::decode(value).map_err(undecodable),
        Status::Failed => Err(codec::decode(value).map_or_else(undecodable, CallError::Method)),
        Status::Panicked => Err(CallError::Panicked { call, message: text()? }),
        Status::Rejected => Err(CallError::Rejected { call, reason: text()? }),
        Status::Expired => Err(CallError::LedgerExpired { call }),
        Status::Unsendable => Err(CallError::ReplyLost { call, reason: text()? }),
        Status::Poison => {
            let (deaths, last) = codec::decode(value).map_err(undecodable)?;
            Err(CallError::PoisonCall { call, deaths, last })
        }
        Status::NotCommitted => {
            let reason = "its actor answered a question that was not asked".to_owned();
            Err(CallError::Rejected { call, reason })
        }
    }
}
