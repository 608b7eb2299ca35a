//! Ways into the decoders for the fuzz targets in `fuzz/`. Compiled with `--cfg fuzzing` only.

use std::collections::HashMap;
use std::path::Path;

use super::disk::Disk;
use super::failure::ReadError;
use super::names::{FileId, FileName};
use super::patches::Plan;
use super::payload::{
    self, BlobRef, Contents, INLINE_LIMIT, Inline, Place, References, SlotRef, Unplaced,
};
use super::reading::Reading;
use super::recovery::{self, Replayed, Survey};
use super::replay::Tail;
use super::salvage::{Salvage, salvage_on};
use super::storage::Storage;
use super::{Record, View, layout::Malformed};
use crate::bytes::{Bytes, BytesId};
use crate::call::CallId;
use crate::codec::Encoded;
use crate::error::OpenError;
use crate::ledger::LedgerLimits;

/// What errors call the directory in memory.
const PATH: &str = "state";

/// Reads a state as an inspection does, but only once. Also tells whether the journal ends with a
/// torn record.
///
/// # Errors
/// As for [`inspect`](super::inspect).
pub fn read_state(storage: Box<dyn Storage>) -> Result<(View, bool), OpenError> {
    let path = Path::new(PATH);
    let disk = Disk::new(storage, false);
    let read = || {
        let listing = disk.list()?;
        let has_identity = listing.names.contains(&FileName::Identity);
        let head = match recovery::survey(&listing)? {
            Survey::State(head) => head,
            other => return Ok(Err(other)),
        };
        let mut replayed = Replayed::read(&disk, head, has_identity, &Reading::default())?;
        let tail = replayed.extent.tail;
        assert!(!replayed.catch_up()?, "nothing is added to the journal");
        Ok(Ok((replayed.contents()?, tail == Tail::Torn)))
    };
    match read().map_err(|error: ReadError| error.into_open_error(path))? {
        Ok(state) => Ok(state),
        Err(Survey::Foreign(found)) => Err(OpenError::NotAState { path: path.to_owned(), found }),
        Err(_) => Err(OpenError::NotFound { path: path.to_owned() }),
    }
}

/// [`salvage`](super::salvage) of a state in any [`Storage`].
///
/// # Errors
/// As for [`salvage`](super::salvage).
pub fn salvage_state(storage: Box<dyn Storage>) -> Result<Salvage, OpenError> {
    salvage_on(&Disk::new(storage, false), Path::new(PATH))
}

/// Reads the name of a file; gives it as the store would write it.
pub fn file_name(name: &str) -> Option<String> {
    FileName::parse(name).map(|name| name.to_string())
}

/// Reads the payload of a commit, the contents of slots made up; `None` if it is malformed.
pub fn read_commit(payload: &[u8], sequence: u64) -> Option<Record> {
    payload::read_commit(payload, sequence, &mut MadeUp::default()).ok()
}

/// Reads the payload of a snapshot, the contents of slots made up; `None` if it is malformed.
pub fn read_snapshot(payload: &[u8], sequence: u64) -> Option<(View, LedgerLimits)> {
    payload::read_snapshot(payload, sequence, &mut MadeUp::default()).ok()
}

/// A commit after it was encoded and decoded, and whether its encoding has the length that was
/// foretold; `None` if it cannot be encoded or decoded.
pub fn encode_and_read_commit(record: &Record) -> Option<(Record, bool)> {
    let mut slots = Slots::default();
    if let Some(call) = &record.call {
        slots.put(Place::Reply(call.id), &call.reply.value);
    }
    for (name, value) in &record.changes {
        slots.put(Place::Attribute(name), value);
    }
    let mut payload = Vec::new();
    payload::put_commit(&mut payload, record, &slots).ok()?;
    let foretold = payload::commit_len(record, &Plan::new()) == payload.len() as u64;
    let read = payload::read_commit(&payload, record.sequence, &mut slots).ok()?;
    Some((read, foretold))
}

/// A snapshot after it was encoded and decoded; `None` if that fails.
pub fn encode_and_read_snapshot(
    view: &View,
    limits: &LedgerLimits,
) -> Option<(View, LedgerLimits)> {
    let mut slots = Slots::default();
    for (name, value) in &view.attributes {
        slots.put(Place::Attribute(name), value);
    }
    for (session, calls) in view.ledger.sessions() {
        for (&sequence, entry) in &calls.calls {
            slots.put(Place::Reply(CallId { session, sequence }), &entry.reply.value);
        }
    }
    let mut payload = Vec::new();
    let put: Result<(), Unplaced> = payload::put_snapshot(&mut payload, view, limits, &slots);
    put.ok()?;
    payload::read_snapshot(&payload, view.sequence, &mut slots).ok()
}

/// Reads a table of a group journal, or a batch, encodes what was read and reads that; says whether
/// it is the same, or `None` if the payload is malformed.
pub fn group_reads_back(payload: &[u8], is_table: bool) -> Option<bool> {
    super::group::fuzzing::reads_back(payload, is_table)
}

/// Puts each member's entries of a batch into a segment like this one: what becomes of it and up to
/// where it is durable, for each member whose entries fit; `None` if the payload is malformed.
pub fn redo(payload: &[u8], segment: &[u8]) -> Option<Vec<(Vec<u8>, Option<u64>)>> {
    super::group::fuzzing::redo(payload, segment)
}

/// The value and the remembered call in Redis that these bytes are, if they are one, encoded
/// again.
#[cfg(feature = "redis")]
pub fn read_and_encode_redis(bytes: &[u8]) -> [Option<Vec<u8>>; 2] {
    super::redis::read_and_encode(bytes)
}

/// Contents made up from the references to them.
#[derive(Default)]
struct MadeUp(HashMap<SlotRef, Bytes>);

impl Contents for MadeUp {
    /// What patches would make of an array does not matter here.
    fn value(&mut self, inline: Inline<'_>, blobs: &[BlobRef<'_>]) -> Result<Encoded, Malformed> {
        let inline = match inline {
            Inline::Here(bytes) => bytes.to_vec(),
            Inline::Slot(at) => vec![at.checksum as u8; INLINE_LIMIT + at.len as usize % 16],
        };
        let mut blob = |BlobRef { slot, .. }: &BlobRef<'_>| {
            let make = || Bytes::from(vec![slot.checksum as u8; slot.len as usize % 1024]);
            self.0.entry(*slot).or_insert_with(make).clone()
        };
        Ok(Encoded { inline, blobs: blobs.iter().map(&mut blob).collect() })
    }
}

/// Contents in slots of their own.
#[derive(Default)]
struct Slots {
    blobs: HashMap<BytesId, SlotRef>,
    attributes: HashMap<String, SlotRef>,
    replies: HashMap<CallId, SlotRef>,
    contents: HashMap<SlotRef, Bytes>,
}

impl Slots {
    fn put(&mut self, place: Place<'_>, value: &Encoded) {
        for blob in &value.blobs {
            let reference = self.store(blob.clone());
            self.blobs.insert(blob.id(), reference);
        }
        if value.inline.len() >= INLINE_LIMIT {
            let reference = self.store(Bytes::from(&value.inline[..]));
            match place {
                Place::Attribute(name) => self.attributes.insert(name.to_owned(), reference),
                Place::Reply(call) => self.replies.insert(call, reference),
            };
        }
    }

    fn store(&mut self, content: Bytes) -> SlotRef {
        let slot = FileId { epoch: 1, number: self.contents.len() as u32 };
        let reference = SlotRef { slot, len: content.len() as u64, checksum: 0 };
        self.contents.insert(reference, content);
        reference
    }
}

impl References for Slots {
    fn blob(&self, blob: &Bytes, _: Place<'_>) -> Option<BlobRef<'_>> {
        self.blobs.get(&blob.id()).copied().map(BlobRef::from)
    }

    fn inline(&self, place: Place<'_>) -> Option<SlotRef> {
        match place {
            Place::Attribute(name) => self.attributes.get(name).copied(),
            Place::Reply(call) => self.replies.get(&call).copied(),
        }
    }
}

impl Contents for Slots {
    fn value(&mut self, inline: Inline<'_>, blobs: &[BlobRef<'_>]) -> Result<Encoded, Malformed> {
        let content = |at: &SlotRef| {
            let known = self.contents.get(at).cloned();
            known.ok_or_else(|| Malformed("there is no such slot".to_owned()))
        };
        let inline = match inline {
            Inline::Here(bytes) => bytes.to_vec(),
            Inline::Slot(at) => content(&at)?.to_vec(),
        };
        let blobs = blobs.iter().map(|blob| content(&blob.slot)).collect::<Result<_, _>>()?;
        Ok(Encoded { inline, blobs })
    }
}
