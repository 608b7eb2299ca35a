//! A value or a remembered call as it is kept in Redis: what can be read is written the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use persistent_actor::store::fuzzing;
use persistent_actor_fuzz::memory;

fuzz_target!(|bytes: &[u8]| {
    let limit = (1 << 16) + 64 * bytes.len();
    let read = memory::bounded(limit, || fuzzing::read_and_encode_redis(bytes));
    assert!(read.iter().flatten().all(|again| again == bytes));
});
