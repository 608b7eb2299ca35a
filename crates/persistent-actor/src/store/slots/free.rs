//! Which slots nothing needs, and what becomes of them: they are written again, or removed.

use super::{Holder, Owner, Slot, Slots};
use crate::bytes::WeakBytes;
use crate::store::View;
use crate::store::disk::Disk;
use crate::store::failure::Failure;
use crate::store::in_place::Pooled;
use crate::store::names::{FileId, FileName};

impl Slots {
    /// A slot of our own that nothing needs: best one that differs little from `head`, else one
    /// of about the size.
    pub(super) fn choose_free(
        &mut self,
        head: Option<FileId>,
        len: u64,
        view: &View,
    ) -> Option<FileId> {
        let related = |slot: &Slot| {
            let behind = slot.behind.as_ref();
            head.is_some() && behind.is_some_and(|behind| Some(behind.head) == head)
        };
        let suitable = |(id, slot): &(&FileId, &Slot)| {
            slot.file.is_some()
                && !self.is_given_out(**id, slot.pooled)
                && !self.patched.has_sets(**id)
                && (related(slot) || slot.written / 4 <= len)
                && !self.is_used(**id, slot, view)
        };
        let best = self.slots.iter().filter(suitable).max_by_key(|(_, slot)| {
            (related(slot), slot.pooled != Pooled::Yes, slot.written.min(len))
        });
        let id = *best?.0;
        if !self.withdraw(id) {
            return None;
        }
        self.forget(id);
        Some(id)
    }

    /// Nothing finds the old content of a slot any more.
    pub(in crate::store) fn forget(&mut self, id: FileId) {
        self.patched.forget(id);
        self.blobs.retain(|_, slot| *slot != id);
        self.replies.retain(|_, slot| *slot != id);
    }

    pub(in crate::store) fn is_used(&self, id: FileId, slot: &Slot, view: &View) -> bool {
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
            } else if !self.is_given_out(*id, slot.pooled) {
                removed.push(*id);
            }
        }
        for id in removed {
            if !self.withdraw(id) {
                continue;
            }
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
                false if self.is_given_out(*id, slot.pooled) => {}
                false => unused += slot.written,
            }
        }
        unused > TOLERATED + 2 * used
    }
}
