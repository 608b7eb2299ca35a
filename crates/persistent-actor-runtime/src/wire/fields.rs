//! The fields of a frame and their form: numbers, texts, names of calls and buffers, values.

use persistent_actor::{CallId, SessionId};

use super::{
    BLOB_REF_BYTES, BlobRef, BufferId, Inline, MAX_BLOBS, MAX_TEXT_BYTES, Status, Value, WireError,
    malformed,
};
use crate::handle::KillPoint;

pub(super) fn put_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Appends a text; a long one is cut.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, &text.as_bytes()[..text.floor_char_boundary(MAX_TEXT_BYTES)]);
}

pub(super) fn put_call_id(out: &mut Vec<u8>, id: CallId) {
    out.extend_from_slice(&id.session.0.to_le_bytes());
    put_u64(out, id.sequence);
}

pub(super) fn put_buffer_id(out: &mut Vec<u8>, id: BufferId) {
    put_u64(out, id.pool);
    put_u64(out, id.index);
}

fn put_blob(out: &mut Vec<u8>, blob: &BlobRef) {
    put_buffer_id(out, blob.buffer);
    put_u64(out, blob.len);
}

const INLINE_HERE: u8 = 0;
const INLINE_SHARED: u8 = 1;

pub(super) fn put_value(out: &mut Vec<u8>, value: &Value<'_>) {
    match &value.inline {
        Inline::Here(bytes) => {
            out.push(INLINE_HERE);
            put_bytes(out, bytes);
        }
        Inline::Shared(blob) => {
            out.push(INLINE_SHARED);
            put_blob(out, blob);
        }
    }
    out.extend_from_slice(&(value.blobs.len() as u32).to_le_bytes());
    for blob in &value.blobs {
        put_blob(out, blob);
    }
}

pub(super) fn status_code(status: Status) -> u8 {
    match status {
        Status::Returned => 0,
        Status::Failed => 1,
        Status::Panicked => 2,
        Status::Rejected => 3,
        Status::Expired => 4,
        Status::Unsendable => 5,
        Status::Poison => 6,
        Status::NotCommitted => 7,
    }
}

pub(super) fn status(code: u8) -> Result<Status, WireError> {
    Ok(match code {
        0 => Status::Returned,
        1 => Status::Failed,
        2 => Status::Panicked,
        3 => Status::Rejected,
        4 => Status::Expired,
        5 => Status::Unsendable,
        6 => Status::Poison,
        7 => Status::NotCommitted,
        _ => return malformed(format!("unknown status {code}")),
    })
}

pub(super) fn kill_point_code(point: Option<KillPoint>) -> u8 {
    match point {
        None => 0,
        Some(KillPoint::BeforeRun) => 1,
        Some(KillPoint::BeforeCommit) => 2,
        Some(KillPoint::AfterCommit) => 3,
    }
}

pub(super) fn kill_point(code: u8) -> Result<Option<KillPoint>, WireError> {
    Ok(match code {
        0 => None,
        1 => Some(KillPoint::BeforeRun),
        2 => Some(KillPoint::BeforeCommit),
        3 => Some(KillPoint::AfterCommit),
        _ => return malformed(format!("unknown kill point {code}")),
    })
}

/// What is left of a frame's body.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let Some((taken, rest)) = self.0.split_at_checked(len) else {
            return malformed(format!("{len} bytes expected, {} left", self.0.len()));
        };
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(super) fn u8(&mut self) -> Result<u8, WireError> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn u128(&mut self) -> Result<u128, WireError> {
        self.array().map(u128::from_le_bytes)
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], WireError> {
        let len = self.u32()? as usize;
        self.take(len)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, WireError> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).or_else(|_| malformed("a text that is not UTF-8"))
    }

    pub(super) fn call_id(&mut self) -> Result<CallId, WireError> {
        Ok(CallId { session: SessionId(self.u128()?), sequence: self.u64()? })
    }

    pub(super) fn buffer_id(&mut self) -> Result<BufferId, WireError> {
        Ok(BufferId { pool: self.u64()?, index: self.u64()? })
    }

    fn blob(&mut self) -> Result<BlobRef, WireError> {
        Ok(BlobRef { buffer: self.buffer_id()?, len: self.u64()? })
    }

    pub(super) fn value(&mut self) -> Result<Value<'a>, WireError> {
        let inline = match self.u8()? {
            INLINE_HERE => Inline::Here(self.bytes()?),
            INLINE_SHARED => Inline::Shared(self.blob()?),
            kind => return malformed(format!("unknown kind of value {kind}")),
        };
        let count = self.u32()? as usize;
        if count > MAX_BLOBS || count * BLOB_REF_BYTES > self.0.len() {
            return malformed(format!("a value with {count} buffers"));
        }
        let blobs = (0..count).map(|_| self.blob()).collect::<Result<_, _>>()?;
        Ok(Value { inline, blobs })
    }
}
