//! Ways into the decoders for the fuzz target `group`. Compiled with `--cfg fuzzing` only.

use super::batch::{self, Mark, Piece, Pieces};
use super::chain::Chain;
use super::{Member, Written};
use crate::store::names::FileId;

fn read(payload: &[u8], is_table: bool) -> Option<(bool, Pieces)> {
    let mut pieces = Pieces::new();
    let needs_previous = match is_table {
        true => batch::read_table(payload, &mut pieces).ok()?,
        false => batch::read_batch(payload, &mut pieces).map(|()| false).ok()?,
    };
    Some((needs_previous, pieces))
}

/// Reads a table or a batch, encodes what was read and reads that; says whether it is the same, or
/// `None` if the payload is malformed.
pub(crate) fn reads_back(payload: &[u8], is_table: bool) -> Option<bool> {
    let (needs_previous, pieces) = read(payload, is_table)?;
    let all = || pieces.iter().flat_map(|(member, of_one)| of_one.iter().map(|one| (*member, one)));
    let mut again = Vec::new();
    if is_table {
        let mark = |piece: &Piece| {
            let segment = FileId { epoch: 1, number: piece.segment };
            Mark { segment, end: piece.offset }
        };
        let marks: Vec<(u64, Mark)> = all().map(|(member, one)| (member, mark(one))).collect();
        let marks = marks.iter().map(|(member, mark)| (*member, mark));
        batch::put_table(&mut again, needs_previous, marks);
    } else {
        for (member, &Piece { segment: number, offset, ref bytes }) in all() {
            let written = Written { epoch: 1, number, offset, bytes };
            batch::put_entry(&mut again, member, &written);
        }
    }
    Some(read(&again, is_table) == Some((needs_previous, pieces)))
}

/// Puts each member's entries of a batch into a segment like this one: what becomes of it and up to
/// where it is durable, for each member whose entries fit; `None` if the payload is malformed.
pub(crate) fn redo(payload: &[u8], segment: &[u8]) -> Option<Vec<(Vec<u8>, Option<u64>)>> {
    let (_, pieces) = read(payload, false)?;
    let members: Vec<u64> = pieces.keys().copied().collect();
    let chain = Chain::of(1, pieces);
    let mut redone = Vec::new();
    for number in members {
        let mut bytes = segment.to_vec();
        if let Ok(durable) = chain.redo(Member { run: 1, number }, 1, &mut bytes) {
            redone.push((bytes, durable));
        }
    }
    Some(redone)
}
