//! The payloads of records: commits and snapshots (`docs/format.md`, section 3).

use super::layout::{Malformed, Put, Reader};
use super::names::FileId;
use super::{CallRecord, Record, View};
use crate::bytes::BytesId;
use crate::call::{CallId, Reply, ReplyStatus, SessionId};
use crate::codec::Encoded;
use crate::ledger::{Entry, LedgerLimits};

/// CBOR from this length on lies in a slot, as large byte arrays do. Bytes.
pub(crate) const INLINE_LIMIT: usize = crate::codec::BLOB_MIN_BYTES;

/// Refers to a content in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SlotRef {
    pub(crate) slot: FileId,
    pub(crate) len: u64,
    pub(crate) checksum: u64,
}

/// Whose value it is: large CBOR has no identity of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    Attribute(&'a str),
    Reply(CallId),
}

/// Knows in which slots the large contents of values lie.
pub(crate) trait References {
    fn blob(&self, id: BytesId) -> Option<SlotRef>;
    fn inline(&self, place: Place<'_>) -> Option<SlotRef>;
}

/// Makes large contents from references.
pub(crate) trait Contents {
    /// A value with this CBOR and these arrays, some of them elsewhere.
    fn value(&mut self, inline: Inline<'_>, blobs: &[SlotRef]) -> Result<Encoded, Malformed>;
}

/// The CBOR of a value: at hand, or in a slot.
pub(crate) enum Inline<'a> {
    Here(&'a [u8]),
    Slot(SlotRef),
}

const REFERENCE_SIZE: usize = 28;

/// The length of a commit's payload. Bytes.
pub(crate) fn commit_len(record: &Record) -> u64 {
    let call = record.call.as_ref().map_or(0, |call| 49 + value_len(&call.reply.value));
    let changes =
        record.changes.iter().map(|(name, value)| 2 + name.len() as u64 + value_len(value));
    1 + call + 4 + changes.sum::<u64>()
}

fn value_len(value: &Encoded) -> u64 {
    let inline = match value.inline.len() {
        len if len >= INLINE_LIMIT => REFERENCE_SIZE,
        len => 4 + len,
    };
    (1 + inline + 4 + value.blobs.len() * REFERENCE_SIZE) as u64
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
    if value.inline.len() >= INLINE_LIMIT {
        out.put_u8(1);
        put_reference(out, references.inline(place).ok_or(Unplaced)?);
    } else {
        out.put_u8(0);
        out.put_u32(value.inline.len() as u32);
        out.extend_from_slice(&value.inline);
    }
    out.put_u32(value.blobs.len() as u32);
    for blob in &value.blobs {
        put_reference(out, references.blob(blob.id()).ok_or(Unplaced)?);
    }
    Ok(())
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
    let inline = match reader.u8()? {
        0 => {
            let len = reader.u32()? as usize;
            Inline::Here(reader.take(len)?)
        }
        1 => Inline::Slot(read_reference(reader)?),
        other => return Err(Malformed(format!("a value of unknown form {other}"))),
    };
    let count = reader.count(REFERENCE_SIZE)?;
    let mut blobs = Vec::with_capacity(count);
    for _ in 0..count {
        blobs.push(read_reference(reader)?);
    }
    contents.value(inline, &blobs)
}

fn read_reference(reader: &mut Reader<'_>) -> Result<SlotRef, Malformed> {
    let slot = FileId { epoch: reader.u64()?, number: reader.u32()? };
    Ok(SlotRef { slot, len: reader.u64()?, checksum: reader.u64()? })
}
