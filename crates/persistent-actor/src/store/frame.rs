//! Records on disk: headers, checksums, and how they lie in sectors (`docs/format.md`, section 3).

use std::borrow::Cow;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::layout::{is_zero, u32_at, u64_at};

/// What a disk writes whole or not at all. Bytes.
pub(crate) const SECTOR: usize = 512;
/// The record header. Bytes.
pub(crate) const HEADER: usize = 40;
/// The largest payload. Bytes.
pub(crate) const MAX_PAYLOAD: u64 = (1 << 31) - 1;

const MARK: usize = 8;
const MARK_MAGIC: u32 = 0x6b72_616d;
const END: usize = 8;
const END_MAGIC: u32 = 0x656e_6f64;
const FIRST_PART: usize = SECTOR - HEADER;
const NEXT_PART: usize = SECTOR - MARK;
const ALIGN: usize = 8;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Snapshot = 1,
    Commit = 2,
}

/// Whose records these are: what every header of a segment repeats.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Framing {
    pub(crate) seed: u64,
    pub(crate) epoch: u64,
    pub(crate) number: u32,
    /// Whether checksums are compared; only tests of the tests say no.
    pub(crate) verify: bool,
}

/// The valid header of a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) kind: u32,
    pub(crate) sequence: u64,
    len: usize,
    check: u64,
}

/// The space that a record with a payload of `len` bytes takes, from its start.
pub(crate) fn size_on_disk(len: usize) -> u64 {
    if is_short(len) {
        return ((HEADER + len).next_multiple_of(ALIGN) + END) as u64;
    }
    let more = (len + END - FIRST_PART).div_ceil(NEXT_PART);
    ((1 + more) * SECTOR) as u64
}

/// Where a record with a payload of `len` bytes lies if the one before ends at `end`.
pub(crate) fn place(end: u64, len: usize) -> u64 {
    let sector = SECTOR as u64;
    let room = sector - end % sector;
    let fits = is_short(len) && size_on_disk(len) <= room;
    if fits { end } else { end.next_multiple_of(sector) }
}

pub(crate) fn is_short(len: usize) -> bool {
    HEADER + len + END <= SECTOR
}

impl Framing {
    /// Puts room for a header into an empty buffer; the payload follows.
    pub(crate) fn begin(buffer: &mut Vec<u8>) {
        buffer.clear();
        buffer.resize(HEADER, 0);
    }

    /// Makes a buffer from [`Framing::begin`] plus payload into what is written to the disk.
    /// Long records are put together in `sectors`.
    pub(crate) fn finish<'a>(
        &self,
        kind: Kind,
        sequence: u64,
        buffer: &'a mut Vec<u8>,
        sectors: &'a mut Vec<u8>,
    ) -> &'a [u8] {
        let (header, payload) = buffer.split_at_mut(HEADER);
        header[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        header[8..16].copy_from_slice(&self.epoch.to_le_bytes());
        header[16..24].copy_from_slice(&sequence.to_le_bytes());
        header[24..28].copy_from_slice(&(kind as u32).to_le_bytes());
        header[28..32].copy_from_slice(&self.number.to_le_bytes());
        let check = xxh3_64_with_seed(payload, self.seed);
        header[32..40].copy_from_slice(&check.to_le_bytes());
        let check = xxh3_64_with_seed(&header[4..], self.seed) as u32;
        header[..4].copy_from_slice(&check.to_le_bytes());
        if is_short(payload.len()) {
            buffer.resize(buffer.len().next_multiple_of(ALIGN), 0);
            buffer.extend_from_slice(&mark(END_MAGIC, sequence));
            return buffer;
        }
        fill_sectors(buffer, sequence, sectors);
        sectors
    }

    /// The header at the start of `bytes`, or what is wrong with it.
    pub(crate) fn header(&self, bytes: &[u8]) -> Result<Header, &'static str> {
        let Some(header) = bytes.get(..HEADER) else { return Err("the record header is cut off") };
        let check = xxh3_64_with_seed(&header[4..], self.seed) as u32;
        if self.verify && check != u32_at(header, 0) {
            return Err("the checksum of the record header is wrong");
        }
        if u64_at(header, 8) != self.epoch || u32_at(header, 28) != self.number {
            return Err("the record belongs to another journal");
        }
        Ok(Header {
            kind: u32_at(header, 24),
            sequence: u64_at(header, 16),
            len: u32_at(header, 4) as usize,
            check: u64_at(header, 32),
        })
    }

    /// The payload of the record that starts at `bytes[start]`.
    pub(crate) fn payload<'a>(
        &self,
        bytes: &'a [u8],
        start: usize,
        header: &Header,
    ) -> Result<Cow<'a, [u8]>, &'static str> {
        let end = header.end(start).filter(|end| *end <= bytes.len());
        let Some(end) = end else { return Err("the record is longer than the file") };
        let payload = if is_short(header.len) {
            if start % SECTOR + (end - start) > SECTOR {
                return Err("a short record crosses a sector");
            }
            let (payload, padding) = bytes[start + HEADER..end - END].split_at(header.len);
            if !is_zero(padding) {
                return Err("a record is not filled up with zeros");
            }
            Cow::Borrowed(payload)
        } else if !start.is_multiple_of(SECTOR) {
            return Err("a long record does not start at a sector");
        } else {
            Cow::Owned(gather(&bytes[start..end], header)?)
        };
        if self.verify && xxh3_64_with_seed(&payload, self.seed) != header.check {
            return Err("the checksum of the record is wrong");
        }
        Ok(payload)
    }
}

impl Header {
    /// Where the record ends if it starts at `start`.
    pub(crate) fn end(&self, start: usize) -> Option<usize> {
        start.checked_add(usize::try_from(size_on_disk(self.len)).ok()?)
    }

    pub(crate) fn is_long(&self) -> bool {
        !is_short(self.len)
    }
}

/// Lays a long record out in sectors, each but the first with a mark, and an end mark.
fn fill_sectors(record: &[u8], sequence: u64, sectors: &mut Vec<u8>) {
    let size = size_on_disk(record.len() - HEADER) as usize;
    sectors.clear();
    sectors.resize(size, 0);
    let (first, mut rest) = record.split_at(record.len().min(SECTOR));
    sectors[..first.len()].copy_from_slice(first);
    for sector in sectors[SECTOR..].chunks_exact_mut(SECTOR) {
        let (part, later) = rest.split_at(rest.len().min(NEXT_PART));
        sector[..MARK].copy_from_slice(&mark(MARK_MAGIC, sequence));
        sector[MARK..][..part.len()].copy_from_slice(part);
        rest = later;
    }
    sectors[size - END..].copy_from_slice(&mark(END_MAGIC, sequence));
}

/// A magic number and the low half of a sequence number.
fn mark(magic: u32, sequence: u64) -> [u8; MARK] {
    (u64::from(magic) | sequence << 32).to_le_bytes()
}

/// Takes the payload of a long record out of its sectors.
fn gather(sectors: &[u8], header: &Header) -> Result<Vec<u8>, &'static str> {
    let mut payload = Vec::new();
    if payload.try_reserve_exact(header.len).is_err() {
        return Err("the record does not fit into memory");
    }
    let (first, rest) = sectors[HEADER..sectors.len() - END].split_at(FIRST_PART);
    payload.extend_from_slice(&first[..header.len.min(FIRST_PART)]);
    // The last part is shorter by the end mark.
    for sector in rest.chunks(SECTOR) {
        if !has_mark(sector, header.sequence) {
            return Err("a sector of a long record is not marked as such");
        }
        let (part, padding) =
            sector[MARK..].split_at((header.len - payload.len()).min(sector.len() - MARK));
        payload.extend_from_slice(part);
        if !is_zero(padding) {
            return Err("the end of a long record is not filled up with zeros");
        }
    }
    Ok(payload)
}

/// Whether the end mark of a record was not written; a single damaged byte does not look like
/// that. A record whose checksums are right is whole, whatever its end mark is.
pub(crate) fn lacks_end(record: &[u8]) -> bool {
    is_zero(&record[record.len() - END..])
}

/// Whether nothing follows the mark of a sector.
pub(crate) fn is_mark_only(sector: &[u8]) -> bool {
    is_zero(&sector[MARK..])
}

/// Whether a sector is a further sector of the long record with this number.
pub(crate) fn has_mark(sector: &[u8], sequence: u64) -> bool {
    sector.starts_with(&mark(MARK_MAGIC, sequence))
}

/// Whether a sector is a further sector of some long record.
pub(crate) fn has_any_mark(sector: &[u8]) -> bool {
    u32_at(sector, 0) == MARK_MAGIC
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAMING: Framing = Framing { seed: 1, epoch: 2, number: 3, verify: true };

    fn record(len: usize) -> Vec<u8> {
        let (mut buffer, mut sectors) = (Vec::new(), Vec::new());
        Framing::begin(&mut buffer);
        buffer.extend((0..len).map(|n| n as u8));
        FRAMING.finish(Kind::Commit, 7, &mut buffer, &mut sectors).to_vec()
    }

    #[test]
    fn a_record_of_any_length_reads_back() {
        for len in [0, 1, 463, 464, 465, 471, 472, 473, 967, 968, 969, 976, 977, 5000] {
            let bytes = record(len);
            assert_eq!(bytes.len() as u64, size_on_disk(len));
            let header = FRAMING.header(&bytes).unwrap();
            assert_eq!(header.sequence, 7);
            assert_eq!(header.end(0), Some(bytes.len()));
            let payload = FRAMING.payload(&bytes, 0, &header).unwrap();
            assert!(payload.iter().copied().eq((0..len).map(|n| n as u8)), "{len}");
        }
    }

    #[test]
    fn short_records_never_cross_a_sector() {
        for end in (512..1536).step_by(8) {
            for len in 0..=464 {
                let start = place(end, len);
                let last = start + size_on_disk(len) - 1;
                assert_eq!(start / 512, last / 512, "{len} bytes at {start}");
            }
        }
    }

    #[test]
    fn any_flipped_byte_of_a_long_record_is_noticed() {
        let good = record(2000);
        for place in 0..good.len() {
            let mut bytes = good.clone();
            bytes[place] ^= 0x10;
            let read =
                FRAMING.header(&bytes).and_then(|h| FRAMING.payload(&bytes, 0, &h).map(drop));
            // What stands in the end mark does not matter to a record that is whole.
            assert!(read.is_err() || place >= good.len() - END, "byte {place}");
        }
    }
}
