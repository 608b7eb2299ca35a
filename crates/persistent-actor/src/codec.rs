//! Values to bytes and back: CBOR (RFC 8949), with large byte arrays passed beside it.
//!
//! CBOR describes itself, other tools and Python read it, and decoding it never runs anything.
//! A [`Bytes`] of at least [`BLOB_MIN_BYTES`] is not copied into the CBOR: it becomes tag
//! [`BLOB_TAG`] around its index in [`Encoded::blobs`].

use std::cell::RefCell;
use std::fmt;

use ciborium::de::Error::RecursionLimitExceeded;
use ciborium::tag::{Captured, Required};
use serde::de::{self, DeserializeOwned, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

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

// Kinds of CBOR items: the upper three bits of their first byte.
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;
/// Ends an array, a map or a string whose length was not announced.
const BREAK: u8 = 0xFF;
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

/// Whether a data item nests deeper than [`MAX_DEPTH`]. Of what [`encode`] does not write (strings in
/// several pieces), and of what is no data item, it may say anything.
fn is_too_deep(cbor: &[u8]) -> bool {
    // Each level takes a byte that looks like the head of an array or a map. Most values have too
    // few of these, and counting them is a hundred times faster than reading the value.
    const AT_A_TIME: usize = 128; // The sum fits into a byte.
    let looks_like_level = |byte: &u8| u8::from(matches!(byte >> 5, ARRAY | MAP));
    let mut found = 0;
    let has_enough = cbor.chunks(AT_A_TIME).any(|part| {
        found += usize::from(part.iter().map(looks_like_level).sum::<u8>());
        found > MAX_DEPTH
    });
    has_enough && has_too_many_levels(cbor).unwrap_or(false)
}

/// The same, by reading the heads of all that is in it. `None` if it ends too early.
fn has_too_many_levels(mut rest: &[u8]) -> Option<bool> {
    // How many items are still to come: in the innermost level, and in those around it.
    let (mut left, mut around) = (1, Vec::new());
    loop {
        while left == 0 {
            let Some(outer) = around.pop() else { return Some(false) };
            left = outer;
        }
        let (first, argument) = take_head(&mut rest)?;
        let major = first >> 5;
        match major {
            TAG => continue,
            _ if first == BREAK => left = 1,
            BYTES | TEXT => rest = rest.get(usize::try_from(argument).ok()?..)?,
            ARRAY | MAP => {
                around.push(left - 1);
                if around.len() > MAX_DEPTH {
                    return Some(true);
                }
                let items = argument.saturating_mul(if major == MAP { 2 } else { 1 });
                left = items.saturating_add(1);
            }
            _ => {}
        }
        left -= 1;
    }
}

/// The first byte of a head, and the number in it; where that says that a break follows, more than
/// there can be.
fn take_head(rest: &mut &[u8]) -> Option<(u8, u64)> {
    let (&first, after) = rest.split_first()?;
    let (number, after) = match first & 0x1F {
        24..=27 => {
            let (number, after) = after.split_at_checked(1 << ((first & 0x1F) - 24))?;
            (number.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)), after)
        }
        31 => (u64::MAX, after),
        number => (u64::from(number), after),
    };
    *rest = after;
    Some((first, number))
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
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::integer::Integer;

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

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Image {
        title: String,
        content: Bytes,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Flattened {
        before: Bytes,
        #[serde(flatten)]
        image: Image,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "kind")]
    enum InternallyTagged {
        Image(Image),
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        Number(u8),
        Image(Image),
    }

    #[test]
    fn arrays_of_every_size_load_behind_what_serde_reads_before_it_knows_the_type() {
        for len in [BLOB_MIN_BYTES - 1, BLOB_MIN_BYTES, 3 * BLOB_MIN_BYTES] {
            let content = Bytes::from(vec![0xDA; len]);
            let image = Image { title: "x".repeat(30), content: content.clone() };
            let flattened = Flattened { before: content, image: image.clone() };
            let tagged = InternallyTagged::Image(image.clone());
            let value = (flattened, tagged, [Untagged::Number(1), Untagged::Image(image)]);
            let mut encoded = encode(&value).unwrap();
            assert_eq!(decode::<(_, _, [Untagged; 2])>(&encoded).unwrap(), value, "{len}");
            if encoded.blobs.pop().is_some() {
                assert!(decode::<(Flattened, InternallyTagged, [Untagged; 2])>(&encoded).is_err());
            }
        }
    }

    /// What ciborium counts in different ways.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Tree {
        Nothing,
        Number(i64),
        Text(String),
        Wide(i128),
        Large(Integer),
        Array(Bytes),
        One(Box<Tree>),
        Two(Box<Tree>, Box<Tree>),
        Named { before: Bytes, child: Box<Tree>, after: Vec<Tree> },
        List(Vec<Tree>),
        Maybe(Option<Box<Tree>>),
        Map(BTreeMap<String, Tree>),
        Flat(Flat),
        Tagged(Required<Box<Tree>, 7>),
        Captured(Captured<Box<Tree>>),
    }

    /// Written as a map whose length is not announced.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Flat {
        child: Box<Tree>,
        #[serde(flatten)]
        numbers: BTreeMap<String, u8>,
    }

    const LEAVES: usize = 11;
    const WRAPS: usize = 11;

    fn leaf(kind: usize) -> Tree {
        match kind % LEAVES {
            0 => Tree::Nothing,
            1 => Tree::Number(-5_000_000_000),
            2 => Tree::Text("x".repeat(300)),
            3 => Tree::Wide(i128::MAX),
            4 => Tree::Large(Integer::from(1)),
            5 => Tree::Large(Integer(Integer::from(u128::MAX).0 * 2)),
            6 => Tree::Array(Bytes::from(vec![0x81; 200])),
            7 => Tree::Array(Bytes::from(vec![0x81; BLOB_MIN_BYTES])),
            8 => Tree::Maybe(None),
            9 => Tree::Map(BTreeMap::new()),
            _ => Tree::List(Vec::new()),
        }
    }

    fn wrap(kind: usize, tree: Tree) -> Tree {
        let (other, child) = (leaf(kind), Box::new(tree));
        match kind % WRAPS {
            0 => Tree::One(child),
            1 => Tree::Two(Box::new(other), child),
            2 => Tree::Two(child, Box::new(other)),
            3 => Tree::Named { before: Bytes::default(), child, after: vec![other.clone(), other] },
            4 => Tree::List(vec![other.clone(), *child, other]),
            5 => Tree::Maybe(Some(child)),
            6 => Tree::Map([("a".to_owned(), other), ("b".to_owned(), *child)].into()),
            7 => Tree::Flat(Flat { child, numbers: [("a".to_owned(), 1)].into() }),
            8 => Tree::Tagged(Required(child)),
            9 => Tree::Captured(Captured(None, child)),
            _ => Tree::Captured(Captured(Some(6), child)),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn a_value_is_encoded_if_and_only_if_it_can_be_decoded(
            start in 0..LEAVES,
            kinds in prop::collection::vec(any::<usize>(), 50..135),
            is_mixed: bool,
        ) {
            let kind = |place: usize| if is_mixed { kinds[place] } else { kinds[0] };
            let value = (0..kinds.len()).fold(leaf(start), |tree, n| wrap(kind(n), tree));
            let deep = encode_deep(&value).unwrap();
            match encode(&value) {
                Ok(encoded) => prop_assert!(decode(&encoded).is_ok_and(|again: Tree| again == value)),
                Err(error) => {
                    let error = error.to_string();
                    prop_assert!(error.ends_with("nests deeper than 128 levels"), "{}", error);
                    prop_assert!(decode::<Tree>(&deep).is_err());
                }
            }
        }
    }

    #[test]
    fn a_value_may_have_as_many_levels_as_it_says_whatever_is_in_the_innermost() {
        for kind in 0..LEAVES {
            let levels = usize::from(kind > 0) + usize::from(kind > 8);
            let deepest = (levels..MAX_DEPTH).fold(leaf(kind), |tree, _| Tree::One(Box::new(tree)));
            assert_eq!(decode::<Tree>(&encode(&deepest).unwrap()).unwrap(), deepest, "{kind}");
            let too_deep = Tree::One(Box::new(deepest));
            assert!(encode(&too_deep).is_err(), "{kind}");
            assert!(decode::<Tree>(&encode_deep(&too_deep).unwrap()).is_err(), "{kind}");
        }
    }

    #[test]
    fn what_only_looks_deep_is_encoded() {
        let heads = vec![0x81u8; 3 * MAX_DEPTH];
        let wide = vec![vec![heads.clone(), Vec::new()]; MAX_DEPTH];
        let value = (Bytes::from(heads), wide, BTreeMap::from([("a".repeat(70_000), [1.5; 3])]));
        let encoded = encode(&value).unwrap();
        assert_eq!(decode::<(Bytes, Vec<Vec<Vec<u8>>>, BTreeMap<_, _>)>(&encoded).unwrap(), value);
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
