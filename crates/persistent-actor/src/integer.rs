//! [`Integer`]: integers of unlimited size, encoded as CBOR integers and bignums.

use std::fmt;
use std::ops::AddAssign;
use std::str::FromStr;

use ciborium::tag::{Captured, Required};
use num_bigint::{BigInt, Sign};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An integer of unlimited size.
///
/// Encoded as a plain CBOR integer while it fits into 64 bits and as a bignum (RFC 8949,
/// section 3.4.3) beyond, so that every CBOR reader, Python's included, gets an integer back.
///
/// Must not stand behind `#[serde(flatten)]`, nor in an enum that is `untagged` or internally tagged
/// (`tag` without `content`): serde reads what is there before it knows the type, and then takes
/// no integers beyond 64 bits. They are saved, but cannot be loaded. So it is with `i128` and `u128`.
///
/// ```
/// use persistent_actor::{Integer, codec};
/// let mut n = Integer::from(u64::MAX);
/// n += &Integer::from(1u64);
/// assert_eq!(n.to_string(), "18446744073709551616");
/// assert_eq!(codec::decode::<Integer>(&codec::encode(&n)?)?, n);
/// # Ok::<(), codec::CodecError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Integer(pub BigInt);

impl<T> From<T> for Integer
where
    BigInt: From<T>,
{
    fn from(value: T) -> Self {
        Self(BigInt::from(value))
    }
}

impl fmt::Display for Integer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Integer {
    type Err = num_bigint::ParseBigIntError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        s.parse().map(Self)
    }
}

impl AddAssign<&Integer> for Integer {
    fn add_assign(&mut self, other: &Integer) {
        self.0 += &other.0;
    }
}

const POSITIVE_TAG: u64 = 2;
const NEGATIVE_TAG: u64 = 3;

/// Big-endian bytes that are written as a CBOR byte string.
struct Magnitude(Vec<u8>);

impl Serialize for Magnitude {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl Serialize for Integer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.collect_str(self);
        }
        if let Ok(small) = i128::try_from(&self.0) {
            return serializer.serialize_i128(small);
        }
        if self.0.sign() == Sign::Minus {
            let magnitude: BigInt = -&self.0 - 1;
            let bytes = Magnitude(magnitude.to_bytes_be().1);
            Required::<_, NEGATIVE_TAG>(bytes).serialize(serializer)
        } else {
            let bytes = Magnitude(self.0.to_bytes_be().1);
            Required::<_, POSITIVE_TAG>(bytes).serialize(serializer)
        }
    }
}

/// What stands inside or without a tag where an integer is expected.
enum Content {
    Plain(Integer),
    Magnitude(Vec<u8>),
}

struct ContentVisitor;

impl Visitor<'_> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer")
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Content, E> {
        Ok(Content::Plain(value.into()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Content, E> {
        Ok(Content::Plain(value.into()))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Content, E> {
        Ok(Content::Plain(value.into()))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Content, E> {
        text.parse().map(Content::Plain).map_err(E::custom)
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Content, E> {
        Ok(Content::Magnitude(bytes.to_vec()))
    }

    fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Content, E> {
        Ok(Content::Magnitude(bytes))
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let captured = if deserializer.is_human_readable() {
            Captured(None, Content::deserialize(deserializer)?)
        } else {
            Captured::<Content>::deserialize(deserializer)?
        };
        let magnitude = |bytes: &[u8]| BigInt::from_bytes_be(Sign::Plus, bytes);
        match captured {
            Captured(None, Content::Plain(value)) => Ok(value),
            Captured(Some(POSITIVE_TAG), Content::Magnitude(m)) => Ok(Self(magnitude(&m))),
            Captured(Some(NEGATIVE_TAG), Content::Magnitude(m)) => Ok(Self(-magnitude(&m) - 1)),
            Captured(tag, _) => Err(de::Error::custom(format!("not an integer (tag {tag:?})"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{decode, encode};

    #[test]
    fn integers_of_every_size_survive_a_round_trip() {
        let mut n = Integer::from(1);
        for _ in 0..400 {
            for value in [n.clone(), Integer(-n.0.clone()), Integer(&n.0 - 1)] {
                let encoded = encode(&value).unwrap();
                assert_eq!(decode::<Integer>(&encoded).unwrap(), value);
            }
            let twice = n.clone();
            n += &twice;
        }
    }

    #[test]
    fn the_encoding_is_the_standard_one() {
        let bignum = encode(&Integer::from(1u128 << 64)).unwrap().inline;
        assert_eq!(bignum, [0xC2, 0x49, 1, 0, 0, 0, 0, 0, 0, 0, 0], "RFC 8949, appendix A");
        assert_eq!(encode(&Integer::from(-1)).unwrap().inline, [0x20]);
    }
}
