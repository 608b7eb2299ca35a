//! [`Remote`] and the registry of actor types, by which a worker finds the type it is to run.

use persistent_actor::{Actor, Encoded};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::assignment::Assignment;
use crate::connection::Connection;
use crate::error::SpawnError;
use crate::handle::Handle;
use crate::worker;

/// An actor that can run in a process of its own. Written by `#[actor]`.
pub trait Remote: Actor + Serialize + DeserializeOwned {
    /// The typed handle, with one async method per method of the actor.
    type Handle: From<Handle<Self>> + Clone + Send + Sync + 'static;
}

/// An actor type that workers of this executable can run.
pub struct ActorType {
    type_name: fn() -> &'static str,
    pub(crate) serve: fn(Connection, &Assignment, Encoded) -> !,
}

impl ActorType {
    /// The entry for `A`.
    pub const fn of<A: Remote>() -> Self {
        Self { type_name: std::any::type_name::<A>, serve: worker::serve::<A> }
    }

    /// The entry whose type has this name.
    pub(crate) fn find(type_name: &str) -> Option<&'static Self> {
        inventory::iter::<Self>().find(|entry| (entry.type_name)() == type_name)
    }

    /// The name under which a worker finds `A`.
    pub(crate) fn name_of<A: Remote>() -> Result<&'static str, SpawnError> {
        let type_name = std::any::type_name::<A>();
        match Self::find(type_name) {
            Some(_) => Ok(type_name),
            None => Err(SpawnError::UnknownType { type_name }),
        }
    }
}

inventory::collect!(ActorType);
