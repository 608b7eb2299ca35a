//! From CBOR bytes to a tree that borrows them.

use std::borrow::Cow;
use std::ops::Range;

use persistent_actor::Encoded;
use persistent_actor::codec::{BLOB_TAG, MAX_DEPTH};

/// The most data items of one value; each takes about 50 bytes of memory.
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

/// A value, and where its CBOR refers to large byte arrays beside it.
pub(crate) struct Parsed<'a> {
    /// The value, with the large arrays in place.
    pub(crate) item: Item<'a>,
    /// Where in the CBOR a reference stands, and to which array.
    pub(crate) references: Vec<(Range<usize>, usize)>,
}

/// Reads a value with the large arrays that it refers to.
pub(crate) fn parse(value: &Encoded) -> Result<Parsed<'_>, Malformed> {
    let mut parser = Parser::new(&value.inline);
    parser.blobs = value.blobs.iter().map(|blob| &blob[..]).collect();
    let item = parser.whole()?;
    Ok(Parsed { item, references: parser.references })
}

/// Reads CBOR that refers to nothing beside it.
pub(crate) fn parse_plain(bytes: &[u8]) -> Result<Item<'_>, Malformed> {
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

    fn whole(&mut self) -> Result<Item<'a>, Malformed> {
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

    fn item(&mut self, depth: usize) -> Result<Item<'a>, Malformed> {
        self.items += 1;
        if depth > MAX_DEPTH || self.items > MAX_ITEMS {
            let bound = if depth > MAX_DEPTH { MAX_DEPTH } else { MAX_ITEMS };
            let what = if depth > MAX_DEPTH { "levels" } else { "data items" };
            return Err(self.malformed(format!("more than {bound} {what}")));
        }
        let start = self.position;
        let head = self.head()?;
        match (head.major, head.argument) {
            (0, Some(number)) => Ok(Item::Integer(number.into())),
            (1, Some(number)) => Ok(Item::Integer(-1 - i128::from(number))),
            (2, len) => Ok(Item::Bytes(self.string(len, 2)?)),
            (3, len) => self.text(len),
            (4, len) => self.array(len, depth),
            (5, len) => self.map(len, depth),
            (6, Some(BLOB_TAG)) if !self.blobs.is_empty() => self.reference(start, depth),
            (6, Some(tag)) => Ok(Item::Tag(tag, Box::new(self.item(depth + 1)?))),
            (7, Some(bits)) => Ok(simple_or_float(head.minor, bits)),
            _ => {
                self.position = start;
                Err(self.malformed("a break that ends nothing"))
            }
        }
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

    fn array(&mut self, len: Option<u64>, depth: usize) -> Result<Item<'a>, Malformed> {
        let mut items = Vec::new();
        while self.has_next(len, items.len()) {
            items.push(self.item(depth + 1)?);
        }
        Ok(Item::Array(items))
    }

    fn map(&mut self, len: Option<u64>, depth: usize) -> Result<Item<'a>, Malformed> {
        let mut entries = Vec::new();
        while self.has_next(len, entries.len()) {
            entries.push((self.item(depth + 1)?, self.item(depth + 1)?));
        }
        Ok(Item::Map(entries))
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
        let Item::Integer(index) = self.item(depth + 1)? else {
            return Err(self.malformed("a reference to a large array that is not a number"));
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
        let parsed = parse(&value).unwrap();
        let expected = [Item::Integer(1), Item::Bytes(Cow::Borrowed(&large))];
        assert_eq!(parsed.item, Item::Array(expected.to_vec()));
        assert_eq!(parsed.references.len(), 1);
    }
}
