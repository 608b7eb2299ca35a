//! Large values: a file each, of which only the chunks that changed are written
//! (`docs/format.md`, section 4).

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::disk::{Disk, DiskFile};
use super::failure::Failure;
use super::names::{FileId, FileName};
use super::payload::{INLINE_LIMIT, Place, References, SlotRef};
pub(crate) use super::slot_file::{CHUNK, CONTENT_OFFSET, Content, SlotReader};
use super::slot_file::{chunk, chunk_hash, encode_header};
use super::{Record, View};
use crate::bytes::{Bytes, BytesId, WeakBytes};
use crate::call::CallId;

/// How much is hashed, and then written in one piece if it can be. Bytes. Short enough to be in the
/// cache still, long enough for the cost of a write call: 10 MiB take 1.9 ms this way, and 2.5 ms
/// in pieces of 64 KiB.
const BATCH: usize = 4 * CHUNK;
/// How many slots are kept open to be written again.
const MAX_OPEN: usize = 64;

/// The contents of all slots, and which of them are needed.
#[derive(Default)]
pub(crate) struct Slots {
    slots: BTreeMap<FileId, Slot>,
    blobs: HashMap<BytesId, FileId>,
    attributes: BTreeMap<String, FileId>,
    replies: BTreeMap<CallId, FileId>,
    /// Large CBOR of the commit under way: it takes its place when the record is written.
    pending: Vec<(Owner, FileId)>,
    /// Written in the commit under way and not synced yet.
    unsynced: Vec<FileId>,
    names_changed: bool,
    last_number: u32,
}

struct Slot {
    /// The file, for writing; `None` if an older incarnation made it.
    file: Option<DiskFile>,
    /// How much of the file is written behind its header. Bytes.
    written: u64,
    content: Content,
    holder: Holder,
    /// How it differs from the slot that replaced it.
    behind: Option<Behind>,
}

/// Who needs a slot's content.
enum Holder {
    /// Whoever has one of these in memory; the committed state has, as long as it needs it.
    Blobs(Vec<WeakBytes>),
    /// An attribute or a reply whose CBOR is large.
    Inline(Owner, u64),
}

#[derive(Clone, PartialEq, Eq)]
enum Owner {
    Attribute(String),
    Reply(CallId),
}

struct Behind {
    head: FileId,
    stale: Vec<bool>,
}

/// A value to be stored, and what it takes the place of.
struct Update<'a> {
    content: &'a [u8],
    replaces: Option<(FileId, &'a [u8])>,
}

impl Slots {
    /// Takes over a slot that an older incarnation wrote.
    pub(crate) fn adopt_blob(&mut self, slot: FileId, content: &Content, blob: &Bytes) {
        self.blobs.insert(blob.id(), slot);
        let holder = Holder::Blobs(vec![blob.downgrade()]);
        self.slots.insert(slot, Slot::adopted(content, holder));
    }

    /// The same for large CBOR; `commit` is the number of the commit that a reply belongs to.
    pub(crate) fn adopt_inline(
        &mut self,
        slot: FileId,
        content: &Content,
        place: Place<'_>,
        commit: u64,
    ) {
        let owner = Owner::of(place);
        self.slots.insert(slot, Slot::adopted(content, Holder::Inline(owner.clone(), commit)));
        self.settle(owner, slot);
    }

    /// Syncs the slots that were taken over.
    pub(crate) fn sync_adopted(&self, disk: &Disk) -> Result<(), Failure> {
        let mut adopted = self.slots.iter().filter(|(_, slot)| slot.file.is_none());
        adopted.try_for_each(|(id, _)| disk.sync(&disk.open(FileName::Slot(*id))?))
    }

    /// Writes what is large in `record` to slots that `view` does not need.
    pub(crate) fn write(
        &mut self,
        target: &Target<'_>,
        record: &Record,
        view: &View,
    ) -> Result<(), Failure> {
        for (name, value) in &record.changes {
            let old = view.attributes.get(name);
            if value.inline.len() >= INLINE_LIMIT {
                let replaces = self.attributes.get(name).copied();
                let replaces = replaces.zip(old.map(|old| old.inline.as_slice()));
                let update = Update { content: &value.inline, replaces };
                self.write_inline(target, update, Place::Attribute(name), record, view)?;
            }
            for (index, blob) in value.blobs.iter().enumerate() {
                let old = old.and_then(|old| old.blobs.get(index));
                self.write_blob(target, blob, old, view)?;
            }
        }
        if let Some(call) = &record.call {
            let value = &call.reply.value;
            if value.inline.len() >= INLINE_LIMIT {
                let update = Update { content: &value.inline, replaces: None };
                self.write_inline(target, update, Place::Reply(call.id), record, view)?;
            }
            for blob in &value.blobs {
                self.write_blob(target, blob, None, view)?;
            }
        }
        self.sync(target.disk)
    }

    fn sync(&mut self, disk: &Disk) -> Result<(), Failure> {
        for id in self.unsynced.drain(..) {
            let open = self.slots.values().filter(|slot| slot.file.is_some()).count();
            let Some(slot) = self.slots.get_mut(&id) else { continue };
            let Some(file) = &slot.file else { continue };
            disk.sync(file)?;
            if open > MAX_OPEN {
                // Not written again then; removed when it is not needed any more.
                slot.file = None;
            }
        }
        if self.names_changed {
            disk.sync_names()?;
            self.names_changed = false;
        }
        Ok(())
    }

    /// The record is written: what it replaced is not needed any more.
    pub(crate) fn committed(&mut self, record: &Record) {
        for (name, _) in &record.changes {
            self.attributes.remove(name);
        }
        for (owner, slot) in std::mem::take(&mut self.pending) {
            self.settle(owner, slot);
        }
    }

    fn settle(&mut self, owner: Owner, slot: FileId) {
        match owner {
            Owner::Attribute(name) => self.attributes.insert(name, slot),
            Owner::Reply(call) => self.replies.insert(call, slot),
        };
    }

    fn write_blob(
        &mut self,
        target: &Target<'_>,
        blob: &Bytes,
        old: Option<&Bytes>,
        view: &View,
    ) -> Result<(), Failure> {
        if self.blobs.contains_key(&blob.id()) {
            return Ok(());
        }
        let replaces = old.and_then(|old| Some((*self.blobs.get(&old.id())?, &**old)));
        let update = Update { content: blob, replaces };
        let changed = update.changed_chunks();
        if let Some((head, _)) = replaces
            && !changed.contains(&true)
            && let Some(Slot { holder: Holder::Blobs(holders), .. }) = self.slots.get_mut(&head)
        {
            // The same content under a new identity: nothing to write.
            for gone in holders.extract_if(.., |holder| !holder.is_alive()) {
                self.blobs.remove(&gone.id);
            }
            holders.push(blob.downgrade());
            self.blobs.insert(blob.id(), head);
            return Ok(());
        }
        let holder = Holder::Blobs(vec![blob.downgrade()]);
        let slot = self.store(target, &update, &changed, holder, view)?;
        self.blobs.insert(blob.id(), slot);
        Ok(())
    }

    fn write_inline(
        &mut self,
        target: &Target<'_>,
        update: Update<'_>,
        place: Place<'_>,
        record: &Record,
        view: &View,
    ) -> Result<(), Failure> {
        let owner = Owner::of(place);
        let holder = Holder::Inline(owner.clone(), record.sequence);
        let changed = update.changed_chunks();
        let slot = self.store(target, &update, &changed, holder, view)?;
        self.pending.push((owner, slot));
        Ok(())
    }

    /// Writes a content to a free slot: the chunks in which the slot differs from it.
    fn store(
        &mut self,
        target: &Target<'_>,
        update: &Update<'_>,
        changed: &[bool],
        holder: Holder,
        view: &View,
    ) -> Result<FileId, Failure> {
        let head = update.replaces.map(|(head, _)| head);
        let known = head.and_then(|head| self.slots.get(&head));
        let known = known.map(|slot| slot.content.hashes.clone()).unwrap_or_default();
        let id = match self.choose_free(head, update.content.len() as u64, view) {
            Some(id) => id,
            None => self.create(target)?,
        };
        let Some(slot) = self.slots.get_mut(&id) else { unreachable!("the slot was just chosen") };
        let stale = slot.behind.take().filter(|behind| Some(behind.head) == head);
        slot.holder = holder;
        slot.content = Content { len: update.content.len() as u64, hashes: Vec::new() };
        let Some(file) = &slot.file else { unreachable!("free slots are our own") };
        let is_behind = |index: usize| {
            stale.as_ref().and_then(|behind| behind.stale.get(index).copied()) != Some(false)
        };
        let mut first = 0;
        for batch in update.content.chunks(BATCH) {
            let count = batch.len().div_ceil(CHUNK);
            let is_changed = |index: usize| changed.get(index).copied().unwrap_or(true);
            for (index, chunk) in (first..).zip(batch.chunks(CHUNK)) {
                let hash = match known.get(index) {
                    Some(hash) if !is_changed(index) => *hash,
                    _ => chunk_hash(chunk, index),
                };
                slot.content.hashes.push(hash);
            }
            let differs = |index: usize| is_changed(index) || is_behind(index);
            for run in runs(first..first + count, differs) {
                let within =
                    (run.start - first) * CHUNK..batch.len().min((run.end - first) * CHUNK);
                file.write_at(&batch[within], CONTENT_OFFSET + (run.start * CHUNK) as u64)?;
            }
            first += count;
        }
        slot.written = slot.written.max(slot.content.len);
        self.unsynced.push(id);
        self.advance(head, id, changed);
        Ok(id)
    }

    /// `new` has replaced `head`: notes how every slot that was compared with `head` differs
    /// from `new`.
    fn advance(&mut self, head: Option<FileId>, new: FileId, changed: &[bool]) {
        for (id, slot) in &mut self.slots {
            if *id == new {
                continue;
            }
            match &mut slot.behind {
                Some(behind) if behind.head == new => slot.behind = None,
                Some(behind) if Some(behind.head) == head => {
                    behind.head = new;
                    merge(&mut behind.stale, changed);
                }
                _ if Some(*id) == head => {
                    slot.behind = Some(Behind { head: new, stale: changed.to_vec() });
                }
                _ => {}
            }
        }
    }

    /// A slot of our own that nothing needs: best one that differs little from `head`, else one
    /// of about the size.
    fn choose_free(&mut self, head: Option<FileId>, len: u64, view: &View) -> Option<FileId> {
        let related = |slot: &Slot| {
            let behind = slot.behind.as_ref();
            head.is_some() && behind.is_some_and(|behind| Some(behind.head) == head)
        };
        let suitable = |(id, slot): &(&FileId, &Slot)| {
            slot.file.is_some()
                && (related(slot) || slot.written / 4 <= len)
                && !self.is_used(**id, slot, view)
        };
        let best = self
            .slots
            .iter()
            .filter(suitable)
            .max_by_key(|(_, slot)| (related(slot), slot.written.min(len)));
        let id = *best?.0;
        self.forget(id);
        Some(id)
    }

    /// Nothing finds the old content of a slot any more.
    fn forget(&mut self, id: FileId) {
        self.blobs.retain(|_, slot| *slot != id);
        self.replies.retain(|_, slot| *slot != id);
    }

    fn is_used(&self, id: FileId, slot: &Slot, view: &View) -> bool {
        if self.pending.iter().any(|(_, pending)| *pending == id) {
            return true;
        }
        match &slot.holder {
            Holder::Blobs(holders) => holders.iter().any(WeakBytes::is_alive),
            Holder::Inline(Owner::Attribute(name), _) => self.attributes.get(name) == Some(&id),
            Holder::Inline(Owner::Reply(call), commit) => {
                view.ledger.entry(*call).is_some_and(|entry| entry.commit == *commit)
            }
        }
    }

    fn create(&mut self, target: &Target<'_>) -> Result<FileId, Failure> {
        self.last_number += 1;
        let id = FileId { epoch: target.epoch, number: self.last_number };
        let file = target.disk.create(FileName::Slot(id))?;
        file.write_at(&encode_header(target.state_id, id), 0)?;
        self.names_changed = true;
        let holder = Holder::Blobs(Vec::new());
        let content = Content::default();
        self.slots.insert(id, Slot { file: Some(file), written: 0, content, holder, behind: None });
        Ok(id)
    }

    /// Removes, after a checkpoint, the slots that nothing needs; of our own a reserve stays
    /// that is no larger than what is needed.
    pub(crate) fn remove_unused(&mut self, disk: &Disk, view: &View) -> Result<(), Failure> {
        let used = |(id, slot): &(&FileId, &Slot)| self.is_used(**id, slot, view);
        let (used, unused): (Vec<_>, Vec<_>) = self.slots.iter().partition(used);
        let mut reserve: u64 = used.iter().map(|(_, slot)| slot.content.len).sum();
        let mut removed = Vec::new();
        for (id, slot) in unused {
            if slot.file.is_some() && slot.written <= reserve {
                reserve -= slot.written;
            } else {
                removed.push(*id);
            }
        }
        for id in removed {
            disk.remove(FileName::Slot(id))?;
            self.forget(id);
            self.slots.remove(&id);
        }
        Ok(())
    }

    /// Whether this slot is known: needed, or kept for reuse.
    pub(crate) fn contains(&self, id: FileId) -> bool {
        self.slots.contains_key(&id)
    }

    /// Whether slots that nothing needs take so much space that a checkpoint is worth it.
    pub(crate) fn is_wasteful(&self, view: &View) -> bool {
        const TOLERATED: u64 = 16 * 1024 * 1024;
        let (mut used, mut unused) = (0, 0);
        for (id, slot) in &self.slots {
            match self.is_used(*id, slot, view) {
                true => used += slot.content.len,
                false => unused += slot.written,
            }
        }
        unused > TOLERATED + 2 * used
    }
}

impl References for Slots {
    fn blob(&self, id: BytesId) -> Option<SlotRef> {
        self.reference(*self.blobs.get(&id)?)
    }

    fn inline(&self, place: Place<'_>) -> Option<SlotRef> {
        let pending = self.pending.iter().find(|(owner, _)| owner.is(place));
        let settled = || match place {
            Place::Attribute(name) => self.attributes.get(name),
            Place::Reply(call) => self.replies.get(&call),
        };
        self.reference(pending.map(|(_, slot)| *slot).or_else(|| settled().copied())?)
    }
}

impl Slots {
    fn reference(&self, slot: FileId) -> Option<SlotRef> {
        let content = &self.slots.get(&slot)?.content;
        Some(SlotRef { slot, len: content.len, checksum: content.checksum() })
    }
}

impl Slot {
    fn adopted(content: &Content, holder: Holder) -> Self {
        Self { file: None, written: content.len, content: content.clone(), holder, behind: None }
    }
}

impl Owner {
    fn of(place: Place<'_>) -> Self {
        match place {
            Place::Attribute(name) => Self::Attribute(name.to_owned()),
            Place::Reply(call) => Self::Reply(call),
        }
    }

    fn is(&self, place: Place<'_>) -> bool {
        match (self, place) {
            (Self::Attribute(mine), Place::Attribute(name)) => mine == name,
            (Self::Reply(mine), Place::Reply(call)) => *mine == call,
            _ => false,
        }
    }
}

impl Update<'_> {
    /// Which chunks of either content differ from the other's.
    fn changed_chunks(&self) -> Vec<bool> {
        let Some((_, old)) = self.replaces else {
            return vec![true; self.content.len().div_ceil(CHUNK)];
        };
        let chunks = self.content.len().max(old.len()).div_ceil(CHUNK);
        (0..chunks).map(|index| chunk(self.content, index) != chunk(old, index)).collect()
    }
}

/// The unbroken runs of indices in `range` for which `is_in` holds.
fn runs(range: Range<usize>, is_in: impl Fn(usize) -> bool) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for index in range.filter(|index| is_in(*index)) {
        match runs.last_mut() {
            Some(run) if run.end == index => run.end += 1,
            _ => runs.push(index..index + 1),
        }
    }
    runs
}

/// `into` becomes true wherever `other` is, or reaches further.
fn merge(into: &mut Vec<bool>, other: &[bool]) {
    into.resize(into.len().max(other.len()), true);
    for (index, flag) in into.iter_mut().enumerate() {
        *flag |= other.get(index).copied().unwrap_or(true);
    }
}

/// Where new slots go.
pub(crate) struct Target<'a> {
    pub(crate) disk: &'a Disk,
    pub(crate) state_id: u128,
    pub(crate) epoch: u64,
}
