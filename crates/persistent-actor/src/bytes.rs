//! [`Bytes`]: large immutable byte arrays that are shared instead of copied.
//!
//! A call that carries 10 MiB must not copy them through a serialiser. `Bytes` therefore keeps
//! its memory behind an [`Arc`], and the [codec] passes large ones *beside* the
//! encoded value (the idea of pickle protocol 5's out-of-band buffers). Where the memory comes
//! from is the business of a [`MemoryPool`]: the heap by default, shared memory in the local
//! engine.

use std::any::Any;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec;
use crate::store::SlotId;

/// The memory behind a [`Bytes`].
pub trait Memory: Any + Send + Sync {
    /// The length of the content. Bytes.
    fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether there is no content.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The whole content.
    fn as_slice(&self) -> &[u8];

    /// Copies the whole content to `out`, which has its length.
    fn copy_to(&self, out: &mut [u8]) {
        out.copy_from_slice(self.as_slice());
    }

    /// Whether the content can be written in place; else it is copied first.
    fn is_writable(&self) -> bool {
        true
    }

    /// The whole content, for writing. Only called while one owner exists.
    fn as_mut_slice(&mut self) -> &mut [u8];

    /// The slot file of which this memory is the content, from its beginning on; see
    /// [`SlotPool`](crate::store::SlotPool).
    fn slot(&self) -> Option<SlotId> {
        None
    }

    /// For pools that want to recognise their own memory.
    fn as_any(&self) -> &dyn Any;
}

impl Memory for Vec<u8> {
    fn as_slice(&self) -> &[u8] {
        self
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        self
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Where new [`Bytes`] of this process get their memory.
pub trait MemoryPool: Send + Sync {
    /// Memory of exactly `len` bytes with unspecified (but initialised) content.
    fn allocate(&self, len: usize) -> Box<dyn Memory>;
}

static POOL: OnceLock<Box<dyn MemoryPool>> = OnceLock::new();

/// Makes `pool` the source of all [`Bytes`] built in this process from now on.
///
/// # Errors
/// Gives the pool back if one was installed before.
pub fn install_memory_pool(pool: Box<dyn MemoryPool>) -> Result<(), Box<dyn MemoryPool>> {
    POOL.set(pool)
}

fn allocate(len: usize) -> Box<dyn Memory> {
    match POOL.get() {
        Some(pool) if len >= codec::BLOB_MIN_BYTES => pool.allocate(len),
        _ => Box::new(vec![0; len]),
    }
}

/// Names one immutable content within this process: equal identities mean equal bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BytesId(u64);

impl BytesId {
    fn fresh() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// An immutable byte array; a clone shares the memory.
///
/// From 64 KiB on ([`codec::BLOB_MIN_BYTES`]) its content is never copied by the codec: between
/// processes it travels in shared memory, on disk it lies in a file of its own. With one exception:
/// behind `#[serde(flatten)]`, and in enums that are `untagged` or internally tagged (`tag` without
/// `content`), it is copied when it is loaded, and written anew by the first save after that.
///
/// ```
/// use persistent_actor::Bytes;
/// let ones = Bytes::build(3, |out| out.fill(1));
/// assert_eq!(&ones[..], [1, 1, 1]);
/// ```
#[derive(Clone)]
pub struct Bytes {
    memory: Arc<dyn Memory>,
    id: BytesId,
}

impl Bytes {
    /// A new array of `len` bytes, written by `fill`.
    ///
    /// The slice given to `fill` has unspecified content (memory is reused): write all of it.
    pub fn build(len: usize, fill: impl FnOnce(&mut [u8])) -> Self {
        let mut memory = allocate(len);
        fill(memory.as_mut_slice());
        Self::from_memory(memory)
    }

    /// A new array over memory that already holds the content.
    pub fn from_memory(memory: Box<dyn Memory>) -> Self {
        Self { memory: Arc::from(memory), id: BytesId::fresh() }
    }

    /// The identity of this content. Two arrays with one identity are equal; the reverse need
    /// not hold.
    pub fn id(&self) -> BytesId {
        self.id
    }

    /// The length. Bytes.
    pub fn len(&self) -> usize {
        self.memory.len()
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The memory behind the array, for pools that want to recognise their own.
    pub fn memory(&self) -> &dyn Memory {
        &*self.memory
    }

    /// How many `Bytes` share this memory.
    pub fn shares(&self) -> usize {
        Arc::strong_count(&self.memory)
    }

    /// The content for writing in place; copied first when the memory is shared.
    ///
    /// Note that the last committed state of an actor shares the memory of its attributes, so
    /// after a commit the first `make_mut` copies.
    pub fn make_mut(&mut self) -> &mut [u8] {
        if Arc::get_mut(&mut self.memory).is_none_or(|memory| !memory.is_writable()) {
            *self = Self::build(self.len(), |out| self.memory.copy_to(out));
        }
        self.id = BytesId::fresh();
        match Arc::get_mut(&mut self.memory) {
            Some(memory) => memory.as_mut_slice(),
            None => unreachable!("memory that was just copied has one owner"),
        }
    }
}

impl Bytes {
    /// Notices when the content is not needed any more, without keeping it.
    pub(crate) fn downgrade(&self) -> WeakBytes {
        WeakBytes { memory: Arc::downgrade(&self.memory), id: self.id }
    }
}

/// See [`Bytes::downgrade`]. While it exists, [`Bytes::make_mut`] does not write in place, so the
/// content stays what it was for as long as it is alive.
#[derive(Clone)]
pub(crate) struct WeakBytes {
    memory: Weak<dyn Memory>,
    /// The identity of the content.
    pub(crate) id: BytesId,
}

impl WeakBytes {
    /// Whether some [`Bytes`] still has the content.
    pub(crate) fn is_alive(&self) -> bool {
        self.memory.strong_count() > 0
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.memory.as_slice()
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Default for Bytes {
    fn default() -> Self {
        Self::from(Vec::new())
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(content: Vec<u8>) -> Self {
        Self::from_memory(Box::new(content))
    }
}

impl From<&[u8]> for Bytes {
    fn from(content: &[u8]) -> Self {
        Self::build(content.len(), |out| out.copy_from_slice(content))
    }
}

impl PartialEq for Bytes {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id || **self == **other
    }
}

impl Eq for Bytes {}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = &self[..self.len().min(8)];
        write!(f, "Bytes({} bytes, {head:?}…)", self.len())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        codec::serialize_bytes(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        codec::deserialize_bytes(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_shares_the_memory_and_the_identity() {
        let bytes = Bytes::from(vec![1, 2, 3]);
        let other = bytes.clone();
        assert_eq!(bytes.id(), other.id());
        assert_eq!(bytes.shares(), 2);
    }

    #[test]
    fn writing_to_a_shared_array_leaves_the_other_owner_alone() {
        let original = Bytes::from(vec![1, 2, 3]);
        let mut changed = original.clone();
        changed.make_mut()[0] = 9;
        assert_eq!(&original[..], [1, 2, 3]);
        assert_eq!(&changed[..], [9, 2, 3]);
        assert_ne!(original.id(), changed.id());
    }

    #[test]
    fn writing_in_place_gives_the_content_a_new_identity() {
        let mut bytes = Bytes::from(vec![1]);
        let before = bytes.id();
        bytes.make_mut()[0] = 2;
        assert_ne!(bytes.id(), before);
    }
}
