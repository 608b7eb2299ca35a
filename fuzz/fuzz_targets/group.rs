//! What a group journal says: what can be read can be written and read again, and is the same; and
//! what a batch puts into a segment stays within it and leaves its header alone.
//!
//! Input: a byte (0 modulo 3: a table; 1: a batch; 2: a batch that is put into a segment), then the
//! payload.

#![no_main]

use libfuzzer_sys::fuzz_target;
use persistent_actor::store::fuzzing;
use persistent_actor_fuzz::memory;

/// The length of a segment's header, `docs/format.md`, section 3. Bytes.
const HEADER: usize = 512;
/// The length of the segment here. Bytes.
const SEGMENT: usize = 2048;

fn redo(payload: &[u8]) {
    let before: Vec<u8> = (0..SEGMENT).map(|index| index as u8).collect();
    for (after, durable) in fuzzing::redo(payload, &before).unwrap_or_default() {
        assert!(after.len() == SEGMENT && after[..HEADER] == before[..HEADER]);
        let end = durable.map_or(HEADER, |end| end as usize);
        assert!(end <= SEGMENT && after[end.max(HEADER)..] == before[end.max(HEADER)..]);
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((kind, payload)) = input.split_first() else { return };
    // An entry of 20 bytes or more is a member with a list of its own.
    let limit = (1 << 16) + payload.len() * 64;
    match kind % 3 {
        0 | 1 => {
            let same = memory::bounded(limit, || fuzzing::group_reads_back(payload, kind % 3 == 0));
            assert!(same != Some(false));
        }
        _ => redo(payload),
    }
});
