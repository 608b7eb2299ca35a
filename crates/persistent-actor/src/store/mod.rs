//! Where committed state lives: the [`Store`] trait, and what it stores.

mod container;
mod content;
mod create;
mod disk;
mod failure;
mod fence;
mod file;
mod frame;
#[cfg(fuzzing)]
pub mod fuzzing;
mod group;
mod hole;
mod identity;
mod in_place;
mod inspect;
mod layout;
mod mapped;
mod names;
mod opening;
mod patches;
mod payload;
mod placeholders;
mod reading;
mod recovery;
#[cfg(feature = "redis")]
mod redis;
mod replay;
mod salvage;
pub(crate) mod segment;
pub(crate) mod sim;
mod slot_file;
mod slot_pool;
mod slots;
mod storage;

pub use container::Container;
pub use create::create;
pub use file::FileStore;
pub(crate) use group::Chain;
pub use group::{GroupJournal, GroupedState, Member, Ticket, Written};
#[doc(hidden)]
pub use inspect::inspect_on;
pub use inspect::{FileInfo, Inspection, inspect, is_state_file, last_holder, outcome, outcome_on};
pub use mapped::MappedFile;
#[cfg(feature = "redis")]
pub use redis::RedisStore;
pub use salvage::{Damage, Salvage, salvage};
pub(crate) use slot_pool::InPlace;
pub use slot_pool::{SlotId, SlotPool};
pub use storage::{DirStorage, StateRoot, Storage, StorageFile, open_storage};

/// The version of the format that this program writes. A journal that needs a group journal
/// has version 3 for as long as it does; that is read, too.
pub const FORMAT_VERSION: u32 = 2;

use std::collections::BTreeMap;

use crate::call::{CallId, Reply};
use crate::codec::{CodecError, Encoded};
use crate::error::StoreError;
use crate::intent::Intents;
use crate::ledger::{Entry, Ledger, LedgerLimits};

/// All that is committed of one actor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The number of the last commit; 0 when there was none.
    pub sequence: u64,
    /// The durable attributes by name.
    pub attributes: BTreeMap<String, Encoded>,
    /// The committed calls.
    pub ledger: Ledger,
}

impl View {
    /// Takes a record over that has become durable.
    pub fn apply(&mut self, record: Record, limits: &LedgerLimits) {
        self.sequence = record.sequence;
        self.attributes.extend(record.changes);
        if let Some(call) = record.call {
            let CallRecord { id, acked_below, digest, at_ms, reply } = call;
            let entry = Entry { digest, at_ms, commit: record.sequence, reply };
            self.ledger.insert(id, acked_below, entry);
            self.ledger.trim(limits);
        }
    }

    /// The attributes that have a name given by their user: without the library's own.
    pub fn named_attributes(&self) -> impl Iterator<Item = (&str, &Encoded)> {
        let all = self.attributes.iter().map(|(name, value)| (name.as_str(), value));
        all.filter(|(name, _)| !crate::state::is_reserved(name))
    }

    /// Calls that the actor died of.
    ///
    /// # Errors
    /// If the attribute that holds them is something else.
    pub fn intents(&self) -> Result<Intents, CodecError> {
        Intents::load(self.attributes.get(crate::intent::ATTRIBUTE))
    }

    /// Makes sure that a view which comes from outside can be that of a store.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.sequence == u64::MAX {
            return Err("no commit can follow its sequence number");
        }
        if self.attributes.keys().any(|name| name.len() > usize::from(u16::MAX)) {
            return Err("the name of an attribute has more than 65535 bytes");
        }
        if !self.ledger.is_consistent(self.sequence) {
            return Err("two calls have one commit, or a call is newer than the last commit");
        }
        Ok(())
    }

    /// Every value in the view: attributes and remembered replies.
    pub fn values(&self) -> impl Iterator<Item = &Encoded> {
        let replies = self.ledger.sessions().flat_map(|(_, session)| session.calls.values());
        self.attributes.values().chain(replies.map(|entry| &entry.reply.value))
    }
}

/// One atomic commit: what changed, and the call that changed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The number of this commit: that of the one before plus 1.
    pub sequence: u64,
    /// The call, if one caused the commit.
    pub call: Option<CallRecord>,
    /// The attributes that changed, with their new values.
    pub changes: Vec<(String, Encoded)>,
}

/// A call as it is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRecord {
    /// The call's identity.
    pub id: CallId,
    /// The caller has the replies of all calls of this session below this number.
    pub acked_below: u64,
    /// A digest of the method and its arguments.
    pub digest: u64,
    /// When the call was committed, in milliseconds of Unix time.
    pub at_ms: u64,
    /// What the call answered.
    pub reply: Reply,
}

/// Keeps one actor's committed state, for one incarnation of the actor.
///
/// A store that fails once refuses everything from then on.
pub trait Store: Send {
    /// The epoch under which this store writes.
    fn epoch(&self) -> u64;

    /// A random number that a state gets when it is made; of a copy it is the same. `None` if this
    /// kind of store has none.
    fn state_id(&self) -> Option<u128> {
        None
    }

    /// Makes `record`, which follows `view`, as durable as the store's level says.
    ///
    /// # Errors
    /// After [`StoreError::TooLarge`] nothing was written and the store goes on; after any other
    /// error it is of no further use: reopen it.
    fn commit(&mut self, record: &Record, view: &View) -> Result<(), StoreError>;

    /// Whether this store is still the newest writer. Asked before an answer that leaves no
    /// record: a superseded incarnation would serve an old state.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] if it is not; as for [`Store::commit`] otherwise.
    fn check(&mut self) -> Result<(), StoreError>;

    /// Whether [`Store::maintain`] has anything to do. Asked after each commit, so cheap.
    fn is_maintenance_due(&self, view: &View) -> bool;

    /// Work that may wait until a reply has left: checkpoints, giving space back. A checkpoint
    /// takes calls out of the ledger that are older than its bound.
    ///
    /// # Errors
    /// As for [`Store::commit`].
    fn maintain(&mut self, view: &mut View) -> Result<(), StoreError>;

    /// See [`ActorState::set_group`](crate::ActorState::set_group).
    ///
    /// # Errors
    /// As for [`Store::commit`].
    fn set_group(&mut self, member: Option<Member>) -> Result<(), StoreError> {
        let _ = member;
        Ok(())
    }

    /// See [`ActorState::take_written`](crate::ActorState::take_written).
    fn take_written(&mut self) -> Option<Written<'_>> {
        None
    }

    /// See [`ActorState::close`](crate::ActorState::close).
    ///
    /// # Errors
    /// As for [`Store::commit`].
    fn close(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}
