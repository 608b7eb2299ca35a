//! Values of any type, shown: CBOR (RFC 8949) is read without knowing the Rust type.
//!
//! Own code instead of `ciborium::Value`, which refuses bignums below -2^127, drops `undefined`
//! and copies every byte string.

mod diagnostic;
mod item;
mod json;
mod summary;

pub(crate) use diagnostic::{Layout, render};
pub(crate) use item::{Item, Malformed, NoTree, check, parse, parse_plain};
pub(crate) use json::to_json;
pub(crate) use summary::{content_of_bytes, raw, summary};

use num_bigint::{BigInt, Sign};

/// Tags of integers beyond 64 bits (RFC 8949, section 3.4.3).
const POSITIVE_BIGNUM: u64 = 2;
const NEGATIVE_BIGNUM: u64 = 3;

/// The largest bignum that is shown as a number. Bytes; a conversion takes quadratic time.
const MAX_BIGNUM_BYTES: usize = 16 * 1024;

/// The number that a tagged byte string stands for.
fn bignum(tag: u64, content: &Item<'_>) -> Option<BigInt> {
    let Item::Bytes(magnitude) = content else { return None };
    let number = || BigInt::from_bytes_be(Sign::Plus, magnitude);
    match tag {
        _ if magnitude.len() > MAX_BIGNUM_BYTES => None,
        POSITIVE_BIGNUM => Some(number()),
        NEGATIVE_BIGNUM => Some(-number() - 1),
        _ => None,
    }
}
