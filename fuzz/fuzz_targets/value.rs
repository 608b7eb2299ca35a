//! An encoded value, decoded as several types: it never panics, takes memory in proportion, and
//! what was decoded can be encoded and decoded again, and is the same.
//!
//! Input: a byte that says how many large arrays lie beside the CBOR, then the CBOR.

#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use persistent_actor::codec::{self, BLOB_MIN_BYTES, MAX_DEPTH};
use persistent_actor::{Bytes, CallId, Encoded, Integer, ReplyStatus, SessionId};
use persistent_actor_fuzz::memory;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Nested {
    number: i64,
    text: Option<String>,
    #[serde(default)]
    bytes: Bytes,
    #[serde(default)]
    children: Vec<Nested>,
    next: Option<Box<Nested>>,
    kind: Kind,
}

#[derive(Serialize, Deserialize)]
enum Kind {
    Unit,
    One(Integer),
    Two(f64, char),
    Named { map: BTreeMap<String, Kind>, pair: (u8, i128) },
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u64),
    Text(String),
    Bytes(Bytes),
    Integer(Integer),
    List(Vec<Untagged>),
}

fn check<T: Serialize + DeserializeOwned>(value: &Encoded) {
    // serde believes an announced length up to 1 MiB, at each level of nesting.
    let limit = (MAX_DEPTH + 2) * (1 << 20) + 512 * value.inline.len();
    let Ok(decoded) = memory::bounded(limit, || codec::decode::<T>(value)) else { return };
    let encoded = match codec::encode(&decoded) {
        Ok(encoded) => encoded,
        Err(error) => panic!("what was decoded cannot be encoded: {error}"),
    };
    let again = match codec::decode::<T>(&encoded) {
        Ok(again) => again,
        Err(error) => panic!("what was encoded cannot be decoded: {error}"),
    };
    let encoded_again = codec::encode(&again).ok();
    assert!(encoded_again.is_some_and(|again| again.is_same(&encoded)));
}

static BLOBS: LazyLock<[Bytes; 3]> = LazyLock::new(|| {
    [1, 2, 3].map(|fill| Bytes::from(vec![fill; BLOB_MIN_BYTES + usize::from(fill)]))
});

fuzz_target!(|input: &[u8]| {
    let Some((blobs, inline)) = input.split_first() else { return };
    let blobs = BLOBS[..usize::from(*blobs % 4)].to_vec();
    let value = Encoded { inline: inline.to_vec(), blobs };
    check::<u64>(&value);
    check::<i128>(&value);
    check::<f64>(&value);
    check::<char>(&value);
    check::<String>(&value);
    check::<Vec<u8>>(&value);
    check::<Duration>(&value);
    check::<(bool, Option<u16>, ())>(&value);
    check::<BTreeMap<Integer, Vec<Bytes>>>(&value);
    check::<Integer>(&value);
    check::<Bytes>(&value);
    check::<Vec<Integer>>(&value);
    check::<(SessionId, CallId, ReplyStatus)>(&value);
    check::<Nested>(&value);
    // What these are depends on the encoding, so it may change by the first one.
    let _ = codec::decode::<Untagged>(&value);
    let _ = codec::decode::<ciborium::Value>(&value);
});
