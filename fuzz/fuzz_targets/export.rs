//! A file made by `actor-state export`: what can be read is a state that a store can hold, and is
//! the same after it was exported again.
//!
//! Input: a byte (odd: the checksum is made right), then the file.

#![no_main]

use libfuzzer_sys::fuzz_target;
use persistent_actor_fuzz::{check, memory};
use xxhash_rust::xxh3::xxh3_64;

// actor-state is a program, not a library.
#[allow(dead_code, unused_imports)]
#[path = "../../crates/actor-state/src/cbor/mod.rs"]
mod cbor;
#[path = "../../crates/actor-state/src/export.rs"]
mod export;

fuzz_target!(|input: &[u8]| {
    let Some((flags, file)) = input.split_first() else { return };
    let mut file = file.to_vec();
    if flags & 1 != 0 && file.len() >= 8 {
        let end = file.len() - 8;
        let check = xxh3_64(&file[..end]);
        file[end..].copy_from_slice(&check.to_le_bytes());
    }
    let limit = (1 << 16) + 256 * file.len();
    let Ok(exported) = memory::bounded(limit, || export::decode(&file)) else { return };
    check::view(&exported.view);
    check::view_reads_back(&exported.view);
    let again = export::decode(&export::encode(&exported));
    assert!(again.is_ok_and(|again| again == exported));
});
