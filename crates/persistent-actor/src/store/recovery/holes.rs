//! [`Holes`]: from references in a journal to the contents of slots.

use std::collections::{HashMap, HashSet};

use crate::bytes::{Bytes, BytesId};
use crate::codec::Encoded;
use crate::page_tree::PageTree;
use crate::paged_bytes::Paged;
use crate::store::disk::Disk;
use crate::store::failure::ReadError;
use crate::store::hole::Zeros;
use crate::store::layout::Malformed;
use crate::store::names::{FileId, FileName};
use crate::store::patches::{Patch, Sets};
use crate::store::payload::{BlobRef, Contents, Inline, Place, SlotRef};
use crate::store::reading::Reading;
use crate::store::slots::{Content, SlotReader, Slots};
use crate::store::{InPlace, View};

/// Stands for contents in slots while the journal is replayed: many of them are superseded
/// before its end, and their slots hold something else by now. What is left at the end is read.
pub(super) struct Holes<'a> {
    pub(super) disk: &'a Disk,
    state_id: u128,
    pub(super) verify: bool,
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
    pub(super) error: Option<ReadError>,
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
    pub(super) fn new(disk: &'a Disk, state_id: u128, reading: &Reading) -> Self {
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
    pub(super) fn load_needed(&mut self, view: &View) -> Result<(), ReadError> {
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
    pub(super) fn fill(&mut self, view: &mut View) -> Result<Slots, ReadError> {
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
