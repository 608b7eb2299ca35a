//! Ways into the decoders for the fuzz targets in `fuzz/`. Compiled with `--cfg fuzzing` only.

use std::os::fd::AsFd;

use persistent_actor::{Encoded, codec};

use crate::assignment::Assignment;
use crate::lending::{Lending, Payload};
use crate::socket::{Arrived, Inbox, Outbox, pair};
use crate::wire::{Frame, LENGTH_BYTES};

/// Decodes the frames at the start of `input`, each also after it was encoded again. Gives the
/// frames in readable form and where the last of them ends, and what is wrong there.
pub fn frames(input: &[u8]) -> (Vec<String>, usize, Option<String>) {
    let (mut frames, mut position) = (Vec::new(), 0);
    loop {
        match Frame::decode(&input[position..]) {
            Ok(Some((frame, len))) => {
                assert!(len > LENGTH_BYTES && position + len <= input.len());
                check_round_trip(&frame);
                frames.push(format!("{frame:?}"));
                position += len;
            }
            Ok(None) => return (frames, position, None),
            Err(error) => return (frames, position, Some(error.to_string())),
        }
    }
}

fn check_round_trip(frame: &Frame<'_>) {
    let mut again = Vec::new();
    frame.encode(&mut again);
    match (Frame::decode(&again), frame) {
        // The writer cuts a long reason.
        (Ok(Some((Frame::Fatal { reason: cut }, _))), Frame::Fatal { reason }) => {
            assert!(reason.starts_with(cut));
        }
        (Ok(Some((Frame::Attempt { last: cut, .. }, _))), Frame::Attempt { last, .. }) => {
            assert!(last.starts_with(cut));
        }
        (Ok(Some((found, len))), frame) => assert!(found == *frame && len == again.len()),
        (other, _) => panic!("{frame:?} became {other:?}"),
    }
}

/// Sends the pieces one after another over a socket and receives them at its other end. Gives
/// the frames in readable form, and what went wrong.
pub fn receive(pieces: &[&[u8]]) -> (Vec<String>, Option<String>) {
    let (ours, theirs) = match pair() {
        Ok(pair) => pair,
        Err(error) => panic!("no socket: {error}"),
    };
    let (mut inbox, mut frames) = (Inbox::new(), Vec::new());
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        let written = rustix::io::write(&theirs, piece);
        assert_eq!(written, Ok(piece.len()), "pieces are short");
        let mut arrived = Arrived::Bytes { more: true };
        while arrived == (Arrived::Bytes { more: true }) {
            arrived = match inbox.fill(ours.as_fd()) {
                Ok(arrived) => arrived,
                Err(error) => return (frames, Some(error.to_string())),
            };
            loop {
                match inbox.next() {
                    Ok(Some((frame, _))) => frames.push(format!("{frame:?}")),
                    Ok(None) => break,
                    Err(error) => return (frames, Some(error.to_string())),
                }
            }
        }
    }
    (frames, None)
}

/// Lets a connection's end whose buffers the peer knows take in what `input` says of them. Gives
/// how many values were received.
pub fn lend_and_borrow(lent: &[Encoded], input: &[u8]) -> usize {
    let (mut lending, mut outbox, mut received) = (Lending::default(), Outbox::default(), 0);
    for value in lent {
        if let Ok(payload) = Payload::new(value.clone()) {
            lending.lend(&payload, &mut outbox);
        }
    }
    let mut position = 0;
    while let Ok(Some((frame, len))) = Frame::decode(&input[position..]) {
        position += len;
        let values = match &frame {
            Frame::Start { options, initial } => vec![options, initial],
            Frame::Call { args: value, .. } | Frame::Reply { value, .. } => vec![value],
            Frame::Forget { id } => {
                lending.forget(*id);
                continue;
            }
            Frame::Release { id } => {
                // An error ends the connection; here the next frame is tried.
                let _ = lending.take_back(*id);
                continue;
            }
            _ => continue,
        };
        received += values.into_iter().filter(|value| lending.borrow(value).is_ok()).count();
        lending.push_returns(&mut outbox);
    }
    received
}

/// Whether `value` tells a worker what to run.
pub fn is_assignment(value: &Encoded) -> bool {
    codec::decode::<Assignment>(value).is_ok()
}
