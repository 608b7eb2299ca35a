//! [`salvage`]: everything that is wrong with a state, and what of it can still be read.
//!
//! Opening a state stops at the first damage and changes nothing. This reads on, for the tools
//! that report damage and make a readable state from what is left. It writes nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::path::Path;

use super::disk::Disk;
use super::failure::ReadError;
use super::frame::{Kind, SECTOR};
use super::identity;
use super::layout::Malformed;
use super::names::{FileId, FileName};
use super::payload::{self, Contents, Inline, SlotRef};
use super::recovery::{self, Survey};
use super::replay;
use super::segment::SegmentHeader;
use super::slots::SlotReader;
use super::storage::open_storage;
use super::{Record, View};
use crate::bytes::{Bytes, BytesId};
use crate::call::CallId;
use crate::codec::Encoded;
use crate::error::OpenError;
use crate::ledger::LedgerLimits;

/// One place of a state that is not what was once written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Damage {
    /// The file's name in the state directory.
    pub file: String,
    /// Where, in bytes from its start.
    pub offset: u64,
    /// What is wrong there.
    pub reason: String,
}

/// What can be said of a state and read of it, damaged or not.
#[derive(Clone, Debug, Default)]
pub struct Salvage {
    /// All damage that was found, in the order in which it was met.
    pub damage: Vec<Damage>,
    /// The state's id, if a file still tells it.
    pub state_id: Option<u128>,
    /// The highest epoch in any file name.
    pub highest_epoch: u64,
    /// Why nothing can be read although records are there.
    pub hopeless: Option<String>,
    /// The sequence number of the last commit whose record can be read, following its snapshot
    /// without a gap.
    pub last_record: Option<u64>,
    /// Numbers of commits whose records stand behind the damage of the journal.
    pub behind: Option<RangeInclusive<u64>>,
    /// Whether the journal is damaged behind [`Salvage::last_record`], so that commits may have
    /// been there of which nothing is known.
    pub cut: bool,
    /// The newest committed state of which everything can be read.
    pub committed: Option<View>,
    /// The calls of commits after [`Salvage::committed`] whose records can be read.
    pub later_calls: Vec<CallId>,
    /// The state after [`Salvage::last_record`], without what cannot be read of it; never
    /// committed like this if the next two fields are not empty.
    pub partial: Option<View>,
    /// Attributes of that state which cannot be read.
    pub unreadable_attributes: Vec<String>,
    /// Calls whose replies cannot be read. [`Salvage::partial`] has forgotten them and all of
    /// their session before them: they are answered with an error, never run again.
    pub unreadable_replies: Vec<CallId>,
}

/// Reads what can be read of the state at `path`. Nobody should be writing to it;
/// for a state in use, and to learn whether there is any damage at all, see
/// [`inspect`](super::inspect).
///
/// # Errors
/// [`OpenError::NotFound`] and [`OpenError::NotAState`] if there is no state,
/// [`OpenError::NewerVersion`], and [`OpenError::Unreadable`] if the system refuses.
pub fn salvage(path: &Path) -> Result<Salvage, OpenError> {
    salvage_on(&Disk::new(open_storage(path, false, false)?, false), path)
}

/// The same on any [`Disk`]; errors call it `path`.
pub(super) fn salvage_on(disk: &Disk, path: &Path) -> Result<Salvage, OpenError> {
    let listing = disk.list().map_err(|error| ReadError::from(error).into_open_error(path))?;
    let highest_epoch = listing.names.iter().filter_map(|name| name.epoch()).max().unwrap_or(0);
    let mut salvage = Salvage { highest_epoch, ..Salvage::default() };
    let has_identity = listing.names.contains(&FileName::Identity);
    match recovery::survey(listing) {
        Ok(Survey::State(head)) => {
            let read = salvage.read(disk, head, has_identity);
            read.map_err(|error| error.into_open_error(path))?;
        }
        Ok(Survey::Nothing) => return Err(OpenError::NotFound { path: path.to_owned() }),
        Ok(Survey::Foreign(found)) => {
            return Err(OpenError::NotAState { path: path.to_owned(), found });
        }
        Err(error) => {
            salvage.note(error).map_err(|error| error.into_open_error(path))?;
            salvage.hopeless = Some("the journal is missing".to_owned());
        }
    }
    Ok(salvage)
}

/// The commits of a journal, contents of slots left out.
#[derive(Default)]
struct History {
    snapshot: Option<(View, LedgerLimits)>,
    commits: Vec<Record>,
}

impl History {
    /// The state after the first `commits` commits.
    fn state_after(&self, commits: usize) -> Option<View> {
        let (mut view, limits) = self.snapshot.clone()?;
        for record in &self.commits[..commits] {
            view.apply(record.clone(), &limits);
        }
        Some(view)
    }
}

impl Salvage {
    /// Takes damage down; anything else is an error.
    fn note(&mut self, error: ReadError) -> Result<(), ReadError> {
        match error {
            ReadError::Damaged { name, offset, reason } => {
                let damage = Damage { file: name.to_string(), offset, reason };
                if !self.damage.contains(&damage) {
                    self.damage.push(damage);
                }
                Ok(())
            }
            other => Err(other),
        }
    }

    fn read(&mut self, disk: &Disk, head: FileId, has_identity: bool) -> Result<(), ReadError> {
        let name = FileName::Journal(head);
        let bytes = recovery::read_all(disk, name)?;
        let Some(header) = self.header(disk, head, &bytes, has_identity)? else { return Ok(()) };
        if header.capacity != bytes.len() as u64 || !bytes.len().is_multiple_of(SECTOR) {
            let reason =
                format!("the file should have {} bytes, it has {}", header.capacity, bytes.len());
            self.note(ReadError::damaged(name, bytes.len() as u64, reason))?;
            self.cut = (bytes.len() as u64) < header.capacity;
        }
        let mut contents = Placeholders::new(disk, header.state_id);
        let history = self.replay(name, &bytes, &header, &mut contents)?;
        contents.note_damage(self)?;
        self.last_record = history.state_after(history.commits.len()).map(|view| view.sequence);
        if self.last_record.is_none() {
            self.hopeless = Some("the snapshot at the beginning of the journal is damaged".into());
            return Ok(());
        }
        self.choose(&history, &mut contents)
    }

    /// The journal's header; if that is damaged, one made from the file's name and the identity.
    fn header(
        &mut self,
        disk: &Disk,
        head: FileId,
        bytes: &[u8],
        has_identity: bool,
    ) -> Result<Option<SegmentHeader>, ReadError> {
        let mut identity = None;
        if has_identity {
            match identity::read(disk, true) {
                Ok(id) => identity = Some(id),
                Err(error) => self.note(error)?,
            }
        }
        let header = match recovery::decode_header(head, bytes, true) {
            Ok(header) => Some(header),
            Err(error) => {
                self.note(error)?;
                let capacity = bytes.len() as u64;
                identity.map(|state_id| SegmentHeader {
                    state_id,
                    id: head,
                    capacity,
                    synced: false,
                })
            }
        };
        self.state_id = header.map(|header| header.state_id).or(identity);
        match (header, identity) {
            (None, _) => {
                let reason = "neither the journal nor the identity tells which state this is";
                self.hopeless = Some(reason.to_owned());
                Ok(None)
            }
            (Some(header), Some(identity)) if header.state_id != identity => {
                let name = FileName::Journal(head);
                self.note(ReadError::damaged(name, 16, "the journal belongs to another state"))?;
                let reason = "the identity and the journal come from different states; put the \
                              right one back";
                self.hopeless = Some(reason.to_owned());
                Ok(None)
            }
            _ => Ok(header),
        }
    }

    fn replay(
        &mut self,
        name: FileName,
        bytes: &[u8],
        header: &SegmentHeader,
        contents: &mut Placeholders<'_>,
    ) -> Result<History, ReadError> {
        let framing = header.framing(true);
        let mut history = History::default();
        let replayed = replay::replay(bytes, &framing, |item| {
            match item.kind {
                Kind::Snapshot => {
                    let read = payload::read_snapshot(item.payload, item.sequence, contents)?;
                    history.snapshot = Some(read);
                }
                Kind::Commit => {
                    let read = payload::read_commit(item.payload, item.sequence, contents)?;
                    history.commits.push(read);
                }
            }
            Ok(())
        });
        let Err(replay::Damage { offset, reason }) = replayed else { return Ok(history) };
        self.note(ReadError::damaged(name, offset, reason))?;
        self.cut = true;
        let last = history.commits.last().map(|record| record.sequence);
        let last = last.or(history.snapshot.as_ref().map(|(view, _)| view.sequence));
        for start in (offset.next_multiple_of(8)..bytes.len() as u64).step_by(8) {
            let Ok(found) = framing.header(&bytes[start as usize..]) else { continue };
            if found.kind == Kind::Commit as u32 && last.is_none_or(|last| found.sequence > last) {
                let first = self.behind.as_ref().map_or(found.sequence, |range| *range.start());
                self.behind = Some(first.min(found.sequence)..=first.max(found.sequence));
            }
        }
        Ok(history)
    }

    /// Finds the newest state that is whole, and what is left of the newest of all.
    fn choose(
        &mut self,
        history: &History,
        contents: &mut Placeholders<'_>,
    ) -> Result<(), ReadError> {
        let whole_after = self.newest_whole(history, contents)?;
        let newest = history.commits.len();
        if let Some(mut view) = whole_after.and_then(|commits| history.state_after(commits)) {
            contents.fill(&mut view, &mut Unreadable::default())?;
            self.committed = Some(view);
            let later = &history.commits[whole_after.unwrap_or(newest)..];
            self.later_calls = later.iter().filter_map(|r| Some(r.call.as_ref()?.id)).collect();
        }
        if whole_after == Some(newest) {
            self.partial = self.committed.clone();
            return Ok(());
        }
        let Some(mut view) = history.state_after(newest) else { return Ok(()) };
        let mut unreadable = Unreadable::default();
        contents.fill(&mut view, &mut unreadable)?;
        for name in &unreadable.attributes {
            view.attributes.remove(name);
        }
        for call in &unreadable.replies {
            view.ledger.raise_floor(call.session, call.sequence.saturating_add(1));
        }
        for error in unreadable.errors {
            self.note(error)?;
        }
        self.unreadable_attributes = unreadable.attributes;
        self.unreadable_replies = unreadable.replies;
        self.partial = Some(view);
        Ok(())
    }

    /// After how many commits the state was last one of which all contents can be read.
    fn newest_whole(
        &self,
        history: &History,
        contents: &mut Placeholders<'_>,
    ) -> Result<Option<usize>, ReadError> {
        let newest = history.commits.len();
        match history.state_after(newest) {
            Some(view) if contents.are_readable(&view)? => return Ok(Some(newest)),
            _ => {}
        }
        let Some((mut view, limits)) = history.snapshot.clone() else { return Ok(None) };
        let mut whole = contents.are_readable(&view)?.then_some(0);
        for (index, record) in history.commits.iter().enumerate() {
            view.apply(record.clone(), &limits);
            if contents.are_readable(&view)? {
                whole = Some(index + 1);
            }
        }
        Ok(whole)
    }
}

/// What of a state could not be read.
#[derive(Default)]
struct Unreadable {
    attributes: Vec<String>,
    replies: Vec<CallId>,
    errors: Vec<ReadError>,
}

/// Arrays of the right length stand for contents in slots until it is known which are needed.
struct Placeholders<'a> {
    disk: &'a Disk,
    state_id: u128,
    references: HashMap<BytesId, Reference>,
    by_reference: HashMap<(SlotRef, bool), Bytes>,
    /// How long a content each slot has room for, or what is wrong with it.
    rooms: BTreeMap<FileId, Result<u64, (u64, String)>>,
    /// The checksum of the first so many bytes of a slot.
    checksums: HashMap<(FileId, u64), u64>,
    loaded: HashMap<SlotRef, Bytes>,
    /// Something else than damage went wrong.
    error: Option<ReadError>,
}

#[derive(Clone, Copy)]
struct Reference {
    slot: SlotRef,
    /// The CBOR of its value; the last of the value's arrays, so that the size is right.
    is_inline: bool,
}

impl<'a> Placeholders<'a> {
    fn new(disk: &'a Disk, state_id: u128) -> Self {
        Self {
            disk,
            state_id,
            references: HashMap::new(),
            by_reference: HashMap::new(),
            rooms: BTreeMap::new(),
            checksums: HashMap::new(),
            loaded: HashMap::new(),
            error: None,
        }
    }

    fn placeholder(&mut self, slot: SlotRef, is_inline: bool) -> Result<Bytes, Malformed> {
        if let Some(known) = self.by_reference.get(&(slot, is_inline)) {
            return Ok(known.clone());
        }
        // No memory for more than a file really has.
        let room = self.room(slot.slot).unwrap_or(0);
        let bytes = Bytes::from(vec![0; slot.len.min(room) as usize]);
        self.references.insert(bytes.id(), Reference { slot, is_inline });
        self.by_reference.insert((slot, is_inline), bytes.clone());
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

    /// Takes damage of slots down that the journal names, needed or not.
    fn note_damage(&mut self, salvage: &mut Salvage) -> Result<(), ReadError> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        for (slot, room) in &self.rooms {
            if let Err((offset, reason)) = room {
                let error = ReadError::damaged(FileName::Slot(*slot), *offset, reason.as_str());
                salvage.note(error)?;
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
            salvage.note(ReadError::damaged(FileName::Slot(slot), room, reason))?;
        }
        Ok(())
    }

    fn are_readable(&mut self, view: &View) -> Result<bool, ReadError> {
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
    fn fill(&mut self, view: &mut View, unreadable: &mut Unreadable) -> Result<(), ReadError> {
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
            && let Some(Reference { slot, is_inline: true }) =
                self.references.get(&last.id()).copied()
        {
            let content = self.load(slot)?;
            value.blobs.pop();
            value.inline = content.to_vec();
        }
        for blob in &mut value.blobs {
            if let Some(reference) = self.references.get(&blob.id()).copied() {
                *blob = self.load(reference.slot)?;
            }
        }
        Ok(())
    }

    fn load(&mut self, reference: SlotRef) -> Result<Bytes, ReadError> {
        if let Some(known) = self.loaded.get(&reference) {
            return Ok(known.clone());
        }
        let name = FileName::Slot(reference.slot);
        if let Some(room) = self.room(reference.slot).filter(|room| reference.len > *room) {
            return Err(ReadError::damaged(name, room, "the content is cut off"));
        }
        let reader = SlotReader::open(self.disk, reference.slot, self.state_id, true)?;
        let mut buffer = vec![0; reference.len as usize];
        reader.read(reference, &mut buffer)?;
        let bytes = Bytes::from(buffer);
        self.loaded.insert(reference, bytes.clone());
        Ok(bytes)
    }
}

impl Contents for Placeholders<'_> {
    fn value(&mut self, inline: Inline<'_>, blobs: &[SlotRef]) -> Result<Encoded, Malformed> {
        let mut value = Encoded::default();
        for reference in blobs {
            value.blobs.push(self.placeholder(*reference, false)?);
        }
        match inline {
            Inline::Here(bytes) => value.inline = bytes.to_vec(),
            Inline::Slot(reference) => value.blobs.push(self.placeholder(reference, true)?),
        }
        Ok(value)
    }
}
