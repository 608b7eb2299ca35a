//! [`ActorBuilder`]: how an actor is started.

use std::future::Future;
use std::marker::PhantomData;

use persistent_actor::{CodecError, Durability, Encoded, codec};

use crate::actor_type::Remote;
use crate::error::SpawnError;
use crate::limit::Limit;
use crate::node::Node;

/// How many calls to one actor may be unanswered at once, unless
/// [`ActorBuilder::max_pending_calls`] says otherwise.
pub const DEFAULT_MAX_PENDING_CALLS: usize = 1024;

/// After how many deaths of the same call it is given up, unless
/// [`ActorBuilder::max_deaths_per_call`] says otherwise.
pub const DEFAULT_MAX_DEATHS_PER_CALL: u32 = 5;

/// Where an actor's initial value comes from.
#[diagnostic::on_unimplemented(
    message = "`{A}` has no default value to start from",
    note = "implement `Default` for it, or give a value with `.initial(value)`"
)]
pub trait Initial<A> {
    /// The initial value, encoded.
    #[doc(hidden)]
    fn encode(self) -> Result<Encoded, CodecError>;
}

/// The initial value is `A::default()`.
#[derive(Clone, Copy, Debug)]
pub struct UseDefault;

/// The initial value was given.
#[derive(Clone, Copy, Debug)]
pub struct UseValue<A>(A);

impl<A: Remote + Default> Initial<A> for UseDefault {
    fn encode(self) -> Result<Encoded, CodecError> {
        codec::encode(&A::default())
    }
}

impl<A: Remote> Initial<A> for UseValue<A> {
    fn encode(self) -> Result<Encoded, CodecError> {
        codec::encode(&self.0)
    }
}

/// What to do when the actor or a call of it dies, and how much may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub(crate) max_restarts: Limit,
    pub(crate) max_task_retries: Limit,
    pub(crate) max_pending_calls: usize,
    pub(crate) max_deaths_per_call: u32,
}

/// How an actor is started; made by [`Node::actor`].
#[must_use = "an actor is started by `.spawn().await`"]
pub struct ActorBuilder<A, I = UseDefault> {
    pub(crate) node: Node,
    pub(crate) name: String,
    pub(crate) durability: Durability,
    pub(crate) policy: Policy,
    pub(crate) initial: I,
    pub(crate) actor: PhantomData<fn() -> A>,
}

impl<A: Remote> ActorBuilder<A> {
    pub(crate) fn new(node: Node, name: String) -> Self {
        Self {
            durability: node.durability(),
            node,
            name,
            policy: Policy {
                max_restarts: Limit::Unlimited,
                max_task_retries: Limit::Unlimited,
                max_pending_calls: DEFAULT_MAX_PENDING_CALLS,
                max_deaths_per_call: DEFAULT_MAX_DEATHS_PER_CALL,
            },
            initial: UseDefault,
            actor: PhantomData,
        }
    }

    /// The actor's value before its committed attributes are loaded. Default: `A::default()`.
    pub fn initial(self, value: A) -> ActorBuilder<A, UseValue<A>> {
        let Self { node, name, durability, policy, .. } = self;
        ActorBuilder {
            node,
            name,
            durability,
            policy,
            initial: UseValue(value),
            actor: PhantomData,
        }
    }
}

impl<A: Remote, I: Initial<A>> ActorBuilder<A, I> {
    /// What a committed call survives. Default: the node's level.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// How often the actor may be restarted. Default: without limit.
    pub fn max_restarts(mut self, limit: impl Into<Limit>) -> Self {
        self.policy.max_restarts = limit.into();
        self
    }

    /// How often a call may be tried again after the actor died under it. Default: without limit
    /// (but see [`ActorBuilder::max_deaths_per_call`]).
    pub fn max_task_retries(mut self, limit: impl Into<Limit>) -> Self {
        self.policy.max_task_retries = limit.into();
        self
    }

    /// How many calls may be unanswered at once; further callers wait. Default: 1024; at least 1.
    pub fn max_pending_calls(mut self, calls: usize) -> Self {
        self.policy.max_pending_calls = calls.max(1);
        self
    }

    /// After how many deaths of the same call it is given up
    /// ([`CallError::PoisonCall`](crate::CallError::PoisonCall)) and the others are served.
    /// Kills by this node do not count. Default: 5; at least 1.
    pub fn max_deaths_per_call(mut self, deaths: u32) -> Self {
        self.policy.max_deaths_per_call = deaths.max(1);
        self
    }

    /// Starts the actor and waits until it has loaded its state.
    ///
    /// # Errors
    /// See [`SpawnError`].
    pub fn spawn(self) -> impl Future<Output = Result<A::Handle, SpawnError>> + Send + use<A, I> {
        let Self { node, name, durability, policy, initial, .. } = self;
        let initial = initial.encode();
        async move {
            let initial =
                initial.map_err(|source| SpawnError::Initial { name: name.clone(), source })?;
            node.spawn::<A>(name, durability, policy, initial).await.map(A::Handle::from)
        }
    }
}
