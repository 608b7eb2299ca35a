//! Stand-ins for large contents while a damaged state is salvaged: what can be read of the slots.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::View;
use super::disk::Disk;
use super::failure::ReadError;
use super::hole::Zeros;
use super::layout::Malformed;
use super::names::{FileId, FileName};
use super::patches::{Patch, Sets};
use super::payload::{BlobRef, Contents, Inline, SlotRef};
use super::slots::SlotReader;
use crate::bytes::{Bytes, BytesId};
use crate::call::CallId;
use crate::codec::Encoded;

/// What of a state could not be read.
#[derive(Default)]
pub(super) struct Unreadable {
    pub(super) attributes: Vec<String>,
    pub(super) replies: Vec<CallId>,
    pub(super) errors: Vec<ReadError>,
}

/// Arrays of the right length stand for contents in slots until it is known which are needed.
pub(super) struct Placeholders<'a> {
    disk: &'a Disk,
    state_id: u128,
    zeros: Zeros,
    references: HashMap<BytesId, Reference>,
    by_reference: HashMap<Reference, Bytes>,
    /// The sets of patches that the journal holds for each slot.
    sets: Sets,
    /// How long a content each slot has room for, or what is wrong with it.
    rooms: BTreeMap<FileId, Result<u64, (u64, String)>>,
    /// The checksum of the first so many bytes of a slot.
    checksums: HashMap<(FileId, u64), u64>,
    loaded: HashMap<(SlotRef, u32), Bytes>,
    /// Something else than damage went wrong.
    error: Option<ReadError>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Reference {
    slot: SlotRef,
    /// How many sets of patches belong to it.
    patched: u32,
    /// The CBOR of its value; the last of the value's arrays, so that the size is right.
    is_inline: bool,
}

impl<'a> Placeholders<'a> {
    pub(super) fn new(disk: &'a Disk, state_id: u128) -> Self {
        Self {
            disk,
            state_id,
            zeros: Zeros::default(),
            references: HashMap::new(),
            by_reference: HashMap::new(),
            sets: Sets::default(),
            rooms: BTreeMap::new(),
            checksums: HashMap::new(),
            loaded: HashMap::new(),
            error: None,
        }
    }

    fn placeholder(&mut self, reference: Reference) -> Result<Bytes, Malformed> {
        if let Some(known) = self.by_reference.get(&reference) {
            return Ok(known.clone());
        }
        let slot = reference.slot;
        // No memory for more than a file really has.
        let room = self.room(slot.slot).unwrap_or(0);
        let Some(bytes) = self.zeros.hole(slot.len.min(room)) else {
            return Err(Malformed("the content of a slot does not fit into memory".to_owned()));
        };
        self.references.insert(bytes.id(), reference);
        self.by_reference.insert(reference, bytes.clone());
        Ok(bytes)
    }

    fn room(&mut self, slot: FileId) -> Option<u64> {
        let (disk, state_id) = (self.disk, self.state_id);
        let error = &mut self.error;
        let room = self.rooms.entry(slot).or_insert_with(|| {
            match SlotReader::open(disk, slot, state_id, true) {
                Ok(reader) => Ok(reader.room),
                Err(ReadError::Damaged { offset, reason, .. }) => Err((offset, reason)),
                Err(other) => {
                    *error = Some(other);
                    Err((0, String::new()))
                }
            }
        });
        room.as_ref().ok().copied()
    }

    /// Damage of the slots that the journal names, needed or not.
    pub(super) fn slot_damage(&mut self) -> Result<Vec<ReadError>, ReadError> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let mut damage = Vec::new();
        for (slot, room) in &self.rooms {
            if let Err((offset, reason)) = room {
                let name = FileName::Slot(*slot);
                damage.push(ReadError::damaged(name, *offset, reason.as_str()));
            }
        }
        let short = self.references.values().filter_map(|reference| {
            let SlotRef { slot, len, .. } = reference.slot;
            let room = *self.rooms.get(&slot)?.as_ref().ok()?;
            (len > room).then_some((slot, len, room))
        });
        let short: BTreeSet<(FileId, u64, u64)> = short.collect();
        for (slot, len, room) in short {
            let reason = format!("{len} bytes should be there, {room} are");
            damage.push(ReadError::damaged(FileName::Slot(slot), room, reason));
        }
        Ok(damage)
    }

    /// Whether everything that the view needs is what was written.
    pub(super) fn are_readable(&mut self, view: &View) -> Result<bool, ReadError> {
        for value in view.values() {
            for blob in &value.blobs {
                let Some(reference) = self.references.get(&blob.id()).copied() else { continue };
                if !self.is_readable(reference.slot)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn is_readable(&mut self, reference: SlotRef) -> Result<bool, ReadError> {
        let SlotRef { slot, len, checksum } = reference;
        if self.room(slot).is_none_or(|room| len > room) {
            return Ok(false);
        }
        if let Some(known) = self.checksums.get(&(slot, len)) {
            return Ok(*known == checksum);
        }
        let mut buffer = vec![0; len as usize];
        let reader = SlotReader::open(self.disk, slot, self.state_id, false)?;
        let found = reader.read(reference, &mut buffer)?.checksum();
        self.checksums.insert((slot, len), found);
        Ok(found == checksum)
    }

    /// Puts the contents in their places; says of which attributes and replies it cannot.
    pub(super) fn fill(
        &mut self,
        view: &mut View,
        unreadable: &mut Unreadable,
    ) -> Result<(), ReadError> {
        for (name, value) in &mut view.attributes {
            if let Err(error) = self.fill_value(value) {
                unreadable.attributes.push(name.clone());
                unreadable.errors.push(error);
            }
        }
        for (call, _, value) in view.ledger.replies_mut() {
            if let Err(error) = self.fill_value(value) {
                unreadable.replies.push(call);
                unreadable.errors.push(error);
            }
        }
        let already_noted = |error: &ReadError| match error {
            ReadError::Damaged { name: FileName::Slot(slot), offset, .. } => {
                let room = self.rooms.get(slot).and_then(|room| room.as_ref().ok());
                room.is_none_or(|room| offset >= room)
            }
            _ => false,
        };
        unreadable.errors.retain(|error| !already_noted(error));
        Ok(())
    }

    fn fill_value(&mut self, value: &mut Encoded) -> Result<(), ReadError> {
        if let Some(last) = value.blobs.last()
            && let Some(reference) = self.references.get(&last.id()).copied()
            && reference.is_inline
        {
            let content = self.load(reference)?;
            value.blobs.pop();
            value.inline = content.to_vec();
        }
        for blob in &mut value.blobs {
            if let Some(reference) = self.references.get(&blob.id()).copied() {
                *blob = self.load(reference)?;
            }
        }
        Ok(())
    }

    fn load(&mut self, Reference { slot, patched, .. }: Reference) -> Result<Bytes, ReadError> {
        if let Some(known) = self.loaded.get(&(slot, patched)) {
            return Ok(known.clone());
        }
        let name = FileName::Slot(slot.slot);
        if let Some(room) = self.room(slot.slot).filter(|room| slot.len > *room) {
            return Err(ReadError::damaged(name, room, "the content is cut off"));
        }
        let reader = SlotReader::open(self.disk, slot.slot, self.state_id, true)?;
        let mut buffer = vec![0; slot.len as usize];
        reader.read(slot, &mut buffer)?;
        for Patch { offset, bytes } in self.sets.of(slot, patched) {
            buffer[*offset as usize..][..bytes.len()].copy_from_slice(bytes);
        }
        let bytes = Bytes::from(buffer);
        self.loaded.insert((slot, patched), bytes.clone());
        Ok(bytes)
    }
}

impl Contents for Placeholders<'_> {
    fn value(&mut self, inline: Inline<'_>, blobs: &[BlobRef<'_>]) -> Result<Encoded, Malformed> {
        let mut value = Encoded::default();
        for blob in blobs {
            let patched = if blob.paged { self.sets.take(blob)? } else { 0 };
            let reference = Reference { slot: blob.slot, patched, is_inline: false };
            value.blobs.push(self.placeholder(reference)?);
        }
        match inline {
            Inline::Here(bytes) => value.inline = bytes.to_vec(),
            Inline::Slot(slot) => {
                let reference = Reference { slot, patched: 0, is_inline: true };
                value.blobs.push(self.placeholder(reference)?);
            }
        }
        Ok(value)
    }
}
