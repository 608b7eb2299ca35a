//! What a value is, without reading all of it; and its bytes for other programs.

use std::borrow::Cow;

use persistent_actor::Encoded;
use persistent_actor::codec::BLOB_TAG;

use super::item::{Checked, Head, Parser, examine};
use super::{Item, Malformed, NEGATIVE_BIGNUM, POSITIVE_BIGNUM, parse};

/// Tags of values that Python actors save (`docs/format-python.md`).
const PYTHON_TUPLE: u64 = 0x5041_0002;
const PYTHON_BYTEARRAY: u64 = 0x5041_0003;
const NUMPY_ARRAY: u64 = 0x5041_0004;
const NUMPY_SCALAR: u64 = 0x5041_0005;
const PYTHON_PICKLE: u64 = 0x5041_0006;

/// The kind of value, from its first bytes: `integer`, `map of 3`.
pub(crate) fn summary(value: &Encoded) -> String {
    let mut parser = Parser::new(&value.inline);
    let mut kind = || -> Result<String, Malformed> {
        let head = parser.head()?;
        if head.major != 6 {
            return Ok(kind_of(head));
        }
        match head.argument.unwrap_or_default() {
            BLOB_TAG => Ok("bytes".to_owned()),
            POSITIVE_BIGNUM | NEGATIVE_BIGNUM => Ok("integer".to_owned()),
            PYTHON_TUPLE => Ok(kind_of(parser.head()?).replacen("array", "tuple", 1)),
            PYTHON_BYTEARRAY => Ok("bytearray".to_owned()),
            NUMPY_ARRAY => Ok("NumPy array".to_owned()),
            NUMPY_SCALAR => Ok("NumPy scalar".to_owned()),
            PYTHON_PICKLE => Ok("pickle".to_owned()),
            tag => Ok(format!("tag {tag} of {}", kind_of(parser.head()?))),
        }
    };
    kind().unwrap_or_else(|_| "not CBOR".to_owned())
}

fn kind_of(Head { major, minor, argument }: Head) -> String {
    let count = |what: &str| match argument {
        Some(count) => format!("{what} of {count}"),
        None => what.to_owned(),
    };
    match (major, minor) {
        (0 | 1, _) => "integer".to_owned(),
        (2, _) => "bytes".to_owned(),
        (3, _) => "text".to_owned(),
        (4, _) => count("array"),
        (5, _) => count("map"),
        (6, _) => "tag".to_owned(),
        (_, 20 | 21) => "boolean".to_owned(),
        (_, 22) => "null".to_owned(),
        (_, 23) => "undefined".to_owned(),
        (_, 25..=27) => "float".to_owned(),
        _ => "simple value".to_owned(),
    }
}

/// The content, if the value is one byte string.
pub(crate) fn content_of_bytes<'a>(item: &'a Item<'_>) -> Option<&'a [u8]> {
    match item {
        Item::Bytes(Cow::Borrowed(bytes)) => Some(bytes),
        Item::Bytes(Cow::Owned(bytes)) => Some(bytes),
        _ => None,
    }
}

/// The bytes for other programs: the content of a byte string; of any other value, however many
/// data items it consists of, the CBOR with the large arrays in place, because those programs know
/// nothing of arrays beside it.
pub(crate) fn raw(value: &Encoded) -> Result<Cow<'_, [u8]>, Malformed> {
    let Checked { items, references } = examine(value)?;
    if items == 1
        && let Ok(Item::Bytes(content)) = parse(value)
    {
        return Ok(content);
    }
    if references.is_empty() {
        return Ok(Cow::Borrowed(&value.inline));
    }
    let mut whole = Vec::new();
    let mut position = 0;
    for (place, index) in references {
        let blob = &value.blobs[index];
        whole.extend_from_slice(&value.inline[position..place.start]);
        // A byte string with a length of 8 bytes.
        whole.push(0x5b);
        whole.extend_from_slice(&(blob.len() as u64).to_be_bytes());
        whole.extend_from_slice(blob);
        position = place.end;
    }
    whole.extend_from_slice(&value.inline[position..]);
    Ok(Cow::Owned(whole))
}

#[cfg(test)]
mod tests {
    use persistent_actor::{Bytes, Integer, codec};

    use super::super::parse_plain;
    use super::*;

    #[test]
    fn the_first_bytes_tell_the_kind() {
        let kind = |value: Encoded| summary(&value);
        assert_eq!(kind(codec::encode(&5).unwrap()), "integer");
        assert_eq!(kind(codec::encode(&Integer::from(u128::MAX)).unwrap()), "integer");
        assert_eq!(kind(codec::encode(&[1, 2, 3]).unwrap()), "array of 3");
        assert_eq!(kind(codec::encode(&Bytes::from(vec![1; 1 << 20])).unwrap()), "bytes");
        assert_eq!(kind(codec::encode("x").unwrap()), "text");
        assert_eq!(kind(Encoded { inline: vec![0xc1, 0], blobs: Vec::new() }), "tag 1 of integer");
        assert_eq!(kind(Encoded::default()), "not CBOR");
    }

    #[test]
    fn raw_cbor_means_the_same() {
        let value = (Bytes::from(vec![3; 70_000]), "text", Bytes::from(vec![4; 80_000]));
        let value = codec::encode(&value).unwrap();
        let whole = raw(&value).unwrap();
        assert_eq!(parse_plain(&whole).unwrap(), parse(&value).unwrap());
    }

    #[test]
    fn a_byte_string_is_raw_without_its_head_wherever_it_lies() {
        for len in [0, 3, 70_000] {
            let bytes = Bytes::from(vec![5; len]);
            assert_eq!(raw(&codec::encode(&bytes).unwrap()).unwrap(), &bytes[..], "{len} bytes");
        }
        let pieces = Encoded { inline: vec![0x5f, 0x41, 1, 0x41, 2, 0xff], blobs: Vec::new() };
        assert_eq!(&*raw(&pieces).unwrap(), [1, 2]);
    }
}
