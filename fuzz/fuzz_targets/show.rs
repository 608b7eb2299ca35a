//! A value of any type, as `actor-state` shows it: as lines and trees for people, as JSON, and as
//! CBOR for other programs.
//!
//! Input: a byte that says how many large arrays lie beside the CBOR, then the CBOR.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use persistent_actor::codec;
use persistent_actor::{Bytes, Encoded};
use persistent_actor_fuzz::memory;
use serde::Deserialize;
use serde::de::IgnoredAny;

// actor-state is a program, not a library.
#[allow(dead_code, unused_imports)]
#[path = "../../crates/actor-state/src/cbor/mod.rs"]
mod cbor;

use cbor::Layout;

static BLOBS: LazyLock<[Bytes; 2]> =
    LazyLock::new(|| [1, 2].map(|fill| Bytes::from(vec![fill; 3 * usize::from(fill)])));

fuzz_target!(|input: &[u8]| {
    let Some((blobs, inline)) = input.split_first() else { return };
    let blobs = BLOBS[..usize::from(*blobs % 3)].to_vec();
    let value = Encoded { inline: inline.to_vec(), blobs };
    assert!(!cbor::summary(&value).is_empty());
    let limit = (1 << 16) + 256 * inline.len();
    let item = memory::bounded(limit, || cbor::parse(&value).ok());
    let Some(item) = item else { return };
    for width in [0, 1, 80] {
        let line = cbor::render(&item, Layout::Line(width));
        assert!(line.chars().count() <= width + 1, "{line:?} is longer than {width}");
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
    let tree = cbor::render(&item, Layout::Tree);
    assert!(!tree.chars().any(|char| char.is_control() && char != '\n'), "{tree:?}");

    let json = cbor::to_json(&item);
    let mut reader = serde_json::Deserializer::from_str(&json);
    let is_json = IgnoredAny::deserialize(&mut reader).is_ok() && reader.end().is_ok();
    assert!(is_json, "{json}");

    let Ok(whole) = cbor::raw(&value) else { panic!("it was parsed just now") };
    match cbor::content_of_bytes(&item) {
        Some(content) => assert!(*whole == *content, "the content of a byte string"),
        None => {
            let plain = Encoded { inline: whole.into_owned(), blobs: Vec::new() };
            let again = cbor::parse(&plain).map(|again| cbor::to_json(&again));
            assert_eq!(again.as_ref().ok(), Some(&json), "with the large arrays in place");
        }
    }
    // Rust types are read as if tags were not there.
    if let (Ok(number), false) = (codec::decode::<u64>(&value), json.starts_with('{')) {
        assert_eq!(number.to_string(), json);
    }
});
