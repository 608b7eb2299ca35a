//! Arrays that were built in a slot: nothing of them is written when they are committed
//! (`docs/format.md`, section 4).

use super::View;
use super::failure::Failure;
use super::names::FileId;
use super::slot_file::{CHUNK, CONTENT_OFFSET, Content, chunk_hash};
use super::slots::{Holder, Slot, Slots};
use crate::bytes::Bytes;

/// How many slots the pool has at most, given out or not.
const MAX_SLOTS: usize = 16;
/// How long the contents of the pool's slots can be together. Bytes.
const MAX_POOLED_BYTES: u64 = 256 << 20;

/// Whether a slot's memory can be given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pooled {
    /// It was never offered to the pool, or withdrawn.
    #[default]
    No,
    /// The pool has it; only what is built there becomes its content.
    Yes,
    /// The pool cannot map it.
    Cannot,
}

impl Slots {
    /// Lets the pool give out, from now on, the memory of slots of our own that nothing needs.
    ///
    /// To be called when `view` is what is committed: a slot whose content anybody could still
    /// read must not be among them.
    pub(crate) fn stock(&mut self, view: &View) {
        let Some(pool) = self.pool.0.clone() else { return };
        let is_free = |(id, slot): &(&FileId, &Slot)| {
            slot.file.is_some() && !self.patched.has_sets(**id) && !self.is_used(**id, slot, view)
        };
        let free: Vec<FileId> = self.slots.iter().filter(is_free).map(|(id, _)| *id).collect();
        for id in free {
            match self.slots.get(&id).map(|slot| slot.pooled) {
                Some(Pooled::Yes) => pool.renew(id.into()),
                Some(Pooled::No) => self.offer(id),
                Some(Pooled::Cannot) | None => {}
            }
        }
    }

    fn offer(&mut self, id: FileId) {
        let pooled = self.slots.values().filter(|slot| slot.pooled == Pooled::Yes);
        let (count, bytes) =
            pooled.fold((0, 0), |(count, bytes), slot| (count + 1, bytes + slot.written));
        let Some(pool) = self.pool.0.clone() else { return };
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let Some(file) = &slot.file else { return };
        let fits = count < MAX_SLOTS && bytes + slot.written <= MAX_POOLED_BYTES;
        if slot.written < pool.least_bytes() || !fits {
            return;
        }
        if !pool.offer(id.into(), file.storage_file(), slot.written) {
            slot.pooled = Pooled::Cannot;
            return;
        }
        slot.pooled = Pooled::Yes;
        slot.behind = None;
        self.forget(id);
    }

    /// Takes a slot back from the pool; `false` if somebody has its memory.
    pub(super) fn withdraw(&mut self, id: FileId) -> bool {
        let Some(slot) = self.slots.get_mut(&id) else { return false };
        match (slot.pooled, &self.pool.0) {
            (Pooled::Yes, Some(pool)) if !pool.withdraw(id.into()) => return false,
            (Pooled::Yes, _) => slot.pooled = Pooled::No,
            _ => {}
        }
        true
    }

    /// Whether somebody has the slot's memory who has not committed what is in it.
    pub(super) fn is_given_out(&self, id: FileId, pooled: Pooled) -> bool {
        let idle = || self.pool.0.as_ref().is_some_and(|pool| pool.is_idle(id.into()));
        pooled == Pooled::Yes && !idle()
    }

    /// Makes an array the content of the slot that it was built in; `false` if it was not built in
    /// one.
    pub(super) fn keep_in_place(&mut self, blob: &Bytes) -> Result<bool, Failure> {
        let Some(id) = blob.memory().slot().map(FileId::from) else { return Ok(false) };
        let room = |slot: &Slot| blob.len() as u64 <= slot.written;
        // Whoever holds the memory may write it, so nobody else needs what was there before.
        let is_free = |slot: &Slot| match &slot.holder {
            Holder::Blobs(holders) => !holders.iter().any(|holder| holder.is_alive()),
            Holder::Inline(..) => true,
        };
        match self.slots.get(&id) {
            Some(slot) if slot.pooled == Pooled::Yes && room(slot) && is_free(slot) => {}
            _ => return Ok(false),
        }
        self.forget(id);
        let Some(slot) = self.slots.get_mut(&id) else { return Ok(false) };
        let Some(file) = &slot.file else { return Ok(false) };
        file.written_in_place(blob, CONTENT_OFFSET)?;
        let hashes = blob.chunks(CHUNK).enumerate();
        let hashes = hashes.map(|(index, chunk)| chunk_hash(chunk, index)).collect();
        slot.content = Content { len: blob.len() as u64, hashes };
        slot.holder = Holder::Blobs(vec![blob.downgrade()]);
        slot.behind = None;
        // What other slots differed from is not there any more.
        self.advance(None, id, &[]);
        self.blobs.insert(blob.id(), id);
        Ok(true)
    }
}
