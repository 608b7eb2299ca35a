//! Values to bytes and back: CBOR (RFC 8949), with large byte arrays passed beside it.
//!
//! CBOR describes itself, other tools and Python read it, and decoding it never runs anything.
//! A [`Bytes`] of at least [`BLOB_MIN_BYTES`] is not copied into the CBOR: it becomes tag
//! [`BLOB_TAG`] around its index in [`Encoded::blobs`].

use std::cell::RefCell;
use std::fmt;

use ciborium::tag::{Captured, Required};
use serde::de::{self, DeserializeOwned, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::bytes::Bytes;

/// From this length on, a [`Bytes`] travels beside the encoded value. Bytes.
pub const BLOB_MIN_BYTES: usize = 64 * 1024;

/// The CBOR tag of "the blob with this index"; a private-use number (RFC 8949, section 9.2).
pub const BLOB_TAG: u64 = 0x5041_0001;

/// How deep a value may nest when it is decoded.
pub const MAX_DEPTH: usize = 128;

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
/// [`CodecError::Encode`] if the value's `Serialize` fails.
///
/// ```
/// use persistent_actor::codec;
/// let encoded = codec::encode(&("counter", 3u64))?;
/// assert_eq!(codec::decode::<(String, u64)>(&encoded)?, ("counter".to_owned(), 3));
/// # Ok::<(), codec::CodecError>(())
/// ```
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Encoded, CodecError> {
    COLLECTED.with(|collected| {
        let _restore = Restore::with(collected, Some(Vec::new()));
        let mut inline = Vec::with_capacity(64);
        ciborium::into_writer(value, &mut inline).map_err(|error| CodecError::Encode {
            type_name: std::any::type_name::<T>(),
            reason: error.to_string(),
        })?;
        let blobs = collected.take().unwrap_or_default();
        Ok(Encoded { inline, blobs })
    })
}

/// Decodes a value; all of the CBOR must be used.
///
/// # Errors
/// [`CodecError::Decode`] if the bytes are not an encoding of `T`.
pub fn decode<T: DeserializeOwned>(encoded: &Encoded) -> Result<T, CodecError> {
    AVAILABLE.with(|available| {
        let _restore = Restore::with(available, encoded.blobs.clone());
        decode_inline(&encoded.inline)
    })
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
    ciborium::de::from_reader_with_recursion_limit(rest, MAX_DEPTH)
        .map_err(|error| error.to_string())
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
mod tests {
    use super::*;

    #[test]
    fn small_arrays_stay_inside_and_large_ones_travel_beside() {
        let small = Bytes::from(vec![7; 100]);
        let large = Bytes::from(vec![8; BLOB_MIN_BYTES]);
        let encoded = encode(&(small.clone(), large.clone(), 5)).unwrap();
        assert_eq!(encoded.blobs.len(), 1);
        assert!(encoded.inline.len() < 200);
        let (a, b, c): (Bytes, Bytes, i32) = decode(&encoded).unwrap();
        assert_eq!((&a, c), (&small, 5));
        assert_eq!(b.id(), large.id(), "a large array is shared, not copied");
    }

    #[test]
    fn a_blob_that_is_not_there_is_an_error() {
        let mut encoded = encode(&Bytes::from(vec![0; BLOB_MIN_BYTES])).unwrap();
        encoded.blobs.clear();
        let error = decode::<Bytes>(&encoded).unwrap_err().to_string();
        assert!(error.contains("no blob 0"), "{error}");
    }

    #[test]
    fn bytes_left_over_are_an_error() {
        let mut encoded = encode(&1u8).unwrap();
        encoded.inline.push(0);
        assert!(decode::<u8>(&encoded).unwrap_err().to_string().contains("left over"));
    }

    #[test]
    fn encoding_inside_an_encoding_does_not_lose_blobs() {
        struct Nested(Bytes);
        impl Serialize for Nested {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                encode(&self.0).map_err(serde::ser::Error::custom)?;
                self.0.serialize(serializer)
            }
        }
        let large = Bytes::from(vec![1; BLOB_MIN_BYTES]);
        let encoded = encode(&(large.clone(), Nested(large))).unwrap();
        assert_eq!(encoded.blobs.len(), 2);
    }
}
