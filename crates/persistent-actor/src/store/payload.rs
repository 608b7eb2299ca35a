//! The payloads of records: commits and snapshots (`docs/format.md`, section 3).

use std::borrow::Cow;

use super::layout::{Malformed, Put, Reader};
use super::names::FileId;
use super::patches::{Patch, Plan};
use super::{CallRecord, Record, View};
use crate::bytes::Bytes;
use crate::call::{CallId, Reply, ReplyStatus, SessionId};
use crate::codec::Encoded;
use crate::ledger::{Entry, LedgerLimits};
use crate::paged_bytes::Paged;

/// CBOR from this length on lies in a slot, as large byte arrays do. Bytes.
pub(crate) const INLINE_LIMIT: usize = crate::codec::BLOB_MIN_BYTES;

/// Refers to a content in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SlotRef {
    pub(crate) slot: FileId,
    pub(crate) len: u64,
    pub(crate) checksum: u64,
}

/// Refers to a large byte array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlobRef<'a> {
    pub(crate) slot: SlotRef,
    /// Whether it is an array in pages.
    pub(crate) paged: bool,
    /// How many of the sets of patches that the journal holds for the slot so far belong to it.
    pub(crate) earlier: u32,
    /// A further set, which belongs to it, too.
    pub(crate) patches: Cow<'a, [Patch]>,
}

impl From<SlotRef> for BlobRef<'_> {
    fn from(slot: SlotRef) -> Self {
        Self { slot, paged: false, earlier: 0, patches: Cow::Borrowed(&[]) }
    }
}

/// Whose value it is: large CBOR has no identity of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    Attribute(&'a str),
    Reply(CallId),
}

/// Knows in which slots the large contents of values lie.
pub(crate) trait References {
    fn blob(&self, blob: &Bytes, place: Place<'_>) -> Option<BlobRef<'_>>;
    fn inline(&self, place: Place<'_>) -> Option<SlotRef>;
}

/// Makes large contents from references.
pub(crate) trait Contents {
    /// A value with this CBOR and these arrays, some of them elsewhere.
    fn value(&mut self, inline: Inline<'_>, blobs: &[BlobRef<'_>]) -> Result<Encoded, Malformed>;
}

/// The CBOR of a value: at hand, or in a slot.
pub(crate) enum Inline<'a> {
    Here(&'a [u8]),
    Slot(SlotRef),
}

const REFERENCE_SIZE: usize = 28;
/// What a reference to an array takes beyond that if its value holds one in pages.
const PAGED_SIZE: usize = 9;
/// What a patch takes beyond its bytes.
const PATCH_SIZE: usize = 12;
/// The flag of a value whose references to arrays are of the longer form.
const HAS_PAGED: u8 = 2;

/// The length of a commit's payload, the versions in `plan` being patches. Bytes.
pub(crate) fn commit_len(record: &Record, plan: &Plan) -> u64 {
    let patches = plan.values().flat_map(|planned| &planned.patches);
    let patches: usize = patches.map(|patch| PATCH_SIZE + patch.bytes.len()).sum();
    let call = record.call.as_ref().map_or(0, |call| 49 + value_len(&call.reply.value));
    let changes =
        record.changes.iter().map(|(name, value)| 2 + name.len() as u64 + value_len(value));
    1 + call + 4 + changes.sum::<u64>() + patches as u64
}

fn value_len(value: &Encoded) -> u64 {
    let inline = match value.inline.len() {
        len if len >= INLINE_LIMIT => REFERENCE_SIZE,
        len => 4 + len,
    };
    let reference = REFERENCE_SIZE + if has_paged(value) { PAGED_SIZE } else { 0 };
    (1 + inline + 4 + value.blobs.len() * reference) as u64
}

fn has_paged(value: &Encoded) -> bool {
    value.blobs.iter().any(|blob| Paged::of(blob).is_some())
}

/// A value whose large content lies in no slot: the store has a bug.
#[derive(Debug)]
pub(crate) struct Unplaced;

/// Appends a commit.
pub(crate) fn put_commit(
    out: &mut Vec<u8>,
    record: &Record,
    references: &dyn References,
) -> Result<(), Unplaced> {
    match &record.call {
        None => out.put_u8(0),
        Some(call) => {
            out.put_u8(1);
            out.put_u128(call.id.session.0);
            out.put_u64(call.id.sequence);
            out.put_u64(call.acked_below);
            out.put_u64(call.digest);
            out.put_u64(call.at_ms);
            out.put_u8(status_code(call.reply.status));
            put_value(out, &call.reply.value, Place::Reply(call.id), references)?;
        }
    }
    out.put_u32(record.changes.len() as u32);
    for (name, value) in &record.changes {
        out.put_text(name);
        put_value(out, value, Place::Attribute(name), references)?;
    }
    Ok(())
}

/// Appends a snapshot, with the bounds by which the ledger is trimmed from here on.
pub(crate) fn put_snapshot(
    out: &mut Vec<u8>,
    view: &View,
    limits: &LedgerLimits,
    references: &dyn References,
) -> Result<(), Unplaced> {
    out.put_u64(limits.max_bytes);
    out.put_u64(limits.max_calls as u64);
    out.put_u64(view.ledger.expired_before_ms());
    out.put_u32(view.attributes.len() as u32);
    for (name, value) in &view.attributes {
        out.put_text(name);
        put_value(out, value, Place::Attribute(name), references)?;
    }
    out.put_u32(view.ledger.sessions().count() as u32);
    for (id, session) in view.ledger.sessions() {
        out.put_u128(id.0);
        out.put_u64(session.floor);
        out.put_u32(session.calls.len() as u32);
        for (&sequence, entry) in &session.calls {
            out.put_u64(sequence);
            out.put_u64(entry.digest);
            out.put_u64(entry.at_ms);
            out.put_u64(entry.commit);
            out.put_u8(status_code(entry.reply.status));
            let place = Place::Reply(CallId { session: id, sequence });
            put_value(out, &entry.reply.value, place, references)?;
        }
    }
    Ok(())
}

fn put_value(
    out: &mut Vec<u8>,
    value: &Encoded,
    place: Place<'_>,
    references: &dyn References,
) -> Result<(), Unplaced> {
    let has_paged = has_paged(value);
    let form = if has_paged { HAS_PAGED } else { 0 };
    if value.inline.len() >= INLINE_LIMIT {
        out.put_u8(form | 1);
        put_reference(out, references.inline(place).ok_or(Unplaced)?);
    } else {
        out.put_u8(form);
        out.put_u32(value.inline.len() as u32);
        out.extend_from_slice(&value.inline);
    }
    out.put_u32(value.blobs.len() as u32);
    for blob in &value.blobs {
        let reference = references.blob(blob, place).ok_or(Unplaced)?;
        put_reference(out, reference.slot);
        if has_paged {
            put_paging(out, &reference);
        }
    }
    Ok(())
}

fn put_paging(out: &mut Vec<u8>, reference: &BlobRef<'_>) {
    out.put_u8(u8::from(reference.paged));
    out.put_u32(reference.earlier);
    out.put_u32(reference.patches.len() as u32);
    for Patch { offset, bytes } in reference.patches.iter() {
        out.put_u64(*offset);
        out.put_u32(bytes.len() as u32);
        out.extend_from_slice(bytes);
    }
}

fn put_reference(out: &mut Vec<u8>, reference: SlotRef) {
    out.put_u64(reference.slot.epoch);
    out.put_u32(reference.slot.number);
    out.put_u64(reference.len);
    out.put_u64(reference.checksum);
}

/// Reads a commit.
pub(crate) fn read_commit(
    payload: &[u8],
    sequence: u64,
    contents: &mut dyn Contents,
) -> Result<Record, Malformed> {
    let mut reader = Reader::new(payload);
    let call = match reader.u8()? {
        0 => None,
        1 => Some(read_call(&mut reader, contents)?),
        other => return Err(Malformed(format!("a commit of unknown form {other}"))),
    };
    let mut changes = Vec::new();
    for _ in 0..reader.count(MIN_ATTRIBUTE)? {
        changes.push(read_attribute(&mut reader, contents)?);
    }
    reader.finish()?;
    Ok(Record { sequence, call, changes })
}

/// The least bytes that an attribute, a session, a remembered call take.
const MIN_ATTRIBUTE: usize = 2 + 9;
const MIN_SESSION: usize = 28;
const MIN_CALL: usize = 33 + 9;

fn read_call(
    reader: &mut Reader<'_>,
    contents: &mut dyn Contents,
) -> Result<CallRecord, Malformed> {
    let id = CallId { session: SessionId(reader.u128()?), sequence: reader.u64()? };
    Ok(CallRecord {
        id,
        acked_below: reader.u64()?,
        digest: reader.u64()?,
        at_ms: reader.u64()?,
        reply: read_reply(reader, contents)?,
    })
}

/// Reads a snapshot: all that was committed, and the bounds of its ledger.
pub(crate) fn read_snapshot(
    payload: &[u8],
    sequence: u64,
    contents: &mut dyn Contents,
) -> Result<(View, LedgerLimits), Malformed> {
    let mut reader = Reader::new(payload);
    let limits = LedgerLimits {
        max_bytes: reader.u64()?,
        max_calls: usize::try_from(reader.u64()?).unwrap_or(usize::MAX),
        ..LedgerLimits::default()
    };
    let mut view = View { sequence, ..View::default() };
    view.ledger.restore_expired_before_ms(reader.u64()?);
    for _ in 0..reader.count(MIN_ATTRIBUTE)? {
        let (name, value) = read_attribute(&mut reader, contents)?;
        view.attributes.insert(name, value);
    }
    for _ in 0..reader.count(MIN_SESSION)? {
        let session = SessionId(reader.u128()?);
        view.ledger.raise_floor(session, reader.u64()?);
        for _ in 0..reader.count(MIN_CALL)? {
            let id = CallId { session, sequence: reader.u64()? };
            let (digest, at_ms, commit) = (reader.u64()?, reader.u64()?, reader.u64()?);
            let reply = read_reply(&mut reader, contents)?;
            view.ledger.insert(id, 0, Entry { digest, at_ms, commit, reply });
        }
    }
    reader.finish()?;
    view.check().map_err(|reason| Malformed(reason.to_owned()))?;
    Ok((view, limits))
}

fn read_attribute(
    reader: &mut Reader<'_>,
    contents: &mut dyn Contents,
) -> Result<(String, Encoded), Malformed> {
    Ok((reader.text()?.to_owned(), read_value(reader, contents)?))
}

fn read_reply(reader: &mut Reader<'_>, contents: &mut dyn Contents) -> Result<Reply, Malformed> {
    let status = match reader.u8()? {
        0 => ReplyStatus::Returned,
        1 => ReplyStatus::Failed,
        2 => ReplyStatus::Panicked,
        other => return Err(Malformed(format!("a reply of unknown status {other}"))),
    };
    Ok(Reply { status, value: read_value(reader, contents)? })
}

fn status_code(status: ReplyStatus) -> u8 {
    match status {
        ReplyStatus::Returned => 0,
        ReplyStatus::Failed => 1,
        ReplyStatus::Panicked => 2,
    }
}

fn read_value(reader: &mut Reader<'_>, contents: &mut dyn Contents) -> Result<Encoded, Malformed> {
    let form = reader.u8()?;
    let inline = match form & !HAS_PAGED {
        0 => {
            let len = reader.u32()? as usize;
            Inline::Here(reader.take(len)?)
        }
        1 => Inline::Slot(read_reference(reader)?),
        _ => return Err(Malformed(format!("a value of unknown form {form}"))),
    };
    let count = reader.count(REFERENCE_SIZE)?;
    let mut blobs = Vec::with_capacity(count);
    for _ in 0..count {
        let mut reference = BlobRef::from(read_reference(reader)?);
        if form & HAS_PAGED != 0 {
            read_paging(reader, &mut reference)?;
        }
        blobs.push(reference);
    }
    contents.value(inline, &blobs)
}

fn read_paging(reader: &mut Reader<'_>, reference: &mut BlobRef<'_>) -> Result<(), Malformed> {
    reference.paged = match reader.u8()? {
        0 => false,
        1 => true,
        other => return Err(Malformed(format!("an array of unknown form {other}"))),
    };
    reference.earlier = reader.u32()?;
    let mut patches = Vec::new();
    for _ in 0..reader.count(PATCH_SIZE)? {
        let (offset, len) = (reader.u64()?, reader.u32()? as usize);
        let end = offset.checked_add(len as u64);
        if end.is_none_or(|end| end > reference.slot.len) {
            return Err(Malformed(format!("a patch of {len} bytes at {offset} is out of range")));
        }
        patches.push(Patch { offset, bytes: reader.take(len)?.to_vec() });
    }
    if !reference.paged && (reference.earlier != 0 || !patches.is_empty()) {
        return Err(Malformed("an array that is not in pages has patches".to_owned()));
    }
    reference.patches = Cow::Owned(patches);
    Ok(())
}

fn read_reference(reader: &mut Reader<'_>) -> Result<SlotRef, Malformed> {
    let slot = FileId { epoch: reader.u64()?, number: reader.u32()? };
    Ok(SlotRef { slot, len: reader.u64()?, checksum: reader.u64()? })
}
