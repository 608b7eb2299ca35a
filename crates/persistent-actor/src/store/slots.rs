//! Large values: a file each, of which only the chunks that changed are written
//! (`docs/format.md`, section 4).

mod free;
mod placed;
mod writing;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use self::writing::Difference;
use super::content::{Source, merge};
use super::disk::{Disk, DiskFile};
use super::failure::Failure;
use super::in_place::Pooled;
use super::names::{FileId, FileName};
use super::patches::{Patched, Plan, is_answered};
use super::payload::{INLINE_LIMIT, Place};
use super::slot_file::encode_header;
pub(crate) use super::slot_file::{Content, SlotReader};
use super::{InPlace, Record, View};
use crate::bytes::{Bytes, BytesId, WeakBytes};
use crate::call::CallId;
use crate::page_tree::{PAGE, PageTree};

/// How many slots are kept open to be written again.
const MAX_OPEN: usize = 64;

/// The contents of all slots, and which of them are needed.
#[derive(Default)]
pub(crate) struct Slots {
    pub(super) slots: BTreeMap<FileId, Slot>,
    pub(super) blobs: HashMap<BytesId, FileId>,
    attributes: BTreeMap<String, FileId>,
    replies: BTreeMap<CallId, FileId>,
    pub(super) patched: Patched,
    /// Large CBOR of the commit under way: it takes its place when the record is written.
    pending: Vec<(Owner, FileId)>,
    /// Written in the commit under way and not synced yet.
    unsynced: Vec<FileId>,
    names_changed: bool,
    last_number: u32,
    /// Where large arrays can be built, if anywhere.
    pub(super) pool: InPlace,
}

pub(super) struct Slot {
    /// The file, for writing; `None` if an older incarnation made it.
    pub(super) file: Option<DiskFile>,
    /// How much of the file is written behind its header. Bytes.
    pub(super) written: u64,
    pub(super) content: Content,
    pub(super) holder: Holder,
    /// How it differs from the slot that replaced it.
    pub(super) behind: Option<Behind>,
    /// Whether arrays are built in it.
    pub(super) pooled: Pooled,
}

/// Who needs a slot's content.
pub(super) enum Holder {
    /// Whoever has one of these in memory; the committed state has, as long as it needs it.
    Blobs(Vec<WeakBytes>),
    /// An attribute or a reply whose CBOR is large.
    Inline(Owner, u64),
}

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Owner {
    Attribute(String),
    Reply(CallId),
}

/// By pages.
pub(super) struct Behind {
    head: FileId,
    stale: Vec<bool>,
}

/// A value to be stored, and the content of a slot that it is much like.
struct Update<'a> {
    content: Source<'a>,
    like: Option<(FileId, Source<'a>)>,
}

impl Slots {
    /// Takes over a slot that an older incarnation wrote.
    pub(crate) fn adopt_blob(&mut self, slot: FileId, content: &Content, blob: &Bytes) {
        self.blobs.insert(blob.id(), slot);
        match self.slots.get_mut(&slot) {
            Some(Slot { holder: Holder::Blobs(holders), .. }) => holders.push(blob.downgrade()),
            _ => {
                let holder = Holder::Blobs(vec![blob.downgrade()]);
                self.slots.insert(slot, Slot::adopted(content, holder));
            }
        }
    }

    /// Takes over an array in pages that an older incarnation wrote: the content of the slot with
    /// some sets of patches.
    pub(crate) fn adopt_pages(&mut self, slot: FileId, base: &PageTree, blob: &Bytes, sets: u32) {
        if sets > 0 {
            self.blobs.remove(&blob.id());
        }
        self.patched.adopt(slot, base.clone(), blob, sets);
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

    /// Lets large arrays be built in slots.
    pub(crate) fn set_pool(&mut self, pool: InPlace) {
        self.pool = pool;
    }

    /// Syncs the slots that were taken over.
    pub(crate) fn sync_adopted(&self, disk: &Disk) -> Result<(), Failure> {
        let mut adopted = self.slots.iter().filter(|(_, slot)| slot.file.is_none());
        adopted.try_for_each(|(id, _)| disk.sync(&disk.open(FileName::Slot(*id))?))
    }

    /// Which arrays of `record`, which follows `view`, are to be written as patches.
    pub(crate) fn plan(&self, record: &Record, view: &View) -> Plan {
        let (mut plan, mut patched) = (Plan::new(), BTreeSet::new());
        for (name, value) in record.changes.iter().filter(|(_, value)| !value.blobs.is_empty()) {
            let Some(old) = view.attributes.get(name) else { continue };
            for (new, old) in value.blobs.iter().zip(&old.blobs) {
                if self.is_placed(new.id())
                    || plan.contains_key(&new.id())
                    || is_answered(record, new.id())
                {
                    continue;
                }
                let planned = self.base(old).and_then(|at| self.patched.plan(new, old, at));
                // A base has one line of versions: what else a record makes of it is stored.
                if let Some(planned) = planned.filter(|planned| patched.insert(planned.base)) {
                    plan.insert(new.id(), planned);
                }
            }
        }
        plan
    }

    /// Writes what is large in `record` and not in `plan` to slots that `view` does not need.
    pub(crate) fn write(
        &mut self,
        target: &Target<'_>,
        record: &Record,
        view: &View,
        plan: &Plan,
    ) -> Result<(), Failure> {
        for (name, value) in &record.changes {
            let old = view.attributes.get(name);
            if value.inline.len() >= INLINE_LIMIT {
                let like = self.attributes.get(name).copied();
                let like = like.zip(old.map(|old| Source::Flat(&old.inline)));
                let update = Update { content: Source::Flat(&value.inline), like };
                self.write_inline(target, update, Place::Attribute(name), record, view)?;
            }
            for (index, blob) in value.blobs.iter().enumerate() {
                let old = old.and_then(|old| old.blobs.get(index));
                if !plan.contains_key(&blob.id()) && !self.is_placed(blob.id()) {
                    self.write_blob(target, blob, old, view)?;
                }
            }
        }
        let Some(call) = &record.call else { return self.sync(target.disk) };
        let value = &call.reply.value;
        if value.inline.len() >= INLINE_LIMIT {
            let update = Update { content: Source::Flat(&value.inline), like: None };
            self.write_inline(target, update, Place::Reply(call.id), record, view)?;
        }
        for blob in &value.blobs {
            if !self.blobs.contains_key(&blob.id()) {
                self.write_blob(target, blob, None, view)?;
            }
        }
        self.sync(target.disk)
    }

    /// Writes arrays whose patches have become long, more than `most(length)` bytes, to slots, and
    /// those that a snapshot could not name otherwise.
    pub(crate) fn fold(
        &mut self,
        target: &Target<'_>,
        view: &View,
        most: impl Fn(u64) -> u64,
    ) -> Result<(), Failure> {
        for blob in view.attributes.values().flat_map(|value| &value.blobs) {
            if self.patched.is_to_be_stored(blob, most(blob.len() as u64)) {
                let base = self.base(blob);
                self.write_blob(target, blob, Some(blob), view)?;
                if let Some(base) = base.filter(|base| self.base(blob) != Some(*base)) {
                    self.let_go(base, blob.id());
                }
            }
        }
        self.sync(target.disk)
    }

    /// A version has moved to another slot. As long as the current journal names this one it is not
    /// used again.
    fn let_go(&mut self, base: FileId, id: BytesId) {
        self.patched.keep(base);
        if let Some(Slot { holder: Holder::Blobs(holders), .. }) = self.slots.get_mut(&base) {
            holders.retain(|holder| holder.id != id);
        }
    }

    /// The versions that a snapshot of `view` holds as patches.
    pub(crate) fn plan_snapshot(&self, view: &View) -> Plan {
        self.patched.plan_snapshot(view)
    }

    /// A journal that begins with a snapshot, in which the versions in `plan` are patches, has
    /// taken the place of the one before.
    pub(crate) fn restarted(&mut self, plan: &Plan) {
        self.patched.restarted(plan);
    }

    /// Whether an attribute can refer to this array.
    fn is_placed(&self, id: BytesId) -> bool {
        self.blobs.contains_key(&id) || self.patched.version(id).is_some()
    }

    /// The slot that an array builds upon.
    fn base(&self, blob: &Bytes) -> Option<FileId> {
        let patched = self.patched.version(blob.id()).map(|version| version.base);
        patched.or_else(|| self.blobs.get(&blob.id()).copied())
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
    pub(crate) fn committed(&mut self, record: &Record, plan: &Plan) {
        for (name, value) in &record.changes {
            self.attributes.remove(name);
            for blob in &value.blobs {
                let Some(planned) = plan.get(&blob.id()) else { continue };
                if self.patched.version(blob.id()).is_none() {
                    self.patched.patched(blob, planned);
                    self.hold(planned.base, blob);
                }
            }
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

    /// Notes that a slot is needed as long as `blob` is.
    fn hold(&mut self, slot: FileId, blob: &Bytes) {
        if let Some(Slot { holder: Holder::Blobs(holders), .. }) = self.slots.get_mut(&slot) {
            for gone in holders.extract_if(.., |holder| !holder.is_alive()) {
                self.blobs.remove(&gone.id);
            }
            holders.push(blob.downgrade());
        }
    }

    fn write_blob(
        &mut self,
        target: &Target<'_>,
        blob: &Bytes,
        old: Option<&Bytes>,
        view: &View,
    ) -> Result<(), Failure> {
        if self.keep_in_place(blob)? {
            return Ok(());
        }
        let head = old.and_then(|old| Some((self.base(old)?, old)));
        // A copy of the pages, because the slots are changed meanwhile.
        let pages = head.and_then(|(head, _)| self.patched.content(head).cloned());
        let like = head.and_then(|(head, old)| match &pages {
            Some(pages) => Some((head, Source::Paged(pages))),
            // Its slot holds it only if it has no patches.
            None => self.blobs.contains_key(&old.id()).then(|| (head, Source::of(old))),
        });
        let update = Update { content: Source::of(blob), like };
        let changed = update.changed_pages();
        // (A slot in which arrays are built is written anew once the array that was built there
        // is gone.)
        if let Some((head, _)) = like
            && !changed.contains(&true)
            && self.slots.get(&head).is_some_and(|slot| slot.pooled != Pooled::Yes)
        {
            // The same content under a new identity: nothing to write.
            self.hold(head, blob);
            self.blobs.insert(blob.id(), head);
            self.patched.found(head, blob);
            return Ok(());
        }
        let holder = Holder::Blobs(vec![blob.downgrade()]);
        let slot = self.store(target, &update, &changed, holder, view)?;
        self.blobs.insert(blob.id(), slot);
        self.patched.stored(slot, blob);
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
        let changed = update.changed_pages();
        let slot = self.store(target, &update, &changed, holder, view)?;
        self.pending.push((owner, slot));
        Ok(())
    }

    /// Writes a content to a free slot: the pages in which the slot differs from it.
    fn store(
        &mut self,
        target: &Target<'_>,
        update: &Update<'_>,
        changed: &[bool],
        holder: Holder,
        view: &View,
    ) -> Result<FileId, Failure> {
        let head = update.like.map(|(head, _)| head);
        let known = head.and_then(|head| self.slots.get(&head));
        let known = known.map(|slot| slot.content.hashes.clone()).unwrap_or_default();
        let id = match self.choose_free(head, update.content.len() as u64, view) {
            Some(id) => id,
            None => self.create(target)?,
        };
        let Some(slot) = self.slots.get_mut(&id) else { unreachable!("the slot was just chosen") };
        slot.holder = holder;
        let stale = slot.behind.take().filter(|behind| Some(behind.head) == head);
        let stale = stale.map(|behind| behind.stale);
        slot.write(target.disk, update.content, &Difference { changed, known, stale })?;
        self.unsynced.push(id);
        self.advance(head, id, changed);
        Ok(id)
    }

    /// `new` has replaced `head`: notes how every slot that was compared with `head` differs
    /// from `new`.
    pub(super) fn advance(&mut self, head: Option<FileId>, new: FileId, changed: &[bool]) {
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

    fn create(&mut self, target: &Target<'_>) -> Result<FileId, Failure> {
        self.last_number += 1;
        let id = FileId { epoch: target.epoch, number: self.last_number };
        let file = target.disk.create(FileName::Slot(id))?;
        file.write_at(&encode_header(target.state_id, id), 0)?;
        self.names_changed = true;
        let holder = Holder::Blobs(Vec::new());
        let content = Content::default();
        let (file, pooled) = (Some(file), Pooled::default());
        self.slots.insert(id, Slot { file, written: 0, content, holder, behind: None, pooled });
        Ok(id)
    }
}

impl Slot {
    fn adopted(content: &Content, holder: Holder) -> Self {
        let (content, pooled) = (content.clone(), Pooled::default());
        Self { file: None, written: content.len, content, holder, behind: None, pooled }
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
    /// Which pages of either content differ from the other's.
    fn changed_pages(&self) -> Vec<bool> {
        match self.like {
            Some((_, old)) => self.content.changed_pages(old),
            None => vec![true; self.content.len().div_ceil(PAGE)],
        }
    }
}

/// Where new slots go.
pub(crate) struct Target<'a> {
    pub(crate) disk: &'a Disk,
    pub(crate) state_id: u128,
    pub(crate) epoch: u64,
}
