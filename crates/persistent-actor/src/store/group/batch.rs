//! What a group journal says: tables of members and batches of entries (`docs/format.md`,
//! section 8).

use std::collections::HashMap;

use super::Written;
use crate::store::layout::{Malformed, Put, Reader};
use crate::store::names::FileId;

/// Appends an entry to a batch.
pub(super) fn put_entry(batch: &mut Vec<u8>, member: u64, written: &Written<'_>) {
    batch.put_u64(member);
    batch.put_u32(written.number);
    batch.put_u64(written.offset);
    batch.put_u32(written.bytes.len() as u32);
    batch.extend_from_slice(written.bytes);
}

/// How far a member's segment is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) segment: FileId,
    pub(super) end: u64,
}

/// Appends the table with which a group journal begins.
pub(super) fn put_table<'a>(
    table: &mut Vec<u8>,
    needs_previous: bool,
    marks: impl ExactSizeIterator<Item = (u64, &'a Mark)>,
) {
    table.put_u8(u8::from(needs_previous));
    table.put_u32(marks.len() as u32);
    for (member, mark) in marks {
        table.put_u64(member);
        table.put_u32(mark.segment.number);
        table.put_u64(mark.end);
    }
}

/// Bytes of a member's segment, and that all before their end are durable.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) segment: u32,
    pub(super) offset: u64,
    pub(super) bytes: Vec<u8>,
}

/// The pieces of all members, oldest first.
pub(super) type Pieces = HashMap<u64, Vec<Piece>>;

/// Reads a table; says whether the group journal before this one is needed, too.
pub(super) fn read_table(payload: &[u8], pieces: &mut Pieces) -> Result<bool, Malformed> {
    let mut reader = Reader::new(payload);
    let needs_previous = match reader.u8()? {
        0 => false,
        1 => true,
        other => return Err(Malformed(format!("{other} is neither yes nor no"))),
    };
    for _ in 0..reader.count(20)? {
        let member = reader.u64()?;
        let (segment, offset) = (reader.u32()?, reader.u64()?);
        pieces.entry(member).or_default().push(Piece { segment, offset, bytes: Vec::new() });
    }
    reader.finish()?;
    Ok(needs_previous)
}

/// Reads a batch.
pub(super) fn read_batch(payload: &[u8], pieces: &mut Pieces) -> Result<(), Malformed> {
    let mut reader = Reader::new(payload);
    while !reader.is_empty() {
        let member = reader.u64()?;
        let (segment, offset) = (reader.u32()?, reader.u64()?);
        let len = reader.u32()? as usize;
        let bytes = reader.take(len)?.to_vec();
        pieces.entry(member).or_default().push(Piece { segment, offset, bytes });
    }
    Ok(())
}
