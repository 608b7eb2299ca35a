//! [`Handle`]: one actor, as its callers see it.

use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use persistent_actor::{CallId, codec};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::CallError;

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

/// One actor, as its callers see it. Clones share the actor.
///
/// Calls are processed one at a time, in the order in which they were sent. When the last handle
/// is dropped, the actor answers what was sent and stops.
pub struct Handle<A> {
    name: Arc<str>,
    actor: PhantomData<fn() -> A>,
}

impl<A> Clone for Handle<A> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), actor: PhantomData }
    }
}

impl<A> Handle<A> {
    /// Calls the method `A::METHODS[method]` and waits for its reply.
    ///
    /// The call takes effect exactly once, however often the actor dies. The arguments are
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
        let name = self.name.clone();
        async move {
            let _ = (method, args.map_err(CallError::Encode)?);
            Err(CallError::ActorStopped { actor: name, call: None::<CallId> })
        }
    }

    /// Kills the actor's process from outside (SIGKILL) and waits until it is gone; the restart
    /// policy then applies as for any death.
    ///
    /// # Errors
    /// [`CallError::ActorStopped`] or [`CallError::ActorDied`] if there is no process any more.
    pub async fn kill(&self) -> Result<(), CallError> {
        Err(CallError::ActorStopped { actor: self.name.clone(), call: None })
    }

    /// Stops the actor after the calls that were sent, and waits until its process is gone.
    ///
    /// Calls made from now on get [`CallError::ActorStopped`]. Stopping twice is no error.
    ///
    /// # Errors
    /// [`CallError::ActorDied`] if it died for good instead.
    pub async fn stop(&self) -> Result<(), CallError> {
        Err(CallError::ActorStopped { actor: self.name.clone(), call: None })
    }

    /// Fault injection: in the next call made through any handle of this actor, the worker kills
    /// itself (SIGKILL) at this point, in the call's first attempt only.
    pub fn kill_during_next_call(&self, _point: KillPoint) {}

    /// The actor's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The actor's process; 0 while there is none.
    pub fn pid(&self) -> u32 {
        0
    }

    /// Which start of the actor in this node is the current one, counted from 1.
    pub fn incarnation(&self) -> u64 {
        0
    }
}
