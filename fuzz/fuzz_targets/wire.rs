//! What comes over the socket between a node and a worker, in either direction: frames are read
//! the same whole and in pieces, read back when they are written, and name nothing that is not
//! there.
//!
//! Input: a byte that says how the rest is cut into pieces, then the stream.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use persistent_actor::{Bytes, Encoded};
use persistent_actor_fuzz::memory;
use persistent_actor_runtime::fuzzing;

static LENT: LazyLock<[Encoded; 1]> = LazyLock::new(|| {
    let blobs = vec![Bytes::from(vec![1; 70_000]), Bytes::from(vec![2; 70_000])];
    [Encoded { inline: vec![0; 70_000], blobs }]
});

fuzz_target!(|input: &[u8]| {
    let Some((cut, stream)) = input.split_first() else { return };
    let limit = (1 << 16) + 64 * stream.len();
    let (frames, end, error) = memory::bounded(limit, || fuzzing::frames(stream));
    assert!(end <= stream.len());

    let pieces: Vec<&[u8]> = stream.chunks(1 + usize::from(*cut) * 7).collect();
    let (received, broken) = fuzzing::receive(&pieces);
    // What has a descriptor beside it comes without one, which ends the connection.
    assert_eq!(received, frames[..received.len()]);
    let has_descriptor = |frame: &String| {
        ["Buffer {", "Slot {", "Inherit {"].iter().any(|kind| frame.starts_with(kind))
            || frame == "Fork"
    };
    match frames.get(received.len()) {
        Some(next) => assert!(has_descriptor(next) && broken.is_some(), "{next} was not received"),
        None => assert_eq!(error.is_some(), broken.is_some(), "{error:?} {broken:?}"),
    }

    fuzzing::lend_and_borrow(&LENT[..], stream);
    fuzzing::is_assignment(&Encoded { inline: stream.to_vec(), blobs: Vec::new() });
});
