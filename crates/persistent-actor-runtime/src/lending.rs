//! [`Lending`]: one end of a connection's traffic in large values.
//!
//! Whoever sends a value in shared memory keeps a clone of its [`Bytes`] until the peer has
//! dropped it and said so. This holds for buffers of its own and for those that it received from
//! somebody else alike; so a node passes a worker's value on to another worker without copying,
//! and the worker that made it hears of its release when the last of them has let go.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

use persistent_actor::{Bytes, Encoded, Memory};

use crate::buffers::{Returns, SharedMemory, pool};
use crate::mapping::{MAX_BUFFER_BYTES, Mapping};
use crate::slot_buffers::Committed;
use crate::socket::Outbox;
use crate::wire::{
    BlobRef, BufferId, Frame, Inline, MAX_BLOBS, MAX_INLINE_BYTES, Value, WireError,
};

/// How many buffers of a peer are kept mapped.
const MAX_RECEIVED_BUFFERS: usize = 1 << 16;

/// How many buffers pass from an incarnation to the next.
const MAX_LEGACY_BUFFERS: usize = 16;

/// A value that is ready to be sent: all that is large lies in shared memory.
#[derive(Debug)]
pub(crate) struct Payload {
    inline: Part,
    blobs: Vec<Bytes>,
}

#[derive(Debug)]
enum Part {
    Small(Vec<u8>),
    Large(Bytes),
}

/// A value cannot be sent.
#[derive(Debug)]
pub(crate) enum PayloadError {
    TooLarge { what: &'static str, size: u64, limit: u64 },
    Memory { reason: String },
}

impl std::fmt::Display for PayloadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLarge { what, size, limit } => {
                write!(f, "too large to send: {size} {what}; at most {limit} can be sent")
            }
            Self::Memory { reason } => write!(f, "no shared memory for a large value: {reason}"),
        }
    }
}

impl Payload {
    pub(crate) fn new(value: Encoded) -> Result<Self, PayloadError> {
        if value.blobs.len() > MAX_BLOBS {
            let size = value.blobs.len() as u64;
            let what = "large byte arrays in one value";
            return Err(PayloadError::TooLarge { what, size, limit: MAX_BLOBS as u64 });
        }
        let mut blobs = value.blobs;
        for blob in &mut blobs {
            if shared_mapping(blob).is_none() {
                let copy = || copy_to_shared_memory(blob.len(), |out| blob.memory().copy_to(out));
                *blob = match blob.memory().as_any().downcast_ref::<Committed>() {
                    Some(committed) => committed.copy(copy)?,
                    None => copy()?,
                };
            }
        }
        let inline = if value.inline.len() < MAX_INLINE_BYTES {
            Part::Small(value.inline)
        } else {
            let (inline, len) = (&value.inline, value.inline.len());
            Part::Large(copy_to_shared_memory(len, |out| out.copy_from_slice(inline))?)
        };
        Ok(Self { inline, blobs })
    }
}

fn shared_mapping(bytes: &Bytes) -> Option<&Arc<Mapping>> {
    bytes.memory().as_any().downcast_ref::<SharedMemory>()?.mapping()
}

fn copy_to_shared_memory(len: usize, copy: impl FnOnce(&mut [u8])) -> Result<Bytes, PayloadError> {
    if len > MAX_BUFFER_BYTES {
        let size = len as u64;
        return Err(PayloadError::TooLarge { what: "bytes", size, limit: MAX_BUFFER_BYTES as u64 });
    }
    let mut memory =
        pool().allocate(len).map_err(|error| PayloadError::Memory { reason: error.to_string() })?;
    copy(memory.as_mut_slice());
    Ok(Bytes::from_memory(Box::new(memory)))
}

/// A value that the peer holds, and how many times.
struct Loan {
    bytes: Bytes,
    count: u64,
}

/// One end of a connection's traffic in large values.
///
/// Without `HashMap`, of which the first in a thread draws the seeds for all: workers that are
/// copies would have the same.
#[derive(Default)]
pub(crate) struct Lending {
    /// The buffers whose descriptors the peer has.
    announced: BTreeMap<BufferId, Weak<Mapping>>,
    /// What the peer holds.
    loans: BTreeMap<BufferId, Loan>,
    /// The peer's buffers.
    received: BTreeMap<BufferId, Arc<Mapping>>,
    /// What was received and dropped.
    returns: Arc<Returns>,
}

impl Lending {
    /// The form in which `payload` is sent; what the peer must know first goes to `outbox`.
    ///
    /// The result must be sent: from now on the peer counts as its holder.
    pub(crate) fn lend<'a>(&mut self, payload: &'a Payload, outbox: &mut Outbox) -> Value<'a> {
        self.push_returns(outbox);
        let inline = match &payload.inline {
            Part::Small(bytes) => Inline::Here(bytes),
            Part::Large(bytes) => Inline::Shared(self.lend_blob(bytes, outbox)),
        };
        let blobs = payload.blobs.iter().map(|blob| self.lend_blob(blob, outbox)).collect();
        Value { inline, blobs }
    }

    fn lend_blob(&mut self, bytes: &Bytes, outbox: &mut Outbox) -> BlobRef {
        let Some(mapping) = shared_mapping(bytes) else {
            unreachable!("a payload's large parts lie in shared memory");
        };
        let buffer = mapping.id();
        // The peer knows its own buffers, and those that it was told of.
        if !self.received.contains_key(&buffer) && !self.announced.contains_key(&buffer) {
            self.forget_freed(outbox);
            let len = mapping.len() as u64;
            let frame = match mapping.is_in_file() {
                true => Frame::Slot { id: buffer, len },
                false => Frame::Buffer { id: buffer, len },
            };
            outbox.push_with_descriptor(&frame, mapping.clone());
            self.announced.insert(buffer, Arc::downgrade(mapping));
        }
        let loan =
            self.loans.entry(buffer).or_insert_with(|| Loan { bytes: bytes.clone(), count: 0 });
        loan.count += 1;
        BlobRef { buffer, len: bytes.len() as u64 }
    }

    /// Tells the peer of buffers that are gone.
    fn forget_freed(&mut self, outbox: &mut Outbox) {
        self.announced.retain(|&id, mapping| {
            let alive = mapping.strong_count() > 0;
            if !alive {
                outbox.push(&Frame::Forget { id });
            }
            alive
        });
    }

    /// Tells the peer which of its values were dropped here.
    pub(crate) fn push_returns(&mut self, outbox: &mut Outbox) {
        for id in self.returns.take() {
            outbox.push(&Frame::Release { id });
        }
    }

    /// The value that was received, its large parts in place.
    pub(crate) fn borrow(&mut self, value: &Value<'_>) -> Result<Encoded, WireError> {
        let blobs = value.blobs.iter().map(|blob| self.borrow_blob(blob));
        let blobs = blobs.collect::<Result<_, _>>()?;
        let inline = match &value.inline {
            Inline::Here(bytes) => bytes.to_vec(),
            Inline::Shared(blob) => self.borrow_blob(blob)?.to_vec(),
        };
        Ok(Encoded { inline, blobs })
    }

    fn borrow_blob(&self, blob: &BlobRef) -> Result<Bytes, WireError> {
        let (len, returns) =
            (usize::try_from(blob.len).unwrap_or(usize::MAX), self.returns.clone());
        let memory = match (self.received.get(&blob.buffer), self.loans.get(&blob.buffer)) {
            (Some(mapping), _) => Some(SharedMemory::borrowed(mapping.clone(), len, returns)),
            (None, Some(loan)) => SharedMemory::come_back(&loan.bytes, len, returns),
            (None, None) => None,
        };
        let Some(memory) = memory else {
            return Err(WireError(format!("{:?} is not known", blob.buffer)));
        };
        if memory.len() < len {
            let buffer = memory.len();
            return Err(WireError(format!("{len} bytes in a buffer of {buffer}")));
        }
        Ok(Bytes::from_memory(Box::new(memory)))
    }

    /// Takes note of a buffer of the peer's.
    pub(crate) fn learn(
        &mut self,
        id: BufferId,
        len: u64,
        descriptor: OwnedFd,
    ) -> Result<(), WireError> {
        self.receive(id, Mapping::open(id, descriptor, len))
    }

    /// The same for a buffer that lies in a slot file.
    pub(crate) fn learn_slot(
        &mut self,
        id: BufferId,
        len: u64,
        descriptor: OwnedFd,
    ) -> Result<(), WireError> {
        self.receive(id, Mapping::open_slot(id, descriptor, len))
    }

    fn receive(&mut self, id: BufferId, mapping: io::Result<Mapping>) -> Result<(), WireError> {
        if self.received.len() >= MAX_RECEIVED_BUFFERS {
            return Err(WireError(format!("more than {MAX_RECEIVED_BUFFERS} buffers")));
        }
        let mapping =
            mapping.map_err(|error| WireError(format!("cannot map a shared buffer: {error}")))?;
        self.received.insert(id, Arc::new(mapping));
        Ok(())
    }

    /// The buffers of a peer that is dead and reaped, as far as nobody holds anything in them:
    /// its successor can go on using them, and need not pay for the memory of new ones again.
    pub(crate) fn into_legacy(self) -> Vec<Arc<Mapping>> {
        let Self { loans, received, .. } = self;
        // What the peer held of its own values it holds no more.
        drop(loans);
        // Slot files belong to the state.
        let unused = received
            .into_values()
            .filter(|mapping| Arc::strong_count(mapping) == 1 && !mapping.is_in_file());
        unused.take(MAX_LEGACY_BUFFERS).collect()
    }

    /// The peer has freed this buffer.
    pub(crate) fn forget(&mut self, id: BufferId) {
        self.received.remove(&id);
    }

    /// The peer has dropped one of the values in this buffer.
    pub(crate) fn take_back(&mut self, id: BufferId) -> Result<(), WireError> {
        let Some(loan) = self.loans.get_mut(&id) else {
            return Err(WireError(format!("{id:?} was released without being held")));
        };
        loan.count -= 1;
        if loan.count == 0 {
            self.loans.remove(&id);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::socket::{Arrived, Inbox, pair};

    const LEN: usize = 100_000;

    /// Two ends of a connection in one process.
    struct Link {
        near: Lending,
        far: Lending,
        outbox: Outbox,
    }

    impl Link {
        fn new() -> Self {
            Self { near: Lending::default(), far: Lending::default(), outbox: Outbox::default() }
        }

        /// Sends a value from the near to the far end, in the form of a call's arguments.
        fn send(&mut self, value: &Bytes) -> Bytes {
            let encoded = Encoded { inline: vec![1], blobs: vec![value.clone()] };
            let payload = Payload::new(encoded).unwrap();
            let lent = self.near.lend(&payload, &mut self.outbox);
            let empty = Value { inline: Inline::Here(&[]), blobs: vec![] };
            self.outbox.push(&Frame::Start { options: lent, initial: empty });
            self.deliver().unwrap()
        }

        fn deliver(&mut self) -> Option<Bytes> {
            let (near, far) = pair().unwrap();
            assert!(self.outbox.flush(near.as_fd()).unwrap());
            drop(near);
            let mut inbox = Inbox::new();
            let mut value = None;
            while inbox.fill(far.as_fd()).unwrap() != Arrived::End {
                while let Some((frame, descriptor)) = inbox.next().unwrap() {
                    match frame {
                        Frame::Buffer { id, len } => {
                            self.far.learn(id, len, descriptor.unwrap()).unwrap();
                        }
                        Frame::Start { options, .. } => {
                            value = self.far.borrow(&options).unwrap().blobs.pop();
                        }
                        Frame::Forget { id } => self.far.forget(id),
                        other => panic!("{other:?}"),
                    }
                }
            }
            value
        }

        /// Carries the far end's releases to the near end.
        fn release(&mut self) {
            for id in self.far.returns.take() {
                self.near.take_back(id).unwrap();
            }
        }
    }

    fn shared(byte: u8) -> Bytes {
        copy_to_shared_memory(LEN, |out| out.fill(byte)).unwrap()
    }

    #[test]
    fn a_large_value_is_read_in_place_and_its_buffer_announced_once() {
        let mut link = Link::new();
        let value = shared(3);
        for _ in 0..3 {
            let received = link.send(&value);
            assert_eq!(received, value);
        }
        assert_eq!((link.near.announced.len(), link.far.received.len()), (1, 1));
    }

    #[test]
    fn the_sender_keeps_a_value_until_every_copy_is_released() {
        let mut link = Link::new();
        let value = shared(4);
        let (first, second) = (link.send(&value), link.send(&value));
        drop(first);
        link.release();
        assert_eq!(value.shares(), 2, "the second is still out");
        drop(second);
        link.release();
        assert_eq!(value.shares(), 1);
    }

    #[test]
    fn a_value_on_the_heap_is_copied_into_shared_memory() {
        let mut link = Link::new();
        let value = Bytes::from(vec![5; LEN]);
        assert_eq!(link.send(&value), value);
    }

    #[test]
    fn a_value_that_comes_home_is_found_in_the_loans() {
        let mut link = Link::new();
        let value = shared(6);
        let there = link.send(&value);
        std::mem::swap(&mut link.near, &mut link.far);
        let back = link.send(&there);
        assert_eq!(back, value);
        assert_eq!(link.near.announced.len(), 0, "its maker needs no descriptor");
    }

    #[test]
    fn what_is_not_known_or_not_held_is_an_error() {
        let mut link = Link::new();
        let id = BufferId { pool: 1, index: 1 };
        let blob = BlobRef { buffer: id, len: 1 };
        let value = Value { inline: Inline::Shared(blob), blobs: vec![] };
        assert!(link.far.borrow(&value).unwrap_err().to_string().contains("not known"));
        assert!(link.far.take_back(id).is_err());

        let sent = link.send(&shared(1));
        let known = *link.far.received.keys().next().unwrap();
        let value = Value {
            inline: Inline::Shared(BlobRef { buffer: known, len: u64::MAX }),
            blobs: vec![],
        };
        assert!(link.far.borrow(&value).is_err());
        drop(sent);
    }

    #[test]
    fn a_freed_buffer_is_forgotten_by_the_peer() {
        let mut link = Link::new();
        let pool_free = Mapping::create(BufferId { pool: 5, index: 5 }, 1 << 16).unwrap();
        let memory = SharedMemory::borrowed(Arc::new(pool_free), LEN, Arc::new(Returns::default()));
        let value = Bytes::from_memory(Box::new(memory));
        drop(link.send(&value));
        link.release();
        drop(value);
        drop(link.send(&shared(1)));
        assert!(!link.far.received.contains_key(&BufferId { pool: 5, index: 5 }));
    }
}
