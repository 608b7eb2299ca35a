//! Values to bytes and back: CBOR (RFC 8949), with large byte arrays passed beside it.
//!
//! CBOR describes itself, other tools and Python read it, and decoding it never runs anything.
//! A [`Bytes`] of at least [`BLOB_MIN_BYTES`] is not copied into the CBOR: it becomes tag
//! [`BLOB_TAG`] around its index in [`Encoded::blobs`].

mod heads;

use std::cell::RefCell;
use std::fmt;

use ciborium::de::Error::RecursionLimitExceeded;
use ciborium::tag::{Captured, Required};
use serde::de::{self, DeserializeOwned, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use self::heads::{BYTES, TAG, TEXT, is_too_deep, take_head};
use crate::bytes::Bytes;

/// From this length on, a [`Bytes`] travels beside the encoded value. Bytes.
pub const BLOB_MIN_BYTES: usize = 64 * 1024;

/// The CBOR tag of "the blob with this index"; a private-use number (RFC 8949, section 9.2).
pub const BLOB_TAG: u64 = 0x5041_0001;

/// How deep a value may nest: how many arrays and maps of its CBOR may lie in each other. A deeper
/// value can be neither encoded nor decoded. (A struct is a map. So is an enum's variant around a
/// value; one with several fields, or with names for them, is two levels.)
pub const MAX_DEPTH: usize = 128;

/// The most that ciborium counts when it decodes a value of [`MAX_DEPTH`]. Its count depends on the
/// type: a variant without fields takes a level, and so does what may have a tag, even without one.
const MAX_RECURSION: usize = 2 * MAX_DEPTH + 2;

/// Begins a byte string whose length follows in 8 bytes.
const LONG_BYTES: u8 = 0x5B;

/// An encoded value: CBOR, and the large byte arrays that it refers to by index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// The CBOR data item.
    pub inline: Vec<u8>,
    /// The large byte arrays, in the order in which the CBOR refers to them.
    pub blobs: Vec<Bytes>,
}

impl Encoded {
    /// The size of the value in bytes, blobs included.
    pub fn size(&self) -> u64 {
        let blobs: usize = self.blobs.iter().map(|blob| blob.len()).sum();
        (self.inline.len() + blobs) as u64
    }

    /// Whether `other` is the same value without comparing large contents: the same CBOR and
    /// blobs of the same identity.
    pub fn is_same(&self, other: &Self) -> bool {
        self.inline == other.inline
            && self.blobs.len() == other.blobs.len()
            && self.blobs.iter().zip(&other.blobs).all(|(a, b)| a.id() == b.id())
    }
}

/// A value could not be encoded or decoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The value's `Serialize` failed.
    #[error("cannot encode a value of type {type_name}: {reason}")]
    Encode {
        /// The Rust type.
        type_name: &'static str,
        /// What the serialiser said.
        reason: String,
    },
    /// The bytes are not an encoding of the wanted type.
    #[error("cannot decode {bytes} bytes as {type_name}: {reason}")]
    Decode {
        /// The Rust type that was wanted.
        type_name: &'static str,
        /// How many bytes of CBOR there were.
        bytes: usize,
        /// What the deserialiser said.
        reason: String,
    },
}

thread_local! {
    /// While a value is being encoded: the blobs met so far.
    static COLLECTED: RefCell<Option<Vec<Bytes>>> = const { RefCell::new(None) };
    /// While a value is being decoded: its blobs.
    static AVAILABLE: RefCell<Vec<Bytes>> = const { RefCell::new(Vec::new()) };
}

/// Puts the thread's previous encoding or decoding back, so that a `Serialize` which itself
/// encodes something does not disturb the outer value.
struct Restore<'a, T> {
    cell: &'a RefCell<T>,
    previous: Option<T>,
}

impl<'a, T> Restore<'a, T> {
    fn with(cell: &'a RefCell<T>, current: T) -> Self {
        Self { cell, previous: Some(cell.replace(current)) }
    }
}

impl<T> Drop for Restore<'_, T> {
    fn drop(&mut self) {
        if let Some(previous) = self.previous.take() {
            self.cell.replace(previous);
        }
    }
}

/// Encodes a value.
///
/// # Errors
/// [`CodecError::Encode`] if the value's `Serialize` fails, or the value nests deeper than
/// [`MAX_DEPTH`].
///
/// ```
/// use persistent_actor::codec;
/// let encoded = codec::encode(&("counter", 3u64))?;
/// assert_eq!(codec::decode::<(String, u64)>(&encoded)?, ("counter".to_owned(), 3));
/// # Ok::<(), codec::CodecError>(())
/// ```
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Encoded, CodecError> {
    let failed = |reason| CodecError::Encode { type_name: std::any::type_name::<T>(), reason };
    let encoded = encode_deep(value).map_err(failed)?;
    if is_too_deep(&encoded.inline) {
        return Err(failed(format!("it nests deeper than {MAX_DEPTH} levels")));
    }
    Ok(encoded)
}

/// Encodes a value, however deep it nests.
fn encode_deep<T: Serialize + ?Sized>(value: &T) -> Result<Encoded, String> {
    COLLECTED.with(|collected| {
        let _restore = Restore::with(collected, Some(Vec::new()));
        let mut inline = Vec::with_capacity(64);
        ciborium::into_writer(value, &mut inline).map_err(|error| error.to_string())?;
        let blobs = collected.take().unwrap_or_default();
        Ok(Encoded { inline, blobs })
    })
}

/// Decodes a value; all of the CBOR must be used.
///
/// # Errors
/// [`CodecError::Decode`] if the bytes are not an encoding of `T`.
pub fn decode<T: DeserializeOwned>(encoded: &Encoded) -> Result<T, CodecError> {
    let decoded = AVAILABLE.with(|available| {
        let _restore = Restore::with(available, encoded.blobs.clone());
        decode_inline(&encoded.inline)
    });
    if decoded.is_err() && !encoded.blobs.is_empty() {
        // serde may read before it knows the type (`flatten`, untagged and internally tagged
        // enums). In what it reads then it refuses tags, but takes byte strings of any length.
        return match with_blobs_inside(encoded).map(|inline| decode_inline(&inline)) {
            Some(Ok(value)) => Ok(value),
            _ => decoded,
        };
    }
    decoded
}

/// The CBOR with the large byte arrays in it, as if they were small. `None` if [`encode`] has not
/// written it: each array has one place, or a short value could become very long.
fn with_blobs_inside(encoded: &Encoded) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut blobs = (0..).zip(&encoded.blobs);
    let mut rest = &encoded.inline[..];
    while !rest.is_empty() {
        let item = rest;
        let (first, number) = take_head(&mut rest)?;
        match first >> 5 {
            TAG if number == BLOB_TAG => {
                let (_, index) = take_head(&mut rest)?;
                let (_, blob) = blobs.next().filter(|(next, _)| *next == index)?;
                out.push(LONG_BYTES);
                out.extend_from_slice(&(blob.len() as u64).to_be_bytes());
                out.extend_from_slice(blob);
                continue;
            }
            BYTES | TEXT => rest = rest.get(usize::try_from(number).ok()?..)?,
            _ => {}
        }
        out.extend_from_slice(&item[..item.len() - rest.len()]);
    }
    Some(out)
}

fn decode_inline<T: DeserializeOwned>(inline: &[u8]) -> Result<T, CodecError> {
    let failed = |reason: String| CodecError::Decode {
        type_name: std::any::type_name::<T>(),
        bytes: inline.len(),
        reason,
    };
    let mut rest = inline;
    let value = if rest.len() <= MAX_DEPTH {
        // Each level of the encoding takes a byte, so this one has no more than that; and no text in
        // it is longer than this buffer.
        ciborium::de::from_reader_with_buffer(&mut rest, &mut [0; MAX_DEPTH])
            .map_err(|error| error.to_string())
    } else {
        decode_long(&mut rest)
    };
    let value = value.map_err(failed)?;
    if !rest.is_empty() {
        return Err(failed(format!("{} bytes are left over", rest.len())));
    }
    Ok(value)
}

/// Apart from the rest because it clears 4 KiB of the stack: for a number, that would drive out of
/// the cache what other actors have there.
#[inline(never)]
fn decode_long<T: DeserializeOwned>(rest: &mut &[u8]) -> Result<T, String> {
    let inline = *rest;
    let mut decode = |limit| {
        *rest = inline;
        ciborium::de::from_reader_with_recursion_limit(&mut *rest, limit)
    };
    let mut value = decode(MAX_DEPTH);
    if matches!(value, Err(RecursionLimitExceeded)) && !is_too_deep(inline) {
        value = decode(MAX_RECURSION);
    }
    value.map_err(|error| error.to_string())
}

pub(crate) fn serialize_bytes<S: Serializer>(
    bytes: &Bytes,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() || bytes.len() < BLOB_MIN_BYTES {
        return serializer.serialize_bytes(bytes);
    }
    let index = COLLECTED.with_borrow_mut(|collected| {
        let blobs = collected.as_mut()?;
        blobs.push(bytes.clone());
        Some(blobs.len() as u64 - 1)
    });
    match index {
        Some(index) => Required::<_, BLOB_TAG>(index).serialize(serializer),
        None => serializer.serialize_bytes(bytes),
    }
}

pub(crate) fn deserialize_bytes<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Bytes, D::Error> {
    if deserializer.is_human_readable() {
        return match deserializer.deserialize_byte_buf(ContentVisitor)? {
            Content::Inline(bytes) => Ok(Bytes::from(bytes)),
            Content::Index(_) => Err(de::Error::custom("expected bytes, found a number")),
        };
    }
    match Captured::<Content>::deserialize(deserializer)? {
        Captured(None, Content::Inline(bytes)) => Ok(Bytes::from(bytes)),
        Captured(Some(BLOB_TAG), Content::Index(index)) => AVAILABLE
            .with_borrow(|blobs| blobs.get(usize::try_from(index).ok()?).cloned())
            .ok_or_else(|| de::Error::custom(format!("the value has no blob {index}"))),
        Captured(tag, _) => Err(de::Error::custom(format!("not a byte array (tag {tag:?})"))),
    }
}

/// What stands where a [`Bytes`] is expected.
enum Content {
    Inline(Vec<u8>),
    Index(u64),
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a byte array")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Content, E> {
        Ok(Content::Inline(bytes.to_vec()))
    }

    fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Content, E> {
        Ok(Content::Inline(bytes))
    }

    fn visit_u64<E: de::Error>(self, index: u64) -> Result<Content, E> {
        Ok(Content::Index(index))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Content, A::Error> {
        let mut bytes = Vec::with_capacity(seq.size_hint().unwrap_or(0).min(BLOB_MIN_BYTES));
        while let Some(byte) = seq.next_element()? {
            bytes.push(byte);
        }
        Ok(Content::Inline(bytes))
    }
}

#[cfg(test)]
mod tests;
