//! Durable attributes for actors, saved atomically with a call's reply: exactly once.
//!
//! This crate is the persistence core. It knows nothing of processes, sockets or the command
//! line; the local engine (`persistent-actor-runtime`) and other engines are built on it.
//!
//! - [`ActorState`]: one actor's durable attributes and its ledger of committed calls;
//! - [`Actor`] and [`Instance`]: an actor type, and one actor in memory together with its state;
//! - [`Bytes`], [`PagedBytes`] and [`TrackedBytes`]: large byte arrays that are replaced as a whole,
//!   changed range by range, or changed anywhere; [`Integer`]: integers without limit;
//! - [`Durability`]: what a committed call survives.

#[cfg(not(target_os = "linux"))]
compile_error!("persistent-actor runs on Linux only");

mod actor;
mod bytes;
mod call;
mod chunk_hashes;
pub mod codec;
mod durability;
mod error;
mod instance;
mod integer;
mod intent;
pub mod ledger;
mod name;
mod opening;
mod options;
mod outcome;
mod page_tree;
mod paged_bytes;
mod state;
pub mod store;
#[doc(hidden)]
pub mod testing;
mod tracked_bytes;

pub use actor::{Actor, Method, Outcome};
pub use bytes::{Bytes, BytesId, Memory, MemoryPool, install_memory_pool};
pub use call::{CallId, InvalidCallId, Reply, ReplyStatus, SessionId};
pub use codec::{CodecError, Encoded};
pub use durability::{Durability, UnknownDurability};
pub use error::{OpenError, StateError, StoreError};
pub use instance::{Answer, Call, Instance, Rejection, Stage};
pub use integer::Integer;
pub use intent::{Attempt, Intent, IntentStage, Intents, MAX_INTENTS, RESERVED_PREFIX};
pub use ledger::{Admission, LedgerLimits};
pub use name::{InvalidName, MAX_ESCAPED_BYTES, escape_name, state_path, unescape_name};
pub use options::Options;
pub use outcome::CallOutcome;
pub use paged_bytes::PagedBytes;
pub use state::ActorState;
pub use tracked_bytes::TrackedBytes;
