//! From the bytes of a journal segment to its records, and where it ends.

use super::frame::{
    Framing, HEADER, Kind, SECTOR, has_any_mark, has_mark, is_mark_only, lacks_end,
};
use super::layout::{Malformed, is_zero};

/// Damage in a segment: where and what.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) offset: u64,
    pub(crate) reason: String,
}

/// A record of a segment.
#[derive(Debug)]
pub(crate) struct Item<'a> {
    pub(crate) kind: Kind,
    pub(crate) sequence: u64,
    pub(crate) payload: &'a [u8],
}

/// How a journal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    /// After a whole record.
    Clean,
    /// With a torn record, which was never answered.
    Torn,
}

/// What was read of a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// Where the last whole record ends. Bytes.
    pub(crate) end: u64,
    pub(crate) tail: Tail,
}

/// Gives the snapshot and each commit of a segment to `apply`, in order, and finds its end.
///
/// `durable` is for a segment of which several commits may have been written and not synced when
/// the power failed: up to there it was durable, and beyond it any sectors may be missing.
pub(crate) fn replay(
    bytes: &[u8],
    framing: &Framing,
    durable: Option<u64>,
    mut apply: impl FnMut(&Item<'_>) -> Result<(), Malformed>,
) -> Result<Extent, Damage> {
    let mut position = SECTOR;
    let mut last = None;
    loop {
        let Some(start) = start_of_next(bytes, position) else {
            let Some(last) = last else {
                return Err(damage(position, "the snapshot is missing"));
            };
            return find_end(bytes, position, framing, durable, last);
        };
        let read = match last {
            None => read_record(bytes, start, framing, Kind::Snapshot, None),
            Some(last) => read_record(bytes, start, framing, Kind::Commit, Some(last + 1)),
        };
        match (read, last) {
            (Ok((end, item)), _) => {
                let item = Item { payload: &item.2, kind: item.0, sequence: item.1 };
                apply(&item).map_err(|Malformed(reason)| damage(start, reason))?;
                last = Some(item.sequence);
                position = end;
            }
            (Err(_), Some(last)) if ends_here(bytes, position, framing, durable, last + 1) => {
                return Ok(Extent { end: position as u64, tail: Tail::Torn });
            }
            (Err(reason), _) => return Err(damage(start, reason)),
        }
    }
}

/// The commit that follows number `last`, if it is whole, and where it ends: for a reader that
/// follows a writer. `bytes` starts at a sector.
pub(crate) fn next<'a>(
    bytes: &'a [u8],
    position: usize,
    framing: &Framing,
    last: u64,
) -> Option<(usize, std::borrow::Cow<'a, [u8]>)> {
    let start = start_of_next(bytes, position)?;
    let (end, parts) = read_record(bytes, start, framing, Kind::Commit, Some(last + 1)).ok()?;
    Some((end, parts.2))
}

fn damage(offset: usize, reason: impl Into<String>) -> Damage {
    Damage { offset: offset as u64, reason: reason.into() }
}

/// Where the next record starts: at `position`, or at the next sector if the rest of this one
/// is zero. `None` if there is nothing.
fn start_of_next(bytes: &[u8], position: usize) -> Option<usize> {
    let boundary = position.next_multiple_of(SECTOR);
    let rest = bytes.get(position..boundary.min(bytes.len()))?;
    if !is_zero(rest) {
        return Some(position);
    }
    let sector = bytes.get(boundary..boundary + SECTOR)?;
    (!is_zero(sector)).then_some(boundary)
}

type Parts<'a> = (Kind, u64, std::borrow::Cow<'a, [u8]>);

fn read_record<'a>(
    bytes: &'a [u8],
    start: usize,
    framing: &Framing,
    kind: Kind,
    sequence: Option<u64>,
) -> Result<(usize, Parts<'a>), &'static str> {
    let header = framing.header(&bytes[start..])?;
    if header.kind != kind as u32 {
        return Err("the record is not of the kind that belongs here");
    }
    if header.sequence == u64::MAX {
        return Err("no commit can follow the record's sequence number");
    }
    if sequence.is_some_and(|sequence| sequence != header.sequence) {
        return Err("the record's sequence number does not follow the one before");
    }
    let payload = framing.payload(bytes, start, &header)?;
    let end = header.end(start).unwrap_or(bytes.len());
    Ok((end, (kind, header.sequence, payload)))
}

/// No record starts after `position`: all must be zero, except for the sectors of a long record
/// whose first sector was never written.
fn find_end(
    bytes: &[u8],
    position: usize,
    framing: &Framing,
    durable: Option<u64>,
    last: u64,
) -> Result<Extent, Damage> {
    let end = position as u64;
    if let Some(durable) = durable.filter(|durable| end < *durable) {
        return Err(damage(
            position,
            format!("the journal ends here; it was durable to {durable}"),
        ));
    }
    if is_zero(&bytes[position..]) {
        return Ok(Extent { end, tail: Tail::Clean });
    }
    if ends_here(bytes, position, framing, durable, last + 1) {
        return Ok(Extent { end, tail: Tail::Torn });
    }
    let zeros = bytes[position..].iter().take_while(|byte| **byte == 0).count();
    Err(damage(position + zeros, "there is something after the end of the journal"))
}

/// Whether the journal may end at `position`, where no valid record stands.
fn ends_here(
    bytes: &[u8],
    position: usize,
    framing: &Framing,
    durable: Option<u64>,
    sequence: u64,
) -> bool {
    match durable {
        None => is_torn(bytes, position, framing, sequence),
        Some(durable) => {
            position as u64 >= durable
                && (is_torn(bytes, position, framing, sequence)
                    || is_lost(bytes, position, framing, sequence))
        }
    }
}

/// Whether the record `sequence`, which should stand at `position`, may have been lost because of
/// sectors that did not reach the disk, whatever reached it of those that follow.
fn is_lost(bytes: &[u8], position: usize, framing: &Framing, sequence: u64) -> bool {
    let boundary = position.next_multiple_of(SECTOR).min(bytes.len());
    if !is_zero(&bytes[position..boundary]) {
        return false;
    }
    let Some(sector) = bytes.get(boundary..boundary + SECTOR) else { return true };
    if is_zero(sector) {
        return true;
    }
    let Ok(header) = framing.header(sector) else {
        // A further sector of a long record that came later.
        return has_any_mark(sector);
    };
    if header.kind != Kind::Commit as u32 || header.sequence < sequence {
        return false;
    }
    if header.sequence > sequence {
        // There was room for it in the sector before.
        return position < boundary;
    }
    let record = header.end(0).and_then(|end| bytes[boundary..].get(..end));
    let missing = |record: &[u8]| {
        let further = record.chunks_exact(SECTOR).skip(1);
        let good = |sector: &[u8]| is_zero(sector) || has_mark(sector, sequence);
        further.clone().any(is_zero) && further.clone().all(good)
    };
    header.is_long() && record.is_some_and(missing)
}

/// Whether what follows `position` is the record `sequence`, not completely written, and nothing
/// else: a torn record was never answered.
fn is_torn(bytes: &[u8], position: usize, framing: &Framing, sequence: u64) -> bool {
    let boundary = position.next_multiple_of(SECTOR);
    let start = start_of_next(bytes, position).unwrap_or(boundary);
    let Some(record) = bytes.get(start..).filter(|record| record.len() >= HEADER) else {
        return false;
    };
    if start == boundary && is_zero(&record[..HEADER]) {
        // The first sector of a long record was never written.
        return sectors_fit(record, sequence);
    }
    let Ok(header) = framing.header(record) else {
        // The write broke off in the header.
        return is_zero(&record[HEADER..]);
    };
    let expected = header.kind == Kind::Commit as u32 && header.sequence == sequence;
    let Some(end) = header.end(0).filter(|end| expected && *end <= record.len()) else {
        return false;
    };
    let (record, rest) = record.split_at(end);
    if !is_zero(rest) {
        return false;
    }
    if !header.is_long() {
        return lacks_end(record);
    }
    let missing = lacks_end(record) || record.chunks_exact(SECTOR).any(is_zero);
    start == boundary && missing && sectors_fit(record, sequence)
}

/// Whether all sectors but the first may be those of the long record `sequence`, some of them
/// not written, or cut off in the mark.
fn sectors_fit(record: &[u8], sequence: u64) -> bool {
    let mut sectors = record.chunks_exact(SECTOR).skip(1);
    sectors.all(|sector| has_mark(sector, sequence) || is_mark_only(sector))
}

#[cfg(test)]
mod tests {
    use super::super::frame::{place, size_on_disk};
    use super::*;

    const FRAMING: Framing = Framing { seed: 9, epoch: 1, number: 1, verify: true };

    /// A segment with a snapshot of number 10 and commits with payloads of these lengths.
    fn segment(lengths: &[usize]) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = vec![0; 16 * SECTOR];
        let mut starts = Vec::new();
        let mut end = SECTOR as u64;
        let (mut buffer, mut sectors) = (Vec::new(), Vec::new());
        for (n, &len) in [20].iter().chain(lengths).enumerate() {
            let kind = if n == 0 { Kind::Snapshot } else { Kind::Commit };
            Framing::begin(&mut buffer);
            // Zeros: the hardest content, because it looks as if it had never been written.
            buffer.resize(buffer.len() + len, 0);
            let record = FRAMING.finish(kind, 10 + n as u64, &mut buffer, &mut sectors);
            let start = place(end, len);
            bytes[start as usize..][..record.len()].copy_from_slice(record);
            starts.push(start as usize);
            end = start + size_on_disk(len);
        }
        (bytes, starts)
    }

    fn read(bytes: &[u8]) -> Result<(u64, Tail), Damage> {
        let mut last = 0;
        let extent = replay(bytes, &FRAMING, None, |item| {
            last = item.sequence;
            Ok(())
        })?;
        Ok((last, extent.tail))
    }

    #[test]
    fn every_subset_of_the_sectors_of_a_long_record_is_torn_or_whole() {
        let (bytes, starts) = segment(&[30, 1700]);
        let start = starts[2];
        for present in 0..16 {
            let mut bytes = bytes.clone();
            for sector in 0..4 {
                if present & (1 << sector) == 0 {
                    bytes[start + sector * SECTOR..][..SECTOR].fill(0);
                }
            }
            let expected = match present {
                0 => (11, Tail::Clean),
                15 => (12, Tail::Clean),
                _ => (11, Tail::Torn),
            };
            assert_eq!(read(&bytes), Ok(expected), "sectors {present:04b}");
        }
    }

    #[test]
    fn the_highest_sequence_number_is_damage() {
        let mut bytes = vec![0; 4 * SECTOR];
        let (mut buffer, mut sectors) = (Vec::new(), Vec::new());
        Framing::begin(&mut buffer);
        let record = FRAMING.finish(Kind::Snapshot, u64::MAX, &mut buffer, &mut sectors);
        bytes[SECTOR..][..record.len()].copy_from_slice(record);
        let damage = read(&bytes).unwrap_err();
        assert_eq!(damage.offset, SECTOR as u64);
        assert!(damage.reason.contains("no commit can follow"), "{}", damage.reason);
    }

    #[test]
    fn a_record_cut_off_at_any_byte_is_torn() {
        for len in [0, 30, 464, 465, 1700] {
            let (bytes, starts) = segment(&[30, len]);
            let start = starts[2];
            let end = start + size_on_disk(len) as usize;
            for cut in start..end {
                let mut bytes = bytes.clone();
                bytes[cut..].fill(0);
                let (last, _) = read(&bytes).unwrap();
                // Only zeros, or the end mark, may have been cut off: then it is whole.
                let header = FRAMING.header(&bytes[start..]);
                let whole = header.and_then(|h| FRAMING.payload(&bytes, start, &h)).is_ok();
                assert_eq!(last, if whole { 12 } else { 11 }, "{len} bytes cut off at {cut}");
            }
        }
    }

    #[test]
    fn no_flipped_byte_is_mistaken_for_a_torn_record() {
        let (bytes, _) = segment(&[30, 1700, 100, 2000]);
        assert_eq!(read(&bytes), Ok((14, Tail::Clean)));
        for place in SECTOR..bytes.len() {
            for value in [bytes[place] ^ 1, bytes[place] ^ 0x80, !bytes[place]] {
                let mut bytes = bytes.clone();
                bytes[place] = value;
                // Behind the last record something may look like the start of the next.
                // An end mark does not matter to a record that is whole.
                let read = read(&bytes);
                let same = matches!(read, Ok((14, _)));
                assert!(read.is_err() || same, "byte {place} became {value}: {read:?}");
            }
        }
    }

    #[test]
    fn a_missing_record_in_the_middle_is_damage() {
        let (bytes, starts) = segment(&[1700, 1700]);
        let mut hole = bytes.clone();
        hole[starts[1]..starts[2]].fill(0);
        assert!(read(&hole).is_err());
        let mut torn = bytes;
        torn[starts[1] + SECTOR..][..SECTOR].fill(0);
        assert!(read(&torn).is_err(), "torn in the middle");
    }
}
