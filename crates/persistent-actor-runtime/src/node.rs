//! [`Node`]: the state root and the actors on it.

use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use persistent_actor::testing::Switches;
use persistent_actor::{
    ActorState, CallId, Durability, Encoded, LedgerLimits, OpenError, SessionId, store,
};
use serde::de::DeserializeOwned;
use tokio::sync::{OnceCell, oneshot};

use crate::actor_type::{ActorType, Remote};
use crate::actors::Actors;
use crate::assignment::Assignment;
use crate::buffers::use_shared_memory;
use crate::builder::{ActorBuilder, Policy};
use crate::cell::Cell;
use crate::error::{Error, NodeError, SpawnError};
use crate::event::{Event, Observer};
use crate::fork_server::ForkServer;
use crate::group::GroupCommit;
use crate::handle::{Handle, TypedOutcome, ask, typed_reply};
use crate::init::EntryPoint;
use crate::lending::Payload;
use crate::root::{Root, escape};
use crate::supervisor::{Start, Supervisor};

/// The actors of this program, and the directory that keeps their states.
///
/// Clones share the node. When the last one is dropped, all its actors' processes are killed; use
/// [`Node::shutdown`] to let them finish first. However the program ends, SIGKILL included, none
/// of them outlives it.
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

struct Inner {
    root: Mutex<Option<Arc<Root>>>,
    durability: Durability,
    limits: LedgerLimits,
    switches: Switches,
    observer: Option<Observer>,
    actors: Arc<Actors>,
    group: OnceCell<Arc<GroupCommit>>,
    server: Option<Arc<ForkServer>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.close();
        }
        self.actors.kill_all();
        if let Some(group) = self.group.get() {
            group.stop();
        }
    }
}

impl Node {
    /// Opens the state root `dir`, or makes it, private to the user. Calls survive power loss.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, NodeError> {
        Self::builder().open(dir)
    }

    /// A node without a directory: its actors' states live in their memory only
    /// ([`Durability::None`]).
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

    /// What became of a call of a `#[safe_state]` method of the actor `name`: also of one that an
    /// earlier run of the program made, and while the actor does not run. `T` and `E` are those of
    /// the method ([`Never`](crate::Never) for a method that returns no `Result`).
    ///
    /// An actor that runs is asked, after all calls that were sent before. Of one that does not,
    /// the state is read, and not changed.
    ///
    /// # Errors
    /// [`Error::Open`] if the state cannot be read ([`OpenError::NotFound`](crate::OpenError::NotFound) if there is none),
    /// [`Error::Spawn`] if no actor can have this name, [`Error::Call`] if the actor dies while it
    /// is asked.
    pub async fn outcome<T, E>(&self, name: &str, call: CallId) -> Result<TypedOutcome<T, E>, Error>
    where
        T: DeserializeOwned,
        E: DeserializeOwned,
    {
        match self.inner.actors.get(name) {
            Some(cell) if cell.is_closing() => drop(cell.ended().await),
            Some(cell) => return Ok(ask(&cell, call).await?),
            None => {}
        }
        let path = self.state_path(name)?;
        let read = move || store::outcome(&path, call);
        let read = tokio::task::spawn_blocking(read).await.map_err(std::io::Error::other)?;
        Ok(read?.map(|reply| typed_reply(call, &reply)))
    }

    fn state_path(&self, name: &str) -> Result<PathBuf, SpawnError> {
        let escaped = escape(name)?;
        let root = self.inner.root.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let durability = self.inner.durability;
        let no_directory = || SpawnError::NoDirectory { name: name.to_owned(), durability };
        root.map(|root| root.state_path(&escaped)).ok_or_else(no_directory)
    }

    /// Stops all actors after the calls that were sent, waits until their processes are gone, and
    /// gives the state root free.
    pub async fn shutdown(&self) {
        if let Some(server) = &self.inner.server {
            server.close();
        }
        self.inner.actors.stop_all().await;
        if let Some(group) = self.inner.group.get().cloned() {
            let root = self.inner.root.lock().unwrap_or_else(PoisonError::into_inner).clone();
            // It runs to its end even if nobody waits for it; until then nobody else has the root.
            let close = move || {
                group.close();
                drop(root);
            };
            let _ = tokio::task::spawn_blocking(close).await;
        }
        self.inner.root.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// The process id of the fork server, which the processes of actors are copied from (see
    /// [`NodeBuilder::fast_restart`]), if there is one just now.
    pub fn fork_server(&self) -> Option<u32> {
        self.inner.server.as_ref()?.pid()
    }

    /// The durability of actors that do not say otherwise.
    pub fn durability(&self) -> Durability {
        self.inner.durability
    }

    pub(crate) async fn spawn<A: Remote>(
        &self,
        name: String,
        durability: Durability,
        policy: Policy,
        initial: Encoded,
    ) -> Result<Handle<A>, SpawnError> {
        if self.inner.actors.is_closed() {
            return Err(SpawnError::NodeClosed { name });
        }
        let entry = EntryPoint::of_this_program()?;
        let type_name = ActorType::name_of::<A>()?;
        let runtime = tokio::runtime::Handle::try_current()
            .map_err(|_| SpawnError::NoRuntime { name: name.clone() })?;
        let session = SessionId::generate().map_err(|source| {
            let operation = "get random bytes";
            SpawnError::Io { name: name.clone(), operation, source }
        })?;
        let group = self.group(&name, durability).await?;
        let mut assignment = self.assignment(type_name, &name, durability, session)?;
        assignment.group_run = group.as_ref().map(|group| group.run());
        let group = group.filter(|_| durability == Durability::Power).map(|group| {
            let releaser = group.releaser(&runtime);
            (group, releaser)
        });
        let initial = Payload::new(initial).map_err(|error| SpawnError::Unsendable {
            name: name.clone(),
            reason: error.to_string(),
        })?;

        let observer = self.inner.observer.clone();
        let cell = Arc::new(Cell::new(&name, session, policy, method_name::<A>, observer, group));
        self.inner.actors.add(&cell).await?;
        let handle = Handle::new(cell.clone());
        let (started, is_started) = oneshot::channel();
        let actors = Arc::downgrade(&self.inner.actors);
        let started = Some(started);
        let server = self.inner.server.clone();
        let start = Start::default();
        let supervisor =
            Supervisor { cell, actors, entry, assignment, initial, started, server, start };
        runtime.spawn(supervisor.run());
        match is_started.await {
            Ok(started) => started.map(|()| handle),
            Err(_) => Err(SpawnError::NodeClosed { name }),
        }
    }

    /// What the actors of this node that keep their state share.
    async fn group(
        &self,
        name: &str,
        durability: Durability,
    ) -> Result<Option<Arc<GroupCommit>>, SpawnError> {
        let root = self.inner.root.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(root) = root.filter(|_| durability != Durability::None) else { return Ok(None) };
        let open = || async {
            let options = ActorState::options()
                .switches(self.inner.switches)
                .ledger_limits(self.inner.limits.clone());
            let open = move || GroupCommit::open(root.path(), options);
            let opened = tokio::task::spawn_blocking(open).await;
            let opened = opened.unwrap_or_else(|error| {
                Err(OpenError::Unreadable {
                    operation: "open the group journal in",
                    path: PathBuf::new(),
                    source: std::io::Error::other(error),
                })
            });
            opened.map_err(|error| SpawnError::Group {
                name: name.to_owned(),
                reason: error.to_string(),
            })
        };
        self.inner.group.get_or_try_init(open).await.map(|group| Some(group.clone()))
    }

    fn assignment(
        &self,
        type_name: &str,
        name: &str,
        durability: Durability,
        run: SessionId,
    ) -> Result<Assignment, SpawnError> {
        let escaped = escape(name)?;
        let root = self.inner.root.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let path = match (root, durability) {
            (_, Durability::None) => Vec::new(),
            (Some(root), _) => root.state_path(&escaped).into_os_string().into_vec(),
            (None, _) => {
                return Err(SpawnError::NoDirectory { name: name.to_owned(), durability });
            }
        };
        Ok(Assignment {
            type_name: type_name.to_owned(),
            actor: name.to_owned(),
            run,
            path,
            durability,
            switches: self.inner.switches,
            limits: (&self.inner.limits).into(),
            group_run: None,
            holds_memory: self.inner.server.is_some(),
            ended: Vec::new(),
        })
    }
}

fn method_name<A: Remote>(method: usize) -> &'static str {
    A::METHODS.get(method).map_or("unknown", |method| method.name)
}

/// The settings of a [`Node`].
#[derive(Default)]
#[must_use = "a node is opened by `.open(dir)` or `.in_memory()`"]
pub struct NodeBuilder {
    durability: Durability,
    limits: LedgerLimits,
    switches: Switches,
    observer: Option<Observer>,
    restarts_slowly: bool,
}

impl NodeBuilder {
    /// What a committed call survives. Default: [`Durability::Power`].
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Who is told of every [`Event`]; it is called at once, and the call waits for it. If it
    /// panics, actors and calls go on as if it had returned, and it is told of the next event, too.
    pub fn on_event(mut self, observer: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// How much actors remember of calls that were not acknowledged.
    pub fn ledger_limits(mut self, limits: LedgerLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Whether processes beside those of the actors are kept that make starts and restarts faster.
    /// Default: they are.
    ///
    /// - One worker process for the node, the fork server: it is started once, has loaded the
    ///   executable, and from then on makes the processes of actors, which are copies of it. This
    ///   saves most of the start of a process, and the copies share what none of them changes: an
    ///   idle small actor takes about 0.15 MiB instead of 0.5. A copy is told what to run as a new
    ///   process is, and is a child of this program as that is. What a program does before
    ///   [`init`](crate::init()) is done once for all copies, and they have the same layout of
    ///   addresses; where that must not be so, do without.
    ///
    ///   There are no copies, but new processes, where a new one would get another environment,
    ///   working directory, output, user, limit or the like than the fork server did; where that has other
    ///   threads, or has opened files, when it comes to `init`, or has not come there yet; after a
    ///   copy that has died before it was ready; and where the system (a kernel without
    ///   `CONFIG_CHECKPOINT_RESTORE`, another processor than x86-64 and AArch64) or the C library (any
    ///   but glibc) lacks what they take. A fork server that cannot make copies stands by, and
    ///   becomes the process of the next actor that dies.
    /// - For each actor that has some MiB of shared memory, a process named `actor-memory` that
    ///   shares the memory of the actor's process and does nothing. The kernel then need not take
    ///   that memory down before it tells that the actor's process has died. It takes no memory of
    ///   its own, but the dead process keeps what it had until its successor has answered, at most
    ///   0.05 s after that is ready; and programs that add up the memory of processes count that of
    ///   the actor twice.
    ///
    /// All of them die with the node. They count where the number of processes is limited; where
    /// no other process can be made, the fork server becomes that of the actor.
    pub fn fast_restart(mut self, fast: bool) -> Self {
        self.restarts_slowly = !fast;
        self
    }

    /// Takes safety away, for tests of the tests.
    #[doc(hidden)]
    pub fn switches(mut self, switches: Switches) -> Self {
        self.switches = switches;
        self
    }

    /// Opens the state root `dir`, or makes it, private to the user. It is locked: one program
    /// at a time can have it open.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub fn open(self, dir: impl AsRef<Path>) -> Result<Node, NodeError> {
        let root = Root::open(dir.as_ref())?;
        Ok(self.build(Some(Arc::new(root))))
    }

    /// A node without a directory; only for [`Durability::None`].
    ///
    /// # Errors
    /// [`NodeError::NoDirectory`] if the durability is another.
    pub fn in_memory(self) -> Result<Node, NodeError> {
        match self.durability {
            Durability::None => Ok(self.build(None)),
            durability => Err(NodeError::NoDirectory { durability }),
        }
    }

    fn build(self, root: Option<Arc<Root>>) -> Node {
        let Self { durability, limits, switches, observer, restarts_slowly } = self;
        use_shared_memory();
        raise_descriptor_limit();
        let root = Mutex::new(root);
        let actors = Arc::default();
        let group = OnceCell::new();
        let server = (!restarts_slowly).then(Arc::default);
        let inner = Inner { root, durability, limits, switches, observer, actors, group, server };
        Node { inner: Arc::new(inner) }
    }
}

/// Each actor takes a descriptor, and each shared buffer: raises the number that may be open
/// from the usual 1024 to what the system allows.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // What cannot be raised stays; a lack of descriptors is an error where it occurs.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}
