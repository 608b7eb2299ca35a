//! The messages between a node and a worker, and their form on the socket.
//!
//! A frame is: length of what follows (u32), kind (u8), body. All numbers are little-endian.
//! Small values travel inside the frame, large ones as references to [shared
//! buffers](crate::buffers), whose descriptors are passed once, beside a [`Frame::Buffer`].
//!
//! Encoding and decoding are pure functions; what comes in is bounded before memory is taken,
//! and anything unexpected is a [`WireError`].

mod fields;

use persistent_actor::CallId;

use self::fields::{
    Reader, kill_point, kill_point_code, put_buffer_id, put_bytes, put_call_id, put_text, put_u64,
    put_value, status, status_code,
};
use crate::handle::KillPoint;

/// The largest frame, without its length. Bytes.
pub(crate) const MAX_FRAME_BYTES: usize = 512 * 1024;

/// The largest value that travels inside a frame, and the most that a frame holds beside
/// references to buffers. Bytes.
pub(crate) const MAX_INLINE_BYTES: usize = 64 * 1024;

/// How many buffers one value may refer to.
pub(crate) const MAX_BLOBS: usize = 16 * 1024;

/// The longest text in a frame (the reason of a failure). Bytes.
const MAX_TEXT_BYTES: usize = 16 * 1024;

/// The length of a frame's length. Bytes.
pub(crate) const LENGTH_BYTES: usize = 4;

const BLOB_REF_BYTES: usize = 24;

// A call with a full value: two references' worth of room for the fixed fields.
const _: () = assert!(MAX_INLINE_BYTES + MAX_BLOBS * BLOB_REF_BYTES + 128 <= MAX_FRAME_BYTES);

/// What came over the socket is not what a node or worker sends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {0}")]
pub(crate) struct WireError(pub(crate) String);

fn malformed<T>(what: impl Into<String>) -> Result<T, WireError> {
    Err(WireError(what.into()))
}

/// Names a shared buffer: the pool that made it (a random number) and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BufferId {
    pub(crate) pool: u64,
    pub(crate) index: u64,
}

/// The first `len` bytes of a shared buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlobRef {
    pub(crate) buffer: BufferId,
    pub(crate) len: u64,
}

/// Where a value's CBOR lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inline<'a> {
    Here(&'a [u8]),
    Shared(BlobRef),
}

/// An encoded value as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Value<'a> {
    pub(crate) inline: Inline<'a>,
    pub(crate) blobs: Vec<BlobRef>,
}

/// How a call ended in the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Returned,
    Failed,
    Panicked,
    /// The value is the reason, a text.
    Rejected,
    /// The ledger has forgotten the call.
    Expired,
    /// It ran, but what it returned cannot be sent. The value is the reason, a text.
    Unsendable,
    /// The actor died of it too often. The value is the number of deaths and the last, a text.
    Poison,
    /// In the answer to [`Frame::Ask`]: the call was not committed.
    NotCommitted,
}

/// When the parts of a call took place in the worker (`CLOCK_MONOTONIC`); 0 stands for "did not".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamps {
    pub(crate) run_started_ns: u64,
    pub(crate) run_ended_ns: u64,
    pub(crate) committed_ns: u64,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// To the worker, first: what to run.
    Start { options: Value<'a>, initial: Value<'a> },
    /// To the worker: a call.
    Call { id: CallId, acked_below: u64, method: u32, kill_at: Option<KillPoint>, args: Value<'a> },
    /// To the worker, before a call that may have been interrupted before: its identity, how
    /// often and how the actor died of it while this node ran, and the bound of that.
    Attempt { id: CallId, deaths: u32, limit: u32, last: &'a str },
    /// To the worker: what became of the call `id`? Answered by a reply to `sequence`.
    Ask { sequence: u64, id: CallId },
    /// To a worker that has not been told what to run: to make another one of itself, whose socket
    /// is attached.
    Fork,
    /// From a worker that was started to make others: it waits.
    Waits,
    /// From the worker: the process that it has made.
    Forked { pid: u32 },
    /// From the worker: it could not make one. It may be able to another time, or never.
    NotForked { ever: bool },
    /// From the worker: its state is loaded.
    Ready { epoch: u64, sequence: u64 },
    /// From the worker: it cannot go on and is about to exit.
    Fatal { reason: &'a str },
    /// From the worker: the answer to a call.
    Reply { sequence: u64, status: Status, replayed: bool, stamps: Stamps, value: Value<'a> },
    /// From the worker: this process shares its memory and keeps it when it dies; it is to be ended
    /// then.
    Memory { pid: u32 },
    /// To the worker: from now on the sync of commits is left to the group journal, as this
    /// member (run and number); or no more.
    Group { member: Option<(u128, u64)> },
    /// From the worker, before a reply: what its commit has written and not synced.
    Written { epoch: u64, number: u32, offset: u64, bytes: &'a [u8] },
    /// A shared buffer of `len` bytes that the peer has not seen yet; its descriptor is attached.
    Buffer { id: BufferId, len: u64 },
    /// The same, where the buffer is the content of a slot file.
    Slot { id: BufferId, len: u64 },
    /// To the worker, before the start: a shared buffer of `len` bytes that an incarnation which is
    /// gone has made; from now on it is the worker's own. Its descriptor is attached.
    Inherit { len: u64 },
    /// A shared buffer that will not be used again.
    Forget { id: BufferId },
    /// The sender has dropped a value in this buffer that it had received.
    Release { id: BufferId },
}

const START: u8 = 1;
const CALL: u8 = 2;
const READY: u8 = 3;
const FATAL: u8 = 4;
const REPLY: u8 = 5;
const BUFFER: u8 = 6;
const FORGET: u8 = 7;
const RELEASE: u8 = 8;
const INHERIT: u8 = 9;
const ATTEMPT: u8 = 10;
const ASK: u8 = 11;
const GROUP: u8 = 12;
const WRITTEN: u8 = 13;
const SLOT: u8 = 14;
const MEMORY: u8 = 15;
const FORK: u8 = 16;
const FORKED: u8 = 17;
const NOT_FORKED: u8 = 18;
const WAITS: u8 = 19;

/// The whole of [`Frame::Memory`], for where no memory can be allocated.
pub(crate) fn memory_frame(pid: u32) -> [u8; 9] {
    let [a, b, c, d] = pid.to_le_bytes();
    [5, 0, 0, 0, MEMORY, a, b, c, d]
}

impl Frame<'_> {
    /// Appends the frame to `out`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; LENGTH_BYTES]);
        self.encode_body(out);
        let length = out.len() - start - LENGTH_BYTES;
        debug_assert!(length <= MAX_FRAME_BYTES);
        out[start..start + LENGTH_BYTES].copy_from_slice(&(length as u32).to_le_bytes());
    }

    fn encode_body(&self, out: &mut Vec<u8>) {
        match self {
            Self::Start { options, initial } => {
                out.push(START);
                put_value(out, options);
                put_value(out, initial);
            }
            Self::Call { id, acked_below, method, kill_at, args } => {
                out.push(CALL);
                put_call_id(out, *id);
                put_u64(out, *acked_below);
                out.extend_from_slice(&method.to_le_bytes());
                out.push(kill_point_code(*kill_at));
                put_value(out, args);
            }
            Self::Attempt { id, deaths, limit, last } => {
                out.push(ATTEMPT);
                put_call_id(out, *id);
                out.extend_from_slice(&deaths.to_le_bytes());
                out.extend_from_slice(&limit.to_le_bytes());
                put_text(out, last);
            }
            Self::Ask { sequence, id } => {
                out.push(ASK);
                put_u64(out, *sequence);
                put_call_id(out, *id);
            }
            Self::Fork => out.push(FORK),
            Self::Forked { pid } => {
                out.push(FORKED);
                out.extend_from_slice(&pid.to_le_bytes());
            }
            Self::NotForked { ever } => out.extend_from_slice(&[NOT_FORKED, u8::from(*ever)]),
            Self::Waits => out.push(WAITS),
            Self::Ready { epoch, sequence } => {
                out.push(READY);
                put_u64(out, *epoch);
                put_u64(out, *sequence);
            }
            Self::Fatal { reason } => {
                out.push(FATAL);
                put_text(out, reason);
            }
            Self::Reply { sequence, status, replayed, stamps, value } => {
                out.push(REPLY);
                put_u64(out, *sequence);
                out.extend_from_slice(&[status_code(*status), u8::from(*replayed)]);
                put_u64(out, stamps.run_started_ns);
                put_u64(out, stamps.run_ended_ns);
                put_u64(out, stamps.committed_ns);
                put_value(out, value);
            }
            Self::Memory { pid } => {
                out.push(MEMORY);
                out.extend_from_slice(&pid.to_le_bytes());
            }
            Self::Group { member } => {
                out.push(GROUP);
                out.push(u8::from(member.is_some()));
                let (run, number) = member.unwrap_or_default();
                out.extend_from_slice(&run.to_le_bytes());
                put_u64(out, number);
            }
            Self::Written { epoch, number, offset, bytes } => {
                out.push(WRITTEN);
                put_u64(out, *epoch);
                out.extend_from_slice(&number.to_le_bytes());
                put_u64(out, *offset);
                put_bytes(out, bytes);
            }
            Self::Buffer { id, len } => {
                out.push(BUFFER);
                put_buffer_id(out, *id);
                put_u64(out, *len);
            }
            Self::Slot { id, len } => {
                out.push(SLOT);
                put_buffer_id(out, *id);
                put_u64(out, *len);
            }
            Self::Inherit { len } => {
                out.push(INHERIT);
                put_u64(out, *len);
            }
            Self::Forget { id } => {
                out.push(FORGET);
                put_buffer_id(out, *id);
            }
            Self::Release { id } => {
                out.push(RELEASE);
                put_buffer_id(out, *id);
            }
        }
    }
}

impl<'a> Frame<'a> {
    /// The frame at the start of `input` and its length, `None` while it is incomplete.
    pub(crate) fn decode(input: &'a [u8]) -> Result<Option<(Self, usize)>, WireError> {
        let Some(length) = announced_length(input)? else { return Ok(None) };
        let end = LENGTH_BYTES + length;
        let Some(body) = input.get(LENGTH_BYTES..end) else { return Ok(None) };
        let mut body = Reader(body);
        let frame = Self::decode_body(&mut body)?;
        if !body.0.is_empty() {
            return malformed(format!("{} bytes are left over", body.0.len()));
        }
        Ok(Some((frame, end)))
    }

    fn decode_body(body: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(match body.u8()? {
            START => Self::Start { options: body.value()?, initial: body.value()? },
            CALL => Self::Call {
                id: body.call_id()?,
                acked_below: body.u64()?,
                method: body.u32()?,
                kill_at: kill_point(body.u8()?)?,
                args: body.value()?,
            },
            ATTEMPT => Self::Attempt {
                id: body.call_id()?,
                deaths: body.u32()?,
                limit: body.u32()?,
                last: body.text()?,
            },
            ASK => Self::Ask { sequence: body.u64()?, id: body.call_id()? },
            FORK => Self::Fork,
            FORKED => Self::Forked { pid: body.u32()? },
            NOT_FORKED => Self::NotForked { ever: body.u8()? != 0 },
            WAITS => Self::Waits,
            READY => Self::Ready { epoch: body.u64()?, sequence: body.u64()? },
            FATAL => Self::Fatal { reason: body.text()? },
            MEMORY => Self::Memory { pid: body.u32()? },
            REPLY => Self::Reply {
                sequence: body.u64()?,
                status: status(body.u8()?)?,
                replayed: body.u8()? != 0,
                stamps: Stamps {
                    run_started_ns: body.u64()?,
                    run_ended_ns: body.u64()?,
                    committed_ns: body.u64()?,
                },
                value: body.value()?,
            },
            GROUP => {
                let is_member = body.u8()? != 0;
                let member = (body.u128()?, body.u64()?);
                if !is_member && member != (0, 0) {
                    return malformed("a member of no group");
                }
                Self::Group { member: is_member.then_some(member) }
            }
            WRITTEN => Self::Written {
                epoch: body.u64()?,
                number: body.u32()?,
                offset: body.u64()?,
                bytes: body.bytes()?,
            },
            BUFFER => Self::Buffer { id: body.buffer_id()?, len: body.u64()? },
            SLOT => Self::Slot { id: body.buffer_id()?, len: body.u64()? },
            INHERIT => Self::Inherit { len: body.u64()? },
            FORGET => Self::Forget { id: body.buffer_id()? },
            RELEASE => Self::Release { id: body.buffer_id()? },
            kind => return malformed(format!("unknown kind {kind}")),
        })
    }
}

/// The length that the frame at the start of `input` has after its length field.
pub(crate) fn announced_length(input: &[u8]) -> Result<Option<usize>, WireError> {
    let Some(length) = input.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length) as usize;
    if length == 0 || length > MAX_FRAME_BYTES {
        return malformed(format!("a frame of {length} bytes (1 to {MAX_FRAME_BYTES} expected)"));
    }
    Ok(Some(length))
}

#[cfg(test)]
mod tests;
