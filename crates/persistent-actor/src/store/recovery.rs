//! From the files of a state to what is committed. Reads only.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::disk::{Disk, Listing};
use super::failure::ReadError;
use super::frame::{Kind, SECTOR};
use super::group::{Chain, Misfit};
use super::hole::Zeros;
use super::identity;
use super::layout::Malformed;
use super::names::{FileId, FileName};
use super::patches::{Patch, Sets};
use super::payload::{self, BlobRef, Contents, Inline, Place, SlotRef};
use super::reading::Reading;
use super::replay::{self, Damage, Extent};
use super::segment::{Grouped, HeaderError, Purpose, SegmentHeader};
use super::slots::{Content, SlotReader, Slots};
use super::{InPlace, View};
use crate::bytes::{Bytes, BytesId};
use crate::codec::Encoded;
use crate::ledger::LedgerLimits;
use crate::page_tree::PageTree;
use crate::paged_bytes::Paged;

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
pub(crate) fn survey(listing: &Listing) -> Result<Survey, ReadError> {
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
    Ok(listing.foreign.clone().map_or(Survey::Nothing, Survey::Foreign))
}

/// Reads the header of a journal.
pub(crate) fn read_header(
    disk: &Disk,
    purpose: Purpose,
    id: FileId,
    verify: bool,
) -> Result<SegmentHeader, ReadError> {
    let file = disk.open(FileName::Journal(id))?;
    let mut sector = vec![0; SECTOR.min(usize::try_from(file.size()?).unwrap_or(SECTOR))];
    file.read_at(&mut sector, 0)?;
    decode_header(purpose, id, &sector, verify)
}

pub(super) fn decode_header(
    purpose: Purpose,
    id: FileId,
    bytes: &[u8],
    verify: bool,
) -> Result<SegmentHeader, ReadError> {
    let name = FileName::Journal(id);
    let header = SegmentHeader::decode(purpose, bytes, verify).map_err(|error| match error {
        HeaderError::Damaged(reason) => ReadError::damaged(name, 0, reason),
        HeaderError::Newer(found) => ReadError::Newer { name, found },
    })?;
    if header.id != id {
        return Err(ReadError::damaged(name, 0, "the journal was written under another name"));
    }
    Ok(header)
}

/// Makes sure that a journal has the length that its header announces.
pub(super) fn check_length(
    name: FileName,
    header: &SegmentHeader,
    bytes: &[u8],
) -> Result<(), ReadError> {
    if header.capacity == bytes.len() as u64 && bytes.len().is_multiple_of(SECTOR) {
        return Ok(());
    }
    let reason = format!("the file should have {} bytes, it has {}", header.capacity, bytes.len());
    Err(ReadError::damaged(name, bytes.len() as u64, reason))
}

/// A journal with all that is known of it.
pub(super) struct Raw {
    pub(super) header: SegmentHeader,
    pub(super) bytes: Vec<u8>,
    /// For [`replay`](replay::replay).
    pub(super) durable: Option<u64>,
}

/// Reads a journal whose header is valid, and puts in what only the group journal may know.
pub(super) fn read_raw(disk: &Disk, head: FileId, reading: &Reading) -> Result<Raw, ReadError> {
    let name = FileName::Journal(head);
    let before = read_header(disk, Purpose::State, head, reading.verify)?.grouped;
    // The group journal comes first: what it knows is in the segment before it is there.
    let chain = match before {
        Some(grouped) => find_chain(disk, name, grouped, reading)?,
        None => None,
    };
    let mut bytes = read_all(disk, name)?;
    let header = decode_header(Purpose::State, head, &bytes, reading.verify)?;
    if header.grouped != before && header.grouped.is_some() {
        return Err(ReadError::damaged(name, 0, "the header changes while it is read"));
    }
    check_length(name, &header, &bytes)?;
    let durable = match (header.grouped, chain) {
        (Some(Grouped { member, end }), Some(chain)) => {
            let redone = chain.redo(member, head.number, &mut bytes);
            let redone = redone.map_err(|Misfit(why)| ReadError::damaged(name, 0, why))?;
            Some(end.max(redone.unwrap_or(0)))
        }
        _ => None,
    };
    Ok(Raw { header, bytes, durable })
}

/// The group journal that a segment needs; `None` if it can do without.
pub(super) fn find_chain(
    disk: &Disk,
    name: FileName,
    grouped: Grouped,
    reading: &Reading,
) -> Result<Option<Arc<Chain>>, ReadError> {
    let run = grouped.member.run;
    if !reading.redo {
        return Ok(None);
    }
    if reading.trusted_run == Some(run) {
        // An error in writing the segment back must be heard of before its content is believed.
        disk.sync(&disk.open(name)?)?;
        return Ok(None);
    }
    if let Some(chain) = reading.chain.as_ref().filter(|chain| chain.run == run) {
        return Ok(Some(Arc::clone(chain)));
    }
    let Some(group) = disk.group()? else { return Err(ReadError::GroupMissing { run }) };
    let found = Chain::find(&group, run, reading.verify);
    let found = found.map_err(|error| ReadError::Group(Box::new(error)))?;
    found.map(|chain| Some(Arc::new(chain))).ok_or(ReadError::GroupMissing { run })
}

/// Reads the state whose newest journal is `head`.
pub(crate) fn read(
    disk: &Disk,
    head: FileId,
    has_identity: bool,
    reading: &Reading,
) -> Result<Recovered, ReadError> {
    let replayed = Replayed::read(disk, head, has_identity, reading)?;
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
        reading: &Reading,
    ) -> Result<Self, ReadError> {
        let (name, verify) = (FileName::Journal(head), reading.verify);
        let Raw { header, bytes, durable } = read_raw(disk, head, reading)?;
        if has_identity && identity::read(disk, verify)? != header.state_id {
            return Err(ReadError::damaged(name, 16, "the journal belongs to another state"));
        }
        let mut holes = Holes::new(disk, header.state_id, reading);
        let mut state = None;
        let extent = replay::replay(&bytes, &header.framing(verify), durable, |item| {
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
    in_place: InPlace,
    slots_are_kept: bool,
    /// How long a content each slot has room for.
    rooms: HashMap<FileId, u64>,
    zeros: Zeros,
    by_reference: HashMap<(SlotRef, Is), Bytes>,
    by_id: HashMap<BytesId, What>,
    /// The sets of patches that the journal holds for each slot.
    sets: Sets,
    /// Contents that were read.
    loaded: HashMap<(SlotRef, Is), Bytes>,
    /// The contents of slots that were read in pages.
    trees: HashMap<SlotRef, (Content, PageTree)>,
    error: Option<ReadError>,
}

/// What a hole stands for.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Is {
    Blob,
    /// An array in pages, with so many sets of patches.
    Paged(u32),
    /// The CBOR of its value; the hole is the last of the value's blobs, so that the size of the
    /// value is right.
    Inline,
}

/// What a hole stands for, and where it lies.
#[derive(Clone, Copy)]
struct What(SlotRef, Is);

impl What {
    /// Under which it is found when it was read: CBOR and an array in one piece are the same.
    fn key(self) -> (SlotRef, Is) {
        match self.1 {
            Is::Inline => (self.0, Is::Blob),
            is => (self.0, is),
        }
    }
}

impl<'a> Holes<'a> {
    fn new(disk: &'a Disk, state_id: u128, reading: &Reading) -> Self {
        Self {
            disk,
            state_id,
            verify: reading.verify,
            in_place: reading.in_place.clone(),
            slots_are_kept: reading.slots_are_kept,
            rooms: HashMap::new(),
            zeros: Zeros::default(),
            by_reference: HashMap::new(),
            by_id: HashMap::new(),
            sets: Sets::default(),
            loaded: HashMap::new(),
            trees: HashMap::new(),
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
        self.by_id.insert(hole.id(), What(reference, is));
        self.by_reference.insert((reference, is), hole.clone());
        Ok(hole)
    }

    fn room(&mut self, slot: FileId) -> Result<u64, ReadError> {
        let room = SlotReader::open(self.disk, slot, self.state_id, self.verify)?.room;
        self.rooms.insert(slot, room);
        Ok(room)
    }

    /// A hole for an array in pages, with what its reference adds to it.
    fn paged_hole(&mut self, reference: &BlobRef<'_>) -> Result<Bytes, Malformed> {
        let version = self.sets.take(reference)?;
        self.hole(reference.slot, Is::Paged(version))
    }

    /// Reads the contents that the view needs and forgets all others.
    fn load_needed(&mut self, view: &View) -> Result<(), ReadError> {
        let blobs = view.values().flat_map(|value| &value.blobs);
        let needed: HashSet<(SlotRef, Is)> =
            blobs.filter_map(|blob| Some(self.by_id.get(&blob.id())?.key())).collect();
        self.loaded.retain(|key, _| needed.contains(key));
        for key in needed {
            if !self.loaded.contains_key(&key) {
                let (bytes, _) = self.load_bytes(key)?;
                self.loaded.insert(key, bytes);
            }
        }
        self.trees.clear();
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
            && let Some(What(reference, Is::Inline)) = self.by_id.get(&last.id()).copied()
        {
            value.blobs.pop();
            if let Some(known) = self.loaded.get(&(reference, Is::Blob)) {
                value.inline = known.to_vec();
            } else {
                value.inline = vec![0; reference.len as usize];
                let content = self.load(reference, &mut value.inline)?;
                slots.adopt_inline(reference.slot, &content, place, commit);
            }
        }
        for blob in &mut value.blobs {
            let Some(what) = self.by_id.get(&blob.id()).copied() else { continue };
            let key @ (reference, is) = what.key();
            if let Some(known) = self.loaded.get(&key) {
                *blob = known.clone();
                continue;
            }
            let (bytes, content) = self.load_bytes(key)?;
            *blob = bytes;
            slots.adopt_blob(reference.slot, &content, blob);
            if let (Is::Paged(sets), Some((_, base))) = (is, self.trees.get(&reference)) {
                slots.adopt_pages(reference.slot, base, blob, sets);
            }
            self.loaded.insert(key, blob.clone());
        }
        Ok(())
    }

    /// Reads a large array, and tells what its slot holds.
    fn load_bytes(
        &mut self,
        (reference, is): (SlotRef, Is),
    ) -> Result<(Bytes, Content), ReadError> {
        let Is::Paged(sets) = is else {
            if let Some(mapped) = self.map(reference)? {
                return Ok(mapped);
            }
            let mut content = Ok(Content::default());
            let bytes = Bytes::build(reference.len as usize, |buffer| {
                content = self.load(reference, buffer);
            });
            return Ok((bytes, content?));
        };
        if !self.trees.contains_key(&reference) {
            let read = self.reader(reference)?.read_pages(reference)?;
            self.trees.insert(reference, read);
        }
        let (content, base) = &self.trees[&reference];
        let mut tree = base.clone();
        for Patch { offset, bytes } in self.sets.of(reference, sets) {
            tree.write(*offset as usize, bytes);
        }
        Ok((Paged::bytes(tree), content.clone()))
    }

    /// Lets a large array stay where it is, if it can.
    fn map(&self, reference: SlotRef) -> Result<Option<(Bytes, Content)>, ReadError> {
        let reader = self.reader(reference)?;
        let file = reader.storage_file();
        let mapped =
            self.in_place.map_committed(reference.slot, file, reference.len, self.slots_are_kept);
        let Some(memory) = mapped else { return Ok(None) };
        // Read and not looked at: where the disk fails, this is an error that can be told.
        let content = reader.verify(reference)?;
        Ok(Some((Bytes::from_memory(memory), content)))
    }

    fn load(&self, reference: SlotRef, buffer: &mut [u8]) -> Result<Content, ReadError> {
        self.reader(reference)?.read(reference, buffer)
    }

    fn reader(&self, reference: SlotRef) -> Result<SlotReader, ReadError> {
        SlotReader::open(self.disk, reference.slot, self.state_id, self.verify)
    }
}

impl Contents for Holes<'_> {
    fn value(&mut self, inline: Inline<'_>, blobs: &[BlobRef<'_>]) -> Result<Encoded, Malformed> {
        let mut value = Encoded::default();
        for reference in blobs {
            value.blobs.push(match reference.paged {
                true => self.paged_hole(reference)?,
                false => self.hole(reference.slot, Is::Blob)?,
            });
        }
        match inline {
            Inline::Here(bytes) => value.inline = bytes.to_vec(),
            Inline::Slot(reference) => value.blobs.push(self.hole(reference, Is::Inline)?),
        }
        Ok(value)
    }
}
