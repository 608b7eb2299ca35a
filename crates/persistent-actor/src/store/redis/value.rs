//! Values, calls and floors as bytes in Redis (`docs/format-redis.md`).

use crate::bytes::Bytes;
use crate::call::{CallId, Reply, ReplyStatus, SessionId};
use crate::codec::Encoded;
use crate::ledger::Entry;
use crate::store::layout::{Malformed, Put, Reader};

/// The longest string that Redis takes, less some room for what is around a value. Bytes.
pub(super) const MAX_VALUE: u64 = 500 << 20;

pub(super) fn put_value(out: &mut Vec<u8>, value: &Encoded) {
    out.put_u32(value.inline.len() as u32);
    out.extend_from_slice(&value.inline);
    out.put_u32(value.blobs.len() as u32);
    for blob in &value.blobs {
        out.put_u32(blob.len() as u32);
        out.extend_from_slice(blob);
    }
}

fn read_value(reader: &mut Reader<'_>) -> Result<Encoded, Malformed> {
    let inline = reader.u32()? as usize;
    let inline = reader.take(inline)?.to_vec();
    let count = reader.count(4)?;
    let mut blobs = Vec::with_capacity(count);
    for _ in 0..count {
        let len = reader.u32()? as usize;
        blobs.push(Bytes::from(reader.take(len)?));
    }
    Ok(Encoded { inline, blobs })
}

pub(super) fn encode_value(value: &Encoded) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.size() as usize + 16);
    put_value(&mut out, value);
    out
}

pub(super) fn decode_value(bytes: &[u8]) -> Result<Encoded, Malformed> {
    let mut reader = Reader::new(bytes);
    let value = read_value(&mut reader)?;
    reader.finish()?;
    Ok(value)
}

pub(super) fn encode_entry(entry: &Entry) -> Vec<u8> {
    let mut out = Vec::with_capacity(entry.reply.value.size() as usize + 48);
    for field in [entry.digest, entry.at_ms, entry.commit] {
        out.put_u64(field);
    }
    out.put_u8(match entry.reply.status {
        ReplyStatus::Returned => 0,
        ReplyStatus::Failed => 1,
        ReplyStatus::Panicked => 2,
    });
    put_value(&mut out, &entry.reply.value);
    out
}

pub(super) fn decode_entry(bytes: &[u8]) -> Result<Entry, Malformed> {
    let mut reader = Reader::new(bytes);
    let (digest, at_ms, commit) = (reader.u64()?, reader.u64()?, reader.u64()?);
    let status = match reader.u8()? {
        0 => ReplyStatus::Returned,
        1 => ReplyStatus::Failed,
        2 => ReplyStatus::Panicked,
        other => return Err(Malformed(format!("a reply of unknown status {other}"))),
    };
    let reply = Reply { status, value: read_value(&mut reader)? };
    reader.finish()?;
    Ok(Entry { digest, at_ms, commit, reply })
}

pub(super) fn decode_call(text: &[u8]) -> Result<CallId, Malformed> {
    let text = std::str::from_utf8(text).map_err(|_| Malformed("a call id is no text".into()))?;
    text.parse().map_err(|error: crate::call::InvalidCallId| Malformed(error.to_string()))
}

/// A session and its floor, as their texts.
pub(super) fn decode_floor(session: &[u8], floor: &[u8]) -> Result<(SessionId, u64), Malformed> {
    let parse = || {
        let session = u128::from_str_radix(std::str::from_utf8(session).ok()?, 16).ok()?;
        Some((SessionId(session), std::str::from_utf8(floor).ok()?.parse().ok()?))
    };
    parse().ok_or_else(|| Malformed("a session's floor is no number".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{BLOB_MIN_BYTES, encode};

    #[test]
    fn values_and_entries_read_back() {
        let value = encode(&(7, Bytes::from(vec![1; BLOB_MIN_BYTES]))).unwrap();
        assert_eq!(decode_value(&encode_value(&value)).unwrap(), value);
        let reply = Reply { status: ReplyStatus::Failed, value };
        let entry = Entry { digest: 1, at_ms: 2, commit: 3, reply };
        let bytes = encode_entry(&entry);
        assert_eq!(decode_entry(&bytes).unwrap(), entry);
        for len in 0..bytes.len().min(100) {
            assert!(decode_entry(&bytes[..len]).is_err(), "{len}");
        }
    }
}
