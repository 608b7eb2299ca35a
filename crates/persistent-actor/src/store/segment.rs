//! The journal segment that is being written, and the spare that will follow it.

use super::disk::{Disk, DiskFile};
use super::failure::Failure;
use super::frame::{self, Framing, Kind, SECTOR};
use super::group::Member;
use super::layout::{Put, u32_at, u64_at, u128_at};
use super::mapped::MappedFile;
use super::names::{FileId, FileName};
use xxhash_rust::xxh3::xxh3_64;

/// The version of a segment whose header says that it needs a group journal.
pub(crate) const GROUPED_VERSION: u32 = 3;
/// Where the checksum of the header lies, in either version.
const CHECK_AT: usize = 56;
const GROUPED_CHECK_AT: usize = 88;
/// The flag of [`SegmentHeader::synced`].
const SYNCED: u64 = 1;
/// The flag of [`SegmentHeader::grouped`].
const GROUPED: u64 = 2;

/// How large segments are at least. Bytes, multiples of a sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// The first segment of an incarnation: small, so that opening is quick.
    pub(crate) first: u64,
    /// The largest of the others: each is four times as large as the one before, so that many
    /// actors that make few calls each do not fill the disk with zeros.
    pub(crate) later: u64,
    /// How much of a spare is zeroed at a time; capacities of all but the first are multiples of
    /// it.
    pub(crate) step: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { first: 16 * 1024, later: 1024 * 1024, step: 64 * 1024 }
    }
}

impl Sizes {
    /// The capacity of a segment for a snapshot with a payload of `snapshot` bytes and, after
    /// it, a record with one of `record`.
    pub(crate) fn capacity(&self, number: u32, snapshot: usize, record: usize) -> u64 {
        let (snapshot, record) = (frame::size_on_disk(snapshot), frame::size_on_disk(record));
        let (least, room, unit) = match number {
            1 => (self.first, self.first.min(self.step) / 4, self.first.min(self.step)),
            _ => {
                let larger = self.first.saturating_mul(1 << (2 * (number - 1)).min(32));
                (larger.min(self.later), snapshot, self.step)
            }
        };
        least.max((SECTOR as u64 + snapshot + record + room).next_multiple_of(unit))
    }
}

/// Whose journal a segment is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Of one state.
    State,
    /// Of the commits of many states: a group journal.
    Group,
}

impl Purpose {
    fn magic(self) -> &'static [u8; 8] {
        match self {
            Self::State => b"PAjournl",
            Self::Group => b"PAgroupj",
        }
    }
}

/// Says that records of a segment may be durable through a group journal only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grouped {
    pub(crate) member: Member,
    /// Up to here all was durable when this was noted.
    pub(crate) end: u64,
}

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) purpose: Purpose,
    pub(crate) state_id: u128,
    pub(crate) id: FileId,
    pub(crate) capacity: u64,
    /// Written at level `power`: all that it refers to is synced.
    pub(crate) synced: bool,
    pub(crate) grouped: Option<Grouped>,
    /// `grouped`, which named this member, was taken out, and whether that is synced is not known.
    pub(crate) left: Option<Member>,
}

/// Why a segment header is not one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeaderError {
    Damaged(&'static str),
    Newer(u32),
}

impl SegmentHeader {
    /// The header, in a sector of its own.
    fn encode(&self) -> Vec<u8> {
        let mut sector = Vec::with_capacity(SECTOR);
        sector.extend_from_slice(self.purpose.magic());
        let member = self.member();
        sector.put_u32(if member.is_some() { GROUPED_VERSION } else { super::FORMAT_VERSION });
        sector.put_u32(self.id.number);
        sector.put_u128(self.state_id);
        sector.put_u64(self.id.epoch);
        sector.put_u64(self.capacity);
        let grouped = if self.grouped.is_some() { GROUPED } else { 0 };
        sector.put_u64(grouped | if self.synced { SYNCED } else { 0 });
        if let Some(member) = member {
            sector.put_u128(member.run);
            sector.put_u64(member.number);
            sector.put_u64(self.grouped.map_or(0, |grouped| grouped.end));
        }
        let check = xxh3_64(&sector);
        sector.put_u64(check);
        sector.resize(SECTOR, 0);
        sector
    }

    /// The member of a group that it names, or that it named before this was taken out.
    pub(crate) fn member(&self) -> Option<Member> {
        self.grouped.map(|grouped| grouped.member).or(self.left)
    }

    fn write(&self, file: &DiskFile) -> Result<(), Failure> {
        file.write_at(&self.encode(), 0)
    }

    /// Writes it without the note of a group, and notes that this may not be synced.
    fn write_left(&mut self, file: &DiskFile) -> Result<(), Failure> {
        (self.left, self.grouped) = (self.member(), None);
        self.write(file)
    }

    /// The same, durably; whatever was lost by a sync that failed before. Then the other note may
    /// go, too, and need not be gone durably.
    pub(crate) fn write_left_for_good(
        &mut self,
        file: &DiskFile,
        disk: &Disk,
    ) -> Result<(), Failure> {
        self.write_left(file)?;
        disk.sync(file)?;
        self.left = None;
        self.write(file)
    }

    /// Reads the header of a segment of whose file these are the bytes.
    pub(crate) fn decode(
        purpose: Purpose,
        bytes: &[u8],
        verify: bool,
    ) -> Result<Self, HeaderError> {
        let Some(sector) = bytes.get(..SECTOR) else {
            return Err(HeaderError::Damaged("the file is shorter than its header"));
        };
        if &sector[..8] != purpose.magic() {
            return Err(HeaderError::Damaged("the file does not start like a journal"));
        }
        let version = u32_at(sector, 8);
        let (check_at, known) = match version {
            GROUPED_VERSION => (GROUPED_CHECK_AT, SYNCED | GROUPED),
            newer if newer > GROUPED_VERSION => return Err(HeaderError::Newer(newer)),
            _ => (CHECK_AT, SYNCED),
        };
        let good = xxh3_64(&sector[..check_at]) == u64_at(sector, check_at)
            && super::layout::is_zero(&sector[check_at + 8..]);
        if verify && (!good || version == 0) {
            return Err(HeaderError::Damaged("the checksum of the journal header is wrong"));
        }
        let flags = u64_at(sector, 48);
        if verify && flags & !known != 0 {
            return Err(HeaderError::Damaged("the journal header has unknown flags"));
        }
        let has_member = version == GROUPED_VERSION;
        let is_grouped = flags & GROUPED != 0;
        let member = Member { run: u128_at(sector, 56), number: u64_at(sector, 72) };
        Ok(Self {
            purpose,
            state_id: u128_at(sector, 16),
            id: FileId { epoch: u64_at(sector, 32), number: u32_at(sector, 12) },
            capacity: u64_at(sector, 40),
            synced: flags & SYNCED != 0,
            left: (has_member && !is_grouped).then_some(member),
            grouped: (has_member && is_grouped)
                .then(|| Grouped { member, end: u64_at(sector, 80) }),
        })
    }

    /// How the records of the segment are marked.
    pub(crate) fn framing(&self, verify: bool) -> Framing {
        let Self { state_id, id, .. } = *self;
        Framing { seed: state_id as u64, epoch: id.epoch, number: id.number, verify }
    }
}

/// The segment that commits go to.
pub(crate) struct Segment {
    file: DiskFile,
    header: SegmentHeader,
    /// The file as memory, for short records that are not synced one by one.
    mapped: Option<MappedFile>,
    framing: Framing,
    /// Where the commits start: behind the snapshot.
    start: u64,
    end: u64,
    /// Up to here all is synced.
    synced_to: u64,
}

/// A record as it was written.
pub(crate) struct Appended {
    /// Where, in bytes from the start of the segment.
    pub(crate) offset: u64,
    /// What was written is in the buffer for long records.
    pub(crate) is_long: bool,
}

impl Segment {
    /// Whether a record with a payload of `len` bytes still fits.
    pub(crate) fn fits(&self, len: usize) -> bool {
        frame::place(self.end, len) + frame::size_on_disk(len) <= self.header.capacity
    }

    /// Writes the record whose payload (after room for the header) is in `buffer`.
    pub(crate) fn append(
        &mut self,
        kind: Kind,
        sequence: u64,
        buffer: &mut Vec<u8>,
        sectors: &mut Vec<u8>,
    ) -> Result<Appended, Failure> {
        let len = buffer.len() - frame::HEADER;
        let offset = frame::place(self.end, len);
        let bytes = self.framing.finish(kind, sequence, buffer, sectors);
        let through_memory =
            |mapped: &MappedFile| bytes.len() <= SECTOR && mapped.write(bytes, offset);
        if !self.mapped.as_ref().is_some_and(through_memory) {
            self.file.write_at(bytes, offset)?;
        }
        self.end = offset + frame::size_on_disk(len);
        Ok(Appended { offset, is_long: !frame::is_short(len) })
    }

    pub(crate) fn sync(&mut self, disk: &Disk) -> Result<(), Failure> {
        disk.sync(&self.file)?;
        self.synced_to = self.end;
        Ok(())
    }

    /// Whether there are records that were not synced.
    pub(crate) fn is_ahead(&self) -> bool {
        self.synced_to < self.end
    }

    pub(crate) fn id(&self) -> FileId {
        self.header.id
    }

    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Whether the header says that records may be durable through a group journal only.
    pub(crate) fn is_grouped(&self) -> bool {
        self.header.grouped.is_some()
    }

    /// Notes durably that from now on records may be durable through the group journal only.
    pub(crate) fn enter_group(&mut self, disk: &Disk, member: Member) -> Result<(), Failure> {
        if self.header.grouped.is_some_and(|grouped| grouped.member == member) {
            return Ok(());
        }
        // The header must not say that something is durable before it is.
        if self.is_ahead() {
            self.sync(disk)?;
        }
        self.header.grouped = Some(Grouped { member, end: self.end });
        self.header.left = None;
        self.header.write(&self.file)?;
        self.sync(disk)?;
        self.mapped = self.file.map_in_place(self.header.capacity);
        Ok(())
    }

    /// From now on records are synced one by one: syncing a file that is written through memory
    /// takes three times as long.
    pub(crate) fn unmap(&mut self) {
        self.mapped = None;
    }

    /// Takes that note back; all records are synced. That it is gone is not synced: a note that
    /// is no longer needed does no harm as long as the group journal is there.
    pub(crate) fn leave_group(&mut self) -> Result<(), Failure> {
        debug_assert!(!self.is_ahead(), "what is not synced still needs the group journal");
        self.header.write_left(&self.file)
    }

    /// The same, synced, so that the group journal may go.
    pub(crate) fn leave_group_for_good(&mut self, disk: &Disk) -> Result<(), Failure> {
        if self.is_grouped() {
            // What is not synced is needed with the note.
            self.sync(disk)?;
        }
        if self.header.member().is_some() {
            self.header.write_left_for_good(&self.file, disk)?;
        }
        Ok(())
    }

    /// How full the room for commits is, in quarters.
    pub(crate) fn quarters(&self) -> u64 {
        (self.end - self.start) * 4 / (self.header.capacity - self.start).max(1)
    }

    /// Whether its file is worth using again where `capacity` is needed: it can grow, but not
    /// shrink. To make a new file and remove this one costs more than all that is written to it.
    pub(crate) fn is_reusable(&self, capacity: u64) -> bool {
        self.header.capacity <= 2 * capacity
    }

    pub(crate) fn name(&self) -> FileName {
        self.file.name
    }

    /// Makes the file a spare, to be zeroed and used again.
    pub(crate) fn retire(mut self, disk: &Disk) -> Result<Spare, Failure> {
        let FileName::Journal(id) = self.file.name else {
            unreachable!("a segment has the name of a journal")
        };
        disk.rename(&mut self.file, FileName::Temporary(id))?;
        let len = self.header.capacity;
        Ok(Spare { file: self.file, len, dirty: 0..self.end, synced: false })
    }
}

/// A file that will be the next segment: zeros, written ahead so that a commit changes no
/// metadata.
pub(crate) struct Spare {
    file: DiskFile,
    /// The length of the file.
    len: u64,
    /// What is not zero yet.
    dirty: std::ops::Range<u64>,
    synced: bool,
}

/// How much is zeroed by one write when there is no time left. Bytes.
const AT_ONCE: u64 = 1024 * 1024;

impl Spare {
    pub(crate) fn create(disk: &Disk, id: FileId) -> Result<Self, Failure> {
        let file = disk.create(FileName::Temporary(id))?;
        Ok(Self { file, len: 0, dirty: 0..0, synced: false })
    }

    /// Whether it is zeros from end to end and large enough, and, if that is asked, synced.
    pub(crate) fn is_ready(&self, capacity: u64, synced: bool) -> bool {
        self.dirty.is_empty() && self.len >= capacity && (self.synced || !synced)
    }

    /// Brings it one step nearer to readiness; for the pauses between calls. With `synced`, every
    /// step is synced, so that none takes long, and the last one neither, which makes it a
    /// segment; else that one syncs all.
    pub(crate) fn step(
        &mut self,
        disk: &Disk,
        capacity: u64,
        step: u64,
        synced: bool,
    ) -> Result<(), Failure> {
        self.write_zeros(capacity, step)?;
        if synced {
            disk.sync(&self.file)?;
        }
        self.synced = synced && self.is_ready(capacity, false);
        Ok(())
    }

    fn write_zeros(&mut self, capacity: u64, at_most: u64) -> Result<(), Failure> {
        let range = match self.dirty.is_empty() {
            false => self.dirty.start..self.dirty.end.min(self.dirty.start + at_most),
            true => self.len..capacity.min(self.len.saturating_add(at_most)),
        };
        if range.is_empty() {
            return Ok(());
        }
        let zeros = vec![0; (range.end - range.start) as usize];
        self.file.write_at(&zeros, range.start)?;
        if self.dirty.is_empty() {
            self.len = range.end;
        } else {
            self.dirty.start = range.end;
        }
        Ok(())
    }

    /// Makes it a journal, beginning with the snapshot whose payload (after room for the
    /// header) is in `buffer`. When this returns, the journal has its name, for good, and so has
    /// the directory if `is_in_new`. What the header says of its capacity is the least; with a
    /// member of a group it starts in that.
    pub(crate) fn into_segment(
        mut self,
        disk: &Disk,
        mut header: SegmentHeader,
        sequence: u64,
        buffer: &mut Vec<u8>,
        is_in_new: bool,
    ) -> Result<Segment, Failure> {
        let is_new = self.len == 0 && header.capacity <= AT_ONCE;
        while !is_new && (!self.dirty.is_empty() || self.len < header.capacity) {
            self.write_zeros(header.capacity, AT_ONCE)?;
        }
        let capacity = self.len.max(header.capacity);
        (header.capacity, header.synced) = (capacity, disk.is_synced());
        let framing = header.framing(true);
        let (snapshot_len, mut sectors) = (buffer.len() - frame::HEADER, Vec::new());
        let snapshot = framing.finish(Kind::Snapshot, sequence, buffer, &mut sectors);
        let start = SECTOR as u64 + frame::size_on_disk(snapshot_len);
        if let Some(grouped) = &mut header.grouped {
            grouped.end = start;
        }
        let mut head = header.encode();
        head.extend_from_slice(snapshot);
        if is_new {
            // All of a small file at once.
            head.resize(head.len().max(capacity as usize), 0);
        }
        self.file.write_at(&head, 0)?;
        let mapped = match (disk.is_synced(), header.grouped) {
            (false, _) => self.file.map(capacity),
            (true, Some(_)) => self.file.map_in_place(capacity),
            // Syncing a file that is written through memory takes three times as long.
            (true, None) => None,
        };
        let file = self.file;
        let mut segment =
            Segment { file, header, mapped, framing, start, end: start, synced_to: 0 };
        segment.sync(disk)?;
        disk.rename(&mut segment.file, FileName::Journal(header.id))?;
        if is_in_new {
            // Many are made in one directory at a time. On file systems with one log the sync of
            // that waits for all of them, and leaves nothing to the next.
            disk.sync_own_name()?;
        }
        disk.sync_names()?;
        Ok(segment)
    }
}
