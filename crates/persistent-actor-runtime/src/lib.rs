//! The local engine of persistent-actor: one OS process per actor on this machine.
//!
//! The caller's program holds a [`Node`]. Each actor it spawns runs in a process of its own: the
//! same executable, started again, which [`init`] (or [`main`]) turns into a worker. When a
//! worker dies it is restarted, and the calls that were not answered are sent again with the same
//! ids, so that what each saves is saved exactly once.
//!
//! - [`Node`]: the state root and the actors on it;
//! - [`Handle`]: one actor, as its callers see it; `#[actor]` wraps it in typed methods;
//! - [`Event`]: what happened, for timelines, progress and tests.

#[doc(hidden)]
pub mod __private;
mod actor_type;
mod actors;
mod assignment;
mod buffers;
mod builder;
mod cell;
mod connection;
mod descriptors;
mod error;
mod event;
mod fork;
mod fork_server;
#[cfg(fuzzing)]
pub mod fuzzing;
mod group;
mod handle;
mod huge_pages;
mod init;
mod lending;
mod limit;
mod link;
mod mapping;
mod memory_holder;
mod never;
mod node;
mod pending;
mod process;
mod process_name;
mod releaser;
mod root;
mod slot_buffers;
mod socket;
mod spawner;
mod supervisor;
mod surroundings;
mod wire;
mod worker;
mod zombie;

pub use persistent_actor::*;
pub use persistent_actor_macros::{actor, main, safe_state};

pub use actor_type::Remote;
pub use builder::{
    ActorBuilder, DEFAULT_MAX_DEATHS_PER_CALL, DEFAULT_MAX_PENDING_CALLS, Initial, UseDefault,
    UseValue,
};
pub use error::{CallError, Error, NodeError, Result, SpawnError};
pub use event::{CallStatus, Event, EventKind, Exit, now_ns};
pub use handle::{Handle, KillPoint, TypedOutcome};
pub use init::init;
pub use limit::Limit;
pub use never::Never;
pub use node::{Node, NodeBuilder};
#[doc(hidden)]
pub use zombie::{SupersedeError, Zombie, ZombieEnd};
