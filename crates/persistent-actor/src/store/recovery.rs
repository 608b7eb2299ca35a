//! From the files of a state to what is committed. Reads only.

use std::collections::{HashMap, HashSet};

use super::View;
use super::disk::{Disk, Listing};
use super::failure::ReadError;
use super::frame::{Kind, SECTOR};
use super::hole::Zeros;
use super::identity;
use super::layout::Malformed;
use super::names::{FileId, FileName};
use super::payload::{self, Contents, Inline, Place, SlotRef};
use super::replay::{self, Damage, Extent};
use super::segment::{HeaderError, SegmentHeader};
use super::slots::{Content, SlotReader, Slots};
use crate::bytes::{Bytes, BytesId};
use crate::codec::Encoded;
use crate::ledger::LedgerLimits;

/// What a directory holds, by its names alone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Survey {
    /// No state, and nothing else.
    Nothing,
    /// A state whose newest journal is this one.
    State(FileId),
    /// No state, but a file with this name.
    Foreign(String),
}

/// A state as it was read.
pub(crate) struct Recovered {
    pub(crate) view: View,
    pub(crate) header: SegmentHeader,
    /// The slots that the view needs, to be taken over.
    pub(crate) slots: Slots,
}

/// Tells what a directory holds.
pub(crate) fn survey(listing: Listing) -> Result<Survey, ReadError> {
    let journals = listing.names.iter().filter_map(|name| match name {
        FileName::Journal(id) => Some(*id),
        _ => None,
    });
    if let Some(newest) = journals.max() {
        return Ok(Survey::State(newest));
    }
    let part = |name: &&FileName| matches!(name, FileName::Identity | FileName::Slot(_));
    if let Some(name) = listing.names.iter().find(part) {
        return Err(ReadError::damaged(*name, 0, "the journal that belongs to it is missing"));
    }
    Ok(listing.foreign.map_or(Survey::Nothing, Survey::Foreign))
}

/// Reads the header of a journal.
pub(crate) fn read_header(
    disk: &Disk,
    id: FileId,
    verify: bool,
) -> Result<SegmentHeader, ReadError> {
    let file = disk.open(FileName::Journal(id))?;
    let mut sector = vec![0; SECTOR.min(usize::try_from(file.size()?).unwrap_or(SECTOR))];
    file.read_at(&mut sector, 0)?;
    decode_header(id, &sector, verify)
}

pub(super) fn decode_header(
    id: FileId,
    bytes: &[u8],
    verify: bool,
) -> Result<SegmentHeader, ReadError> {
    let name = FileName::Journal(id);
    let header = SegmentHeader::decode(bytes, verify).map_err(|error| match error {
        HeaderError::Damaged(reason) => ReadError::damaged(name, 0, reason),
        HeaderError::Newer(found) => ReadError::Newer { name, found },
    })?;
    if header.id != id {
        return Err(ReadError::damaged(name, 0, "the journal was written under another name"));
    }
    Ok(header)
}

/// Reads the state whose newest journal is `head`.
pub(crate) fn read(
    disk: &Disk,
    head: FileId,
    has_identity: bool,
    verify: bool,
) -> Result<Recovered, ReadError> {
    let replayed = Replayed::read(disk, head, has_identity, verify)?;
    let Replayed { mut view, header, mut holes, .. } = replayed;
    let slots = holes.fill(&mut view)?;
    Ok(Recovered { view, header, slots })
}

/// A journal that was replayed; contents in slots are still to be read.
pub(crate) struct Replayed<'a> {
    view: View,
    limits: LedgerLimits,
    pub(crate) header: SegmentHeader,
    pub(crate) extent: Extent,
    holes: Holes<'a>,
}

impl<'a> Replayed<'a> {
    /// Replays the journal `head`, the newest of a state.
    pub(crate) fn read(
        disk: &'a Disk,
        head: FileId,
        has_identity: bool,
        verify: bool,
    ) -> Result<Self, ReadError> {
        let name = FileName::Journal(head);
        let bytes = read_all(disk, name)?;
        let header = decode_header(head, &bytes, verify)?;
        if header.capacity != bytes.len() as u64 || !bytes.len().is_multiple_of(SECTOR) {
            let reason =
                format!("the file should have {} bytes, it has {}", header.capacity, bytes.len());
            return Err(ReadError::damaged(name, bytes.len() as u64, reason));
        }
        if has_identity && identity::read(disk, verify)? != header.state_id {
            return Err(ReadError::damaged(name, 16, "the journal belongs to another state"));
        }
        let mut holes = Holes::new(disk, header.state_id, verify);
        let mut state = None;
        let extent = replay::replay(&bytes, &header.framing(verify), |item| {
            match (item.kind, &mut state) {
                (Kind::Snapshot, state) => {
                    *state = Some(payload::read_snapshot(item.payload, item.sequence, &mut holes)?);
                }
                (Kind::Commit, Some((view, limits))) => {
                    let record = payload::read_commit(item.payload, item.sequence, &mut holes)?;
                    View::apply(view, record, limits);
                }
                (Kind::Commit, None) => return Err(Malformed("there is no snapshot".to_owned())),
            }
            Ok(())
        });
        if let Some(error) = holes.error.take() {
            return Err(error);
        }
        let extent =
            extent.map_err(|Damage { offset, reason }| ReadError::damaged(name, offset, reason))?;
        let Some((view, limits)) = state else {
            return Err(ReadError::damaged(name, SECTOR as u64, "the snapshot is missing"));
        };
        Ok(Self { view, limits, header, extent, holes })
    }

    /// Takes over commits that were added to the journal since, as far as they are whole. Says
    /// whether there were any.
    pub(crate) fn catch_up(&mut self) -> Result<bool, ReadError> {
        const WINDOW: u64 = 256 * 1024;
        let file = self.holes.disk.open(FileName::Journal(self.header.id))?;
        let start = self.extent.end / SECTOR as u64 * SECTOR as u64;
        let mut bytes = vec![0; WINDOW.min(self.header.capacity - start) as usize];
        file.read_at(&mut bytes, start)?;
        let framing = self.header.framing(self.holes.verify);
        let mut position = (self.extent.end - start) as usize;
        while let Some((end, item)) = replay::next(&bytes, position, &framing, self.view.sequence) {
            let record = payload::read_commit(&item, self.view.sequence + 1, &mut self.holes);
            let Ok(record) = record else { break };
            self.view.apply(record, &self.limits);
            position = end;
        }
        let before = std::mem::replace(&mut self.extent.end, start + position as u64);
        match self.holes.error.take() {
            Some(error) => Err(error),
            None => Ok(self.extent.end > before),
        }
    }

    /// What is committed, with all contents. Those that were read by an earlier attempt are not
    /// read again.
    pub(crate) fn contents(&mut self) -> Result<View, ReadError> {
        // First of all: an actor may be about to write these slots anew.
        self.holes.load_needed(&self.view)?;
        let mut view = self.view.clone();
        self.holes.fill(&mut view)?;
        Ok(view)
    }
}

/// Reads a whole file.
pub(crate) fn read_all(disk: &Disk, name: FileName) -> Result<Vec<u8>, ReadError> {
    let file = disk.open(name)?;
    let too_large = || ReadError::damaged(name, 0, "the file does not fit into memory");
    let size = usize::try_from(file.size()?).map_err(|_| too_large())?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(size).map_err(|_| too_large())?;
    bytes.resize(size, 0);
    file.read_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Stands for contents in slots while the journal is replayed: many of them are superseded
/// before its end, and their slots hold something else by now. What is left at the end is read.
struct Holes<'a> {
    disk: &'a Disk,
    state_id: u128,
    verify: bool,
    /// How long a content each slot has room for.
    rooms: HashMap<FileId, u64>,
    zeros: Zeros,
    by_reference: HashMap<(SlotRef, Is), Bytes>,
    by_id: HashMap<BytesId, (SlotRef, Is)>,
    /// Contents that were read.
    loaded: HashMap<SlotRef, Bytes>,
    error: Option<ReadError>,
}

/// What a hole stands for.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Is {
    Blob,
    /// The CBOR of its value; the hole is the last of the value's blobs, so that the size of the
    /// value is right.
    Inline,
}

impl<'a> Holes<'a> {
    fn new(disk: &'a Disk, state_id: u128, verify: bool) -> Self {
        Self {
            disk,
            state_id,
            verify,
            rooms: HashMap::new(),
            zeros: Zeros::default(),
            by_reference: HashMap::new(),
            by_id: HashMap::new(),
            loaded: HashMap::new(),
            error: None,
        }
    }

    fn hole(&mut self, reference: SlotRef, is: Is) -> Result<Bytes, Malformed> {
        if let Some(known) = self.by_reference.get(&(reference, is)) {
            return Ok(known.clone());
        }
        // A slot can have grown since its room was noted.
        let room = self.rooms.get(&reference.slot).copied().filter(|room| *room >= reference.len);
        let room = match room.map_or_else(|| self.room(reference.slot), Ok) {
            Ok(room) => room,
            Err(error) => {
                self.error = Some(error);
                return Err(Malformed("a slot cannot be read".to_owned()));
            }
        };
        if reference.len > room {
            let name = FileName::Slot(reference.slot);
            let reason = format!("{} bytes should be there, {room} are", reference.len);
            self.error = Some(ReadError::damaged(name, room, reason));
            return Err(Malformed("a slot is too short".to_owned()));
        }
        let Some(hole) = self.zeros.hole(reference.len) else {
            let name = FileName::Slot(reference.slot);
            let reason = "the content does not fit into memory";
            self.error = Some(ReadError::damaged(name, room, reason));
            return Err(Malformed(reason.to_owned()));
        };
        self.by_id.insert(hole.id(), (reference, is));
        self.by_reference.insert((reference, is), hole.clone());
        Ok(hole)
    }

    fn room(&mut self, slot: FileId) -> Result<u64, ReadError> {
        let room = SlotReader::open(self.disk, slot, self.state_id, self.verify)?.room;
        self.rooms.insert(slot, room);
        Ok(room)
    }

    /// Reads the contents that the view needs and forgets all others.
    fn load_needed(&mut self, view: &View) -> Result<(), ReadError> {
        let blobs = view.values().flat_map(|value| &value.blobs);
        let needed: HashSet<SlotRef> =
            blobs.filter_map(|blob| Some(self.by_id.get(&blob.id())?.0)).collect();
        self.loaded.retain(|reference, _| needed.contains(reference));
        for reference in needed {
            if !self.loaded.contains_key(&reference) {
                let mut content = Ok(Content::default());
                let bytes = Bytes::build(reference.len as usize, |buffer| {
                    content = self.load(reference, buffer);
                });
                content?;
                self.loaded.insert(reference, bytes);
            }
        }
        Ok(())
    }

    /// Reads what the view needs.
    fn fill(&mut self, view: &mut View) -> Result<Slots, ReadError> {
        let mut slots = Slots::default();
        for (name, value) in &mut view.attributes {
            self.fill_value(value, Place::Attribute(name), 0, &mut slots)?;
        }
        for (call, commit, value) in view.ledger.replies_mut() {
            self.fill_value(value, Place::Reply(call), commit, &mut slots)?;
        }
        Ok(slots)
    }

    fn fill_value(
        &mut self,
        value: &mut Encoded,
        place: Place<'_>,
        commit: u64,
        slots: &mut Slots,
    ) -> Result<(), ReadError> {
        if let Some(last) = value.blobs.last()
            && let Some((reference, Is::Inline)) = self.by_id.get(&last.id()).copied()
        {
            value.blobs.pop();
            if let Some(known) = self.loaded.get(&reference) {
                value.inline = known.to_vec();
            } else {
                value.inline = vec![0; reference.len as usize];
                let content = self.load(reference, &mut value.inline)?;
                slots.adopt_inline(reference.slot, &content, place, commit);
            }
        }
        for blob in &mut value.blobs {
            let Some((reference, _)) = self.by_id.get(&blob.id()).copied() else { continue };
            if let Some(known) = self.loaded.get(&reference) {
                *blob = known.clone();
                continue;
            }
            let mut content = Ok(Content::default());
            *blob = Bytes::build(reference.len as usize, |buffer| {
                content = self.load(reference, buffer);
            });
            slots.adopt_blob(reference.slot, &content?, blob);
            self.loaded.insert(reference, blob.clone());
        }
        Ok(())
    }

    fn load(&self, reference: SlotRef, buffer: &mut [u8]) -> Result<Content, ReadError> {
        SlotReader::open(self.disk, reference.slot, self.state_id, self.verify)?
            .read(reference, buffer)
    }
}

impl Contents for Holes<'_> {
    fn value(&mut self, inline: Inline<'_>, blobs: &[SlotRef]) -> Result<Encoded, Malformed> {
        let mut value = Encoded::default();
        for reference in blobs {
            value.blobs.push(self.hole(*reference, Is::Blob)?);
        }
        match inline {
            Inline::Here(bytes) => value.inline = bytes.to_vec(),
            Inline::Slot(reference) => value.blobs.push(self.hole(reference, Is::Inline)?),
        }
        Ok(value)
    }
}
