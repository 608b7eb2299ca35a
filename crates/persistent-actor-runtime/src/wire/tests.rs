//! Every frame there and back, cut, and made of noise.

use persistent_actor::SessionId;
use proptest::prelude::*;

use super::*;

fn blob(n: u64) -> BlobRef {
    BlobRef { buffer: BufferId { pool: n, index: n + 1 }, len: n + 2 }
}

fn frames() -> Vec<Frame<'static>> {
    let small = Value { inline: Inline::Here(b"abc"), blobs: vec![] };
    let large = Value { inline: Inline::Shared(blob(4)), blobs: vec![blob(7), blob(8)] };
    let stamps = Stamps { run_started_ns: 1, run_ended_ns: 2, committed_ns: 3 };
    let id = CallId { session: SessionId(u128::MAX - 5), sequence: 17 };
    vec![
        Frame::Start { options: small.clone(), initial: large.clone() },
        Frame::Call {
            id,
            acked_below: 12,
            method: 3,
            kill_at: Some(KillPoint::BeforeCommit),
            args: large,
        },
        Frame::Attempt { id, deaths: 2, limit: 5, last: "signal 6" },
        Frame::Ask { sequence: 18, id },
        Frame::Group { member: Some((1 << 100, 3)) },
        Frame::Group { member: None },
        Frame::Written { epoch: 7, number: 2, offset: 1024, bytes: b"record" },
        Frame::Fork,
        Frame::Waits,
        Frame::Forked { pid: 70_000 },
        Frame::NotForked { ever: true },
        Frame::Ready { epoch: 3, sequence: 9 },
        Frame::Fatal { reason: "no disk" },
        Frame::Memory { pid: 70_000 },
        Frame::Reply {
            sequence: 17,
            status: Status::Panicked,
            replayed: true,
            stamps,
            value: small,
        },
        Frame::Buffer { id: BufferId { pool: 1, index: 2 }, len: 3 },
        Frame::Slot { id: BufferId { pool: 1, index: 2 }, len: 3 },
        Frame::Forget { id: BufferId { pool: 1, index: 2 } },
        Frame::Release { id: BufferId { pool: 1, index: 2 } },
    ]
}

#[test]
fn every_frame_reads_back_what_was_written() {
    let mut stream = Vec::new();
    for frame in frames() {
        frame.encode(&mut stream);
    }
    let mut rest = stream.as_slice();
    for frame in frames() {
        let (decoded, len) = Frame::decode(rest).unwrap().unwrap();
        assert_eq!(decoded, frame);
        rest = &rest[len..];
    }
    assert!(rest.is_empty());
}

#[test]
fn a_frame_that_is_made_without_memory_is_like_any_other() {
    let frame = memory_frame(70_000);
    assert_eq!(Frame::decode(&frame), Ok(Some((Frame::Memory { pid: 70_000 }, 9))));
}

#[test]
fn a_frame_that_is_cut_short_is_awaited_or_refused_but_never_misread() {
    for frame in frames() {
        let mut whole = Vec::new();
        frame.encode(&mut whole);
        for len in 0..whole.len() {
            assert_eq!(Frame::decode(&whole[..len]), Ok(None));
        }
        for len in LENGTH_BYTES + 1..whole.len() {
            let mut cut = whole[..len].to_vec();
            let length = (len - LENGTH_BYTES) as u32;
            cut[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
            assert!(Frame::decode(&cut).is_err(), "{frame:?} cut to {len} bytes");
        }
    }
}

#[test]
fn a_frame_beyond_the_bound_is_refused_before_it_is_awaited() {
    let error = Frame::decode(&(MAX_FRAME_BYTES as u32 + 1).to_le_bytes()).unwrap_err();
    assert!(error.to_string().contains("a frame of 524289 bytes"), "{error}");
    assert!(Frame::decode(&[0; 4]).is_err());
}

proptest! {
    #[test]
    fn random_bytes_never_panic(
        kind in 0u8..22,
        body in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut input = (body.len() as u32 + 1).to_le_bytes().to_vec();
        input.push(kind);
        input.extend_from_slice(&body);
        if let Ok(Some((frame, len))) = Frame::decode(&input) {
            prop_assert_eq!(len, input.len());
            let mut again = Vec::new();
            frame.encode(&mut again);
            let reread = Frame::decode(&again).unwrap().map(|(frame, _)| frame);
            prop_assert_eq!(reread, Some(frame));
        }
    }
}
