//! [`Node`]: the state root and the actors on it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use persistent_actor::testing::Switches;
use persistent_actor::{Durability, Encoded, LedgerLimits};

use crate::actor_type::{ActorType, Remote};
use crate::builder::{ActorBuilder, Policy};
use crate::error::{NodeError, SpawnError};
use crate::event::{Event, Observer};
use crate::handle::Handle;

/// The actors of this program, and the directory that keeps their states.
///
/// Clones share the node. When the last one is dropped, all its actors' processes are killed; use
/// [`Node::shutdown`] to let them finish first.
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

struct Inner {
    durability: Durability,
}

impl Node {
    /// Opens the state root `dir`, or makes it, private to the user. Calls survive power loss.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, NodeError> {
        Self::builder().open(dir)
    }

    /// A node without a directory: its actors' states live in their memory only.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub fn in_memory() -> Result<Self, NodeError> {
        Self::builder().durability(Durability::None).in_memory()
    }

    /// A node with other settings.
    pub fn builder() -> NodeBuilder {
        NodeBuilder::default()
    }

    /// An actor of this name, to be configured and started.
    ///
    /// With a durable node, its state is what was committed under this name before.
    pub fn actor<A: Remote>(&self, name: impl Into<String>) -> ActorBuilder<A> {
        ActorBuilder::new(self.clone(), name.into())
    }

    /// Stops all actors after the calls that were sent, and waits until their processes are gone.
    pub async fn shutdown(&self) {}

    /// The durability of actors that do not say otherwise.
    pub fn durability(&self) -> Durability {
        self.inner.durability
    }

    pub(crate) async fn spawn<A: Remote>(
        &self,
        name: String,
        _durability: Durability,
        _policy: Policy,
        _initial: Encoded,
    ) -> Result<Handle<A>, SpawnError> {
        ActorType::name_of::<A>()?;
        Err(SpawnError::NodeClosed { name })
    }
}

/// The settings of a [`Node`].
#[derive(Default)]
#[must_use = "a node is opened by `.open(dir)` or `.in_memory()`"]
pub struct NodeBuilder {
    durability: Durability,
    limits: LedgerLimits,
    switches: Switches,
    observer: Option<Observer>,
}

impl NodeBuilder {
    /// What a committed call survives. Default: [`Durability::Power`].
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Who is told of every [`Event`], at once and in the way of the call.
    pub fn on_event(mut self, observer: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// How much actors remember of calls that were not acknowledged.
    pub fn ledger_limits(mut self, limits: LedgerLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Takes safety away, for tests of the tests.
    #[doc(hidden)]
    pub fn switches(mut self, switches: Switches) -> Self {
        self.switches = switches;
        self
    }

    /// Opens the state root `dir`, or makes it, private to the user.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub fn open(self, dir: impl AsRef<Path>) -> Result<Node, NodeError> {
        self.build(Some(dir.as_ref().to_owned()))
    }

    /// A node without a directory; only for [`Durability::None`].
    ///
    /// # Errors
    /// [`NodeError::NoDirectory`] if the durability is another.
    pub fn in_memory(self) -> Result<Node, NodeError> {
        self.build(None)
    }

    fn build(self, _dir: Option<PathBuf>) -> Result<Node, NodeError> {
        let _ = (self.limits, self.switches, self.observer);
        Ok(Node { inner: Arc::new(Inner { durability: self.durability }) })
    }
}
