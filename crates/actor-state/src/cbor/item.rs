//! From CBOR bytes to a tree that borrows them; or a check alone, which takes no memory.

use std::borrow::Cow;
use std::ops::Range;

use persistent_actor::Encoded;
use persistent_actor::codec::{BLOB_TAG, MAX_DEPTH};

/// The most data items of a value that becomes a tree; there each takes some 50 bytes of memory.
const MAX_ITEMS: usize = 4_000_000;

/// A data item.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Item<'a> {
    /// From -2^64 to 2^64 - 1; beyond are tags 2 and 3 around bytes.
    Integer(i128),
    Bytes(Cow<'a, [u8]>),
    Text(Cow<'a, str>),
    Array(Vec<Item<'a>>),
    Map(Vec<(Item<'a>, Item<'a>)>),
    Tag(u64, Box<Item<'a>>),
    Float(f64),
    /// `false` is 20, `true` 21, `null` 22, `undefined` 23.
    Simple(u8),
}

/// Bytes that are not one well-formed data item.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not readable as CBOR: {reason} at byte {offset}")]
pub(crate) struct Malformed {
    pub(crate) offset: usize,
    pub(crate) reason: String,
}

/// Why a value was not made a tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoTree {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Nothing is wrong with it.
    #[error("{items} data items; at most {} are shown", MAX_ITEMS)]
    TooMany { items: usize },
}

/// What a value is found to consist of when it is well-formed.
pub(super) struct Checked {
    /// How many data items; a large array beside the CBOR is one.
    pub(super) items: usize,
    /// Where in the CBOR a reference to a large array stands, and to which.
    pub(super) references: Vec<(Range<usize>, usize)>,
}

/// Makes sure that a value is one well-formed data item, however many it consists of.
pub(crate) fn check(value: &Encoded) -> Result<(), Malformed> {
    examine(value).map(drop)
}

/// The same, and tells what was found.
pub(super) fn examine(value: &Encoded) -> Result<Checked, Malformed> {
    Parser::of(value).check()
}

/// Reads a value with the large arrays that it refers to in place.
pub(crate) fn parse(value: &Encoded) -> Result<Item<'_>, NoTree> {
    match examine(value)?.items {
        items if items > MAX_ITEMS => Err(NoTree::TooMany { items }),
        _ => Ok(Parser::of(value).whole()?),
    }
}

/// Reads CBOR that refers to nothing beside it, however many data items it consists of. As each of
/// them takes a byte or more, the tree of a hostile file takes at most some 75 times its length.
pub(crate) fn parse_plain(bytes: &[u8]) -> Result<Item<'_>, Malformed> {
    Parser::new(bytes).check()?;
    Parser::new(bytes).whole()
}

/// The first bytes of a data item.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) major: u8,
    pub(super) minor: u8,
    /// The argument; `None` for an indefinite length.
    pub(super) argument: Option<u64>,
}

/// What becomes of the data items that are read.
trait Node<'a>: Sized {
    /// `item` holds no other items.
    fn leaf(item: Item<'a>) -> Self;
    fn array(items: Vec<Self>) -> Self;
    fn map(entries: Vec<(Self, Self)>) -> Self;
    fn tag(tag: u64, content: Self) -> Self;
}

/// A tree.
impl<'a> Node<'a> for Item<'a> {
    fn leaf(item: Item<'a>) -> Self {
        item
    }

    fn array(items: Vec<Self>) -> Self {
        Self::Array(items)
    }

    fn map(entries: Vec<(Self, Self)>) -> Self {
        Self::Map(entries)
    }

    fn tag(tag: u64, content: Self) -> Self {
        Self::Tag(tag, Box::new(content))
    }
}

/// Nothing: they are only checked. A list of these takes no memory.
impl<'a> Node<'a> for () {
    fn leaf(_: Item<'a>) -> Self {}

    fn array(_: Vec<Self>) -> Self {}

    fn map(_: Vec<(Self, Self)>) -> Self {}

    fn tag(_: u64, (): Self) -> Self {}
}

const INDEFINITE: u8 = 31;

pub(super) struct Parser<'a> {
    bytes: &'a [u8],
    position: usize,
    items: usize,
    blobs: Vec<&'a [u8]>,
    references: Vec<(Range<usize>, usize)>,
}

impl<'a> Parser<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0, items: 0, blobs: Vec::new(), references: Vec::new() }
    }

    fn of(value: &'a Encoded) -> Self {
        let blobs = value.blobs.iter().map(|blob| &blob[..]).collect();
        Self { blobs, ..Self::new(&value.inline) }
    }

    fn check(mut self) -> Result<Checked, Malformed> {
        let () = self.whole()?;
        Ok(Checked { items: self.items, references: self.references })
    }

    /// Reads everything. A tree is made only after a [check](Self::check): there is room in it for
    /// as many items as are announced.
    fn whole<N: Node<'a>>(&mut self) -> Result<N, Malformed> {
        let item = self.item(0)?;
        match self.bytes.len() - self.position {
            0 => Ok(item),
            left => Err(self.malformed(format!("{left} bytes are left over"))),
        }
    }

    fn malformed(&self, reason: impl Into<String>) -> Malformed {
        Malformed { offset: self.position, reason: reason.into() }
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], Malformed> {
        let left = self.bytes.len() - self.position;
        let Some(len) = usize::try_from(len).ok().filter(|len| *len <= left) else {
            return Err(self.malformed(format!("{len} bytes announced, {left} are left")));
        };
        let taken = &self.bytes[self.position..self.position + len];
        self.position += len;
        Ok(taken)
    }

    pub(super) fn head(&mut self) -> Result<Head, Malformed> {
        let first = self.take(1)?[0];
        let (major, minor) = (first >> 5, first & 0x1f);
        let argument = match minor {
            0..=23 => Some(u64::from(minor)),
            24..=27 => {
                let bytes = self.take(1 << (minor - 24))?;
                Some(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
            }
            INDEFINITE if matches!(major, 2..=5 | 7) => None,
            _ => {
                self.position -= 1;
                return Err(self.malformed(format!("{first:#04x} starts no data item")));
            }
        };
        Ok(Head { major, minor, argument })
    }

    fn check_depth(&self, depth: usize) -> Result<(), Malformed> {
        match depth > MAX_DEPTH {
            true => Err(self.malformed(format!("more than {MAX_DEPTH} levels"))),
            false => Ok(()),
        }
    }

    fn item<N: Node<'a>>(&mut self, depth: usize) -> Result<N, Malformed> {
        self.items += 1;
        self.check_depth(depth)?;
        let start = self.position;
        let head = self.head()?;
        let leaf = match (head.major, head.argument) {
            (0 | 1, Some(number)) => Item::Integer(integer(head.major, number)),
            (2, len) => Item::Bytes(self.string(len, 2)?),
            (3, len) => self.text(len)?,
            (4, len) => return self.array(len, depth),
            (5, len) => return self.map(len, depth),
            (6, Some(BLOB_TAG)) if !self.blobs.is_empty() => self.reference(start, depth)?,
            (6, Some(tag)) => return Ok(N::tag(tag, self.item(depth + 1)?)),
            (7, Some(bits)) => simple_or_float(head.minor, bits),
            _ => {
                self.position = start;
                return Err(self.malformed("a break that ends nothing"));
            }
        };
        Ok(N::leaf(leaf))
    }

    /// A byte or text string, in one piece or several.
    fn string(&mut self, len: Option<u64>, major: u8) -> Result<Cow<'a, [u8]>, Malformed> {
        if let Some(len) = len {
            return Ok(Cow::Borrowed(self.take(len)?));
        }
        let mut whole = Vec::new();
        while !self.at_break() {
            let head = self.head()?;
            match head.argument {
                Some(len) if head.major == major => whole.extend_from_slice(self.take(len)?),
                _ => return Err(self.malformed("a piece of a string of another kind")),
            }
        }
        Ok(Cow::Owned(whole))
    }

    fn text(&mut self, len: Option<u64>) -> Result<Item<'a>, Malformed> {
        let text = match self.string(len, 3)? {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).ok(),
            Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).ok(),
        };
        text.map(Item::Text).ok_or_else(|| self.malformed("a text that is not UTF-8"))
    }

    fn array<N: Node<'a>>(&mut self, len: Option<u64>, depth: usize) -> Result<N, Malformed> {
        let mut items = Vec::with_capacity(self.room(len));
        while self.has_next(len, items.len()) {
            items.push(self.item(depth + 1)?);
        }
        Ok(N::array(items))
    }

    fn map<N: Node<'a>>(&mut self, len: Option<u64>, depth: usize) -> Result<N, Malformed> {
        let mut entries = Vec::with_capacity(self.room(len));
        while self.has_next(len, entries.len()) {
            entries.push((self.item(depth + 1)?, self.item(depth + 1)?));
        }
        Ok(N::map(entries))
    }

    /// How many items or entries to make room for. A list that grows item by item keeps room for
    /// four, which would be most of the memory of a tree of short lists.
    fn room(&self, len: Option<u64>) -> usize {
        let left = self.bytes.len() - self.position;
        len.map_or(0, |len| usize::try_from(len).unwrap_or(left).min(left))
    }

    fn has_next(&mut self, len: Option<u64>, found: usize) -> bool {
        match len {
            Some(len) => (found as u64) < len,
            None => !self.at_break(),
        }
    }

    /// Whether an indefinite length ends here; steps over the mark.
    fn at_break(&mut self) -> bool {
        let ends = self.bytes.get(self.position) == Some(&0xff);
        self.position += usize::from(ends);
        ends
    }

    fn reference(&mut self, start: usize, depth: usize) -> Result<Item<'a>, Malformed> {
        self.check_depth(depth + 1)?;
        let index = match self.head()? {
            Head { major: major @ (0 | 1), argument: Some(number), .. } => integer(major, number),
            _ => return Err(self.malformed("a reference to a large array that is not a number")),
        };
        let count = self.blobs.len();
        let known = usize::try_from(index).ok().filter(|index| *index < count);
        let Some(index) = known else {
            return Err(self.malformed(format!("a reference to large array {index} of {count}")));
        };
        self.references.push((start..self.position, index));
        Ok(Item::Bytes(Cow::Borrowed(self.blobs[index])))
    }
}

fn integer(major: u8, number: u64) -> i128 {
    if major == 0 { number.into() } else { -1 - i128::from(number) }
}

fn simple_or_float(minor: u8, bits: u64) -> Item<'static> {
    match minor {
        25 => Item::Float(half_to_f64(bits as u16)),
        26 => Item::Float(f64::from(f32::from_bits(bits as u32))),
        27 => Item::Float(f64::from_bits(bits)),
        _ => Item::Simple(bits as u8),
    }
}

/// IEEE 754 half precision, as in RFC 8949, appendix D.
fn half_to_f64(half: u16) -> f64 {
    let (exponent, mantissa) = (i32::from(half >> 10 & 0x1f), f64::from(half & 0x3ff));
    let magnitude = match exponent {
        0 => mantissa * 2f64.powi(-24),
        31 if mantissa == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (mantissa + 1024.0) * 2f64.powi(exponent - 25),
    };
    if half & 0x8000 == 0 { magnitude } else { -magnitude }
}

#[cfg(test)]
mod tests {
    use persistent_actor::{Bytes, Integer, codec};

    use super::*;

    #[test]
    fn the_examples_of_the_standard_are_read() {
        // RFC 8949, appendix A.
        let read = |bytes: &[u8]| parse_plain(bytes).map(|item| format!("{item:?}")).unwrap();
        assert_eq!(
            read(&[0x3b, 255, 255, 255, 255, 255, 255, 255, 255]),
            "Integer(-18446744073709551616)"
        );
        assert_eq!(read(&[0xf9, 0x3c, 0x00]), "Float(1.0)");
        assert_eq!(read(&[0xf9, 0x00, 0x01]), "Float(5.960464477539063e-8)");
        assert_eq!(read(&[0xf9, 0xfc, 0x00]), "Float(-inf)");
        assert_eq!(read(&[0xf8, 0xff]), "Simple(255)");
        assert_eq!(read(&[0x5f, 0x42, 1, 2, 0x43, 3, 4, 5, 0xff]), "Bytes([1, 2, 3, 4, 5])");
        assert_eq!(
            read(&[0x7f, 0x65, b's', b't', b'r', b'e', b'a', 0x64, b'm', b'i', b'n', b'g', 0xff]),
            "Text(\"streaming\")"
        );
        assert_eq!(
            read(&[0x9f, 1, 0x82, 2, 3, 0x9f, 4, 5, 0xff, 0xff]),
            "Array([Integer(1), Array([Integer(2), Integer(3)]), Array([Integer(4), Integer(5)])])"
        );
        assert_eq!(read(&[0xbf, 0x61, b'a', 1, 0xff]), "Map([(Text(\"a\"), Integer(1))])");
    }

    #[test]
    fn what_is_malformed_is_an_error_that_says_where() {
        let error = |bytes: &[u8]| parse_plain(bytes).unwrap_err().to_string();
        assert_eq!(error(&[]), "not readable as CBOR: 1 bytes announced, 0 are left at byte 0");
        assert_eq!(
            error(&[0x5b, 255, 255, 255, 255, 255, 255, 255, 255]),
            "not readable as CBOR: 18446744073709551615 bytes announced, 0 are left at byte 9"
        );
        assert_eq!(error(&[0, 0]), "not readable as CBOR: 1 bytes are left over at byte 1");
        assert_eq!(error(&[0xff]), "not readable as CBOR: a break that ends nothing at byte 0");
        assert_eq!(error(&[0x1c]), "not readable as CBOR: 0x1c starts no data item at byte 0");
        assert_eq!(
            error(&[0x61, 0xff]),
            "not readable as CBOR: a text that is not UTF-8 at byte 2"
        );
        assert_eq!(error(&[0x81; 200]), "not readable as CBOR: more than 128 levels at byte 129");
    }

    #[test]
    fn every_cut_of_a_value_is_an_error_and_no_panic() {
        let value = codec::encode(&(1u8, "two", Integer::from(1u128 << 100), [1.5, 2.5])).unwrap();
        for len in 0..value.inline.len() {
            assert!(parse_plain(&value.inline[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn a_large_array_stands_where_the_value_refers_to_it() {
        let large = Bytes::from(vec![7; codec::BLOB_MIN_BYTES]);
        let value = codec::encode(&(1u8, large.clone())).unwrap();
        let expected = [Item::Integer(1), Item::Bytes(Cow::Borrowed(&large))];
        assert_eq!(parse(&value).unwrap(), Item::Array(expected.to_vec()));
        let checked = examine(&value).unwrap();
        assert_eq!((checked.items, checked.references.len()), (3, 1));
    }

    #[test]
    fn a_reference_that_leads_nowhere_is_an_error() {
        let large = Bytes::from(vec![7; codec::BLOB_MIN_BYTES]);
        let mut value = codec::encode(&large).unwrap();
        let last = value.inline.len() - 1;
        for (byte, reason) in [
            (0x01, "a reference to large array 1 of 1"),
            (0x20, "a reference to large array -1 of 1"),
            (0x60, "a reference to a large array that is not a number"),
        ] {
            value.inline[last] = byte;
            assert_eq!(check(&value).unwrap_err().reason, reason);
        }
    }

    #[test]
    fn many_data_items_are_well_formed_and_no_tree() {
        let list = |items: usize| Encoded {
            inline: [&[0x9f], &vec![0; items - 1][..], &[0xff]].concat(),
            blobs: Vec::new(),
        };
        assert!(parse(&list(MAX_ITEMS)).is_ok());
        let value = list(MAX_ITEMS + 1);
        assert_eq!(check(&value), Ok(()));
        let error = parse(&value).unwrap_err();
        assert_eq!(error.to_string(), "4000001 data items; at most 4000000 are shown");
        assert!(parse_plain(&value.inline).is_ok());
        // Damage is told however long the value is.
        let cut = Encoded { inline: value.inline[..MAX_ITEMS].to_vec(), blobs: Vec::new() };
        assert!(check(&cut).is_err());
        assert!(matches!(parse(&cut), Err(NoTree::Malformed(_))));
    }
}
