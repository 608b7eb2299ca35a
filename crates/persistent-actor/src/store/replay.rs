//! From the bytes of a journal segment to its records, and where it ends.

use super::frame::{Framing, Kind, SECTOR, has_mark};
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
pub(crate) fn replay(
    bytes: &[u8],
    framing: &Framing,
    mut apply: impl FnMut(&Item<'_>) -> Result<(), Malformed>,
) -> Result<Extent, Damage> {
    let mut position = SECTOR;
    let mut last = None;
    loop {
        let Some(start) = start_of_next(bytes, position) else {
            let Some(last) = last else {
                return Err(damage(position, "the snapshot is missing"));
            };
            return find_end(bytes, position, framing, last);
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
            (Err(reason), Some(last)) if is_torn(bytes, position, framing, last + 1) => {
                let _ = reason;
                return Ok(Extent { end: position as u64, tail: Tail::Torn });
            }
            (Err(reason), _) => return Err(damage(start, reason)),
        }
    }
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
    if sequence.is_some_and(|sequence| sequence != header.sequence) {
        return Err("the record's sequence number does not follow the one before");
    }
    let payload = framing.payload(bytes, start, &header)?;
    let end = header.end(start).unwrap_or(bytes.len());
    Ok((end, (kind, header.sequence, payload)))
}

/// No record starts after `position`: all must be zero, except for the sectors of a long record
/// whose first sector was never written.
fn find_end(bytes: &[u8], position: usize, framing: &Framing, last: u64) -> Result<Extent, Damage> {
    let end = position as u64;
    if is_zero(&bytes[position..]) {
        return Ok(Extent { end, tail: Tail::Clean });
    }
    if is_torn(bytes, position, framing, last + 1) {
        return Ok(Extent { end, tail: Tail::Torn });
    }
    let zeros = bytes[position..].iter().take_while(|byte| **byte == 0).count();
    Err(damage(position + zeros, "there is something after the end of the journal"))
}

/// Whether what follows `position` is the long record `sequence` with at least one sector that
/// was never written, and nothing else.
fn is_torn(bytes: &[u8], position: usize, framing: &Framing, sequence: u64) -> bool {
    let start = position.next_multiple_of(SECTOR).min(bytes.len());
    if !is_zero(&bytes[position..start]) {
        return false;
    }
    let sectors = &bytes[start..];
    let mut missing = false;
    let mut end = sectors.len();
    if sectors.len() < SECTOR {
        return false;
    }
    if is_zero(&sectors[..SECTOR]) {
        missing = true;
    } else {
        let Ok(header) = framing.header(sectors) else { return false };
        let expected = header.kind == Kind::Commit as u32 && header.sequence == sequence;
        match header.end(0) {
            Some(len) if expected && header.is_long() && len <= sectors.len() => end = len,
            _ => return false,
        }
    }
    for sector in sectors[SECTOR..end].chunks_exact(SECTOR) {
        if is_zero(sector) {
            missing = true;
        } else if !has_mark(sector, sequence) {
            return false;
        }
    }
    missing && is_zero(&sectors[end..])
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
        let extent = replay(bytes, &FRAMING, |item| {
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
    fn no_flipped_byte_is_mistaken_for_a_torn_record() {
        let (bytes, _) = segment(&[30, 1700, 100, 2000]);
        assert_eq!(read(&bytes), Ok((14, Tail::Clean)));
        for place in SECTOR..bytes.len() {
            for value in [bytes[place] ^ 1, bytes[place] ^ 0x80, !bytes[place]] {
                let mut bytes = bytes.clone();
                bytes[place] = value;
                // Gaps between records may be the one exception, and they must be zero, too.
                assert!(read(&bytes).is_err(), "byte {place} became {value}");
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
