//! What the macros' output refers to. Not part of the public interface.

pub use inventory;
pub use persistent_actor::codec::{decode, encode};
pub use persistent_actor::{Actor, CodecError, Encoded, Method, Outcome};

pub use crate::actor_type::{ActorType, Remote};
pub use crate::buffers::buffers_made;
pub use crate::error::CallError;
pub use crate::handle::Handle;
pub use crate::init::{TestWorker, block_on, take_worker_branch};
pub use crate::never::Never;
