//! [`SlotPool`]: large arrays that are built where they are stored.

use std::fmt;
use std::sync::Arc;

use super::names::FileId;
use super::storage::StorageFile;
use crate::bytes::Memory;

/// Names a slot file of a state: the epoch of the incarnation that made it, and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotId {
    /// The epoch.
    pub epoch: u64,
    /// The number within the epoch.
    pub number: u32,
}

impl From<FileId> for SlotId {
    fn from(FileId { epoch, number }: FileId) -> Self {
        Self { epoch, number }
    }
}

impl From<SlotId> for FileId {
    fn from(SlotId { epoch, number }: SlotId) -> Self {
        Self { epoch, number }
    }
}

/// A pool of memory that is the content of slot files: what is built in it needs not be written
/// when it is committed (`docs/format.md`, section 4, "Built in place").
///
/// The store decides when a slot may be written, the pool to whom its memory is given. A slot is
/// *available* after [`offer`](Self::offer) and after [`renew`](Self::renew). Its memory can then
/// be given out once. When its last owner has dropped it, the slot is *at rest*: it is not given
/// out again before the store renews it, because a committed state may need it.
pub trait SlotPool: Send + Sync {
    /// Slots that are shorter are not offered. Bytes.
    fn least_bytes(&self) -> u64;

    /// A state is about to be opened: nothing that was offered before is given out any more.
    fn clear(&self);

    /// Takes a slot that nothing refers to; its first `len` bytes of content lie in the file
    /// behind the header. `false` if it cannot be mapped.
    fn offer(&self, slot: SlotId, file: &dyn StorageFile, len: u64) -> bool;

    /// Makes a slot available again that is at rest; one that is not stays what it is.
    fn renew(&self, slot: SlotId);

    /// Whether the slot is available or at rest.
    fn is_idle(&self, slot: SlotId) -> bool;

    /// Lets go of a slot that is available or at rest. `false` if somebody has its memory.
    fn withdraw(&self, slot: SlotId) -> bool;

    /// Memory that is the content of a slot which an older incarnation has made, `len` bytes behind
    /// the header: what is committed need not be read into other memory. It is
    /// checked before anybody gets it, and nobody writes the slot as long as this process lives, nor while it is *kept*. If it
    /// is not, a later incarnation may write it anew, and the memory is for this process alone.
    ///
    /// `None` if it cannot be mapped: then it is read.
    fn map_committed(
        &self,
        slot: SlotId,
        file: &dyn StorageFile,
        len: u64,
        is_kept: bool,
    ) -> Option<Box<dyn Memory>> {
        let _ = (slot, file, len, is_kept);
        None
    }
}

/// The pool of an [`ActorState`](crate::ActorState), if it has one.
#[derive(Clone, Default)]
pub(crate) struct InPlace(pub(crate) Option<Arc<dyn SlotPool>>);

impl InPlace {
    /// See [`SlotPool::map_committed`].
    pub(crate) fn map_committed(
        &self,
        slot: FileId,
        file: &dyn StorageFile,
        len: u64,
        is_kept: bool,
    ) -> Option<Box<dyn Memory>> {
        let pool = self.0.as_ref().filter(|pool| len >= pool.least_bytes())?;
        pool.map_committed(slot.into(), file, len, is_kept)
    }
}

impl fmt::Debug for InPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "InPlace" } else { "None" })
    }
}
