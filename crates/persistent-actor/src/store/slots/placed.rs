//! [`Placed`]: where the large values of a record lie, as the record says it.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashSet;

use super::Slots;
use crate::bytes::{Bytes, BytesId};
use crate::paged_bytes::Paged;
use crate::store::names::FileId;
use crate::store::patches::Plan;
use crate::store::payload::{BlobRef, Place, References, SlotRef};

impl Slots {
    /// What a commit with these patches refers to.
    pub(crate) fn in_commit<'a>(&'a self, plan: &'a Plan) -> Placed<'a> {
        Placed { slots: self, plan, is_snapshot: false, written: RefCell::default() }
    }

    /// What a snapshot with these patches refers to.
    pub(crate) fn in_snapshot<'a>(&'a self, plan: &'a Plan) -> Placed<'a> {
        Placed { slots: self, plan, is_snapshot: true, written: RefCell::default() }
    }

    fn reference(&self, slot: FileId) -> Option<SlotRef> {
        let content = &self.slots.get(&slot)?.content;
        Some(SlotRef { slot, len: content.len, checksum: content.checksum() })
    }
}

/// Where the large values of a record lie.
pub(crate) struct Placed<'a> {
    slots: &'a Slots,
    plan: &'a Plan,
    is_snapshot: bool,
    /// Whose patches the record has already.
    written: RefCell<HashSet<BytesId>>,
}

impl Placed<'_> {
    /// A reference to a version that consists of patches.
    fn patched(&self, id: BytesId) -> Option<BlobRef<'_>> {
        let nothing = Cow::Borrowed(&[][..]);
        let Some(planned) = self.plan.get(&id) else {
            let version = self.slots.patched.version(id)?;
            let slot = self.slots.reference(version.base)?;
            return Some(BlobRef { slot, paged: true, earlier: version.sets, patches: nothing });
        };
        let slot = self.slots.reference(planned.base)?;
        let earlier = if self.is_snapshot { 0 } else { self.slots.patched.sets(planned.base) };
        let patches = Cow::Borrowed(planned.patches.as_slice());
        Some(match self.written.borrow_mut().insert(id) {
            true => BlobRef { slot, paged: true, earlier, patches },
            false => {
                let earlier = earlier + u32::from(!patches.is_empty());
                BlobRef { slot, paged: true, earlier, patches: nothing }
            }
        })
    }
}

impl References for Placed<'_> {
    fn blob(&self, blob: &Bytes, place: Place<'_>) -> Option<BlobRef<'_>> {
        if let Some(slot) = self.slots.blobs.get(&blob.id()) {
            let reference = BlobRef::from(self.slots.reference(*slot)?);
            return Some(BlobRef { paged: Paged::of(blob).is_some(), ..reference });
        }
        match place {
            Place::Attribute(_) => self.patched(blob.id()),
            Place::Reply(_) => None,
        }
    }

    fn inline(&self, place: Place<'_>) -> Option<SlotRef> {
        let slots = self.slots;
        let pending = slots.pending.iter().find(|(owner, _)| owner.is(place));
        let settled = || match place {
            Place::Attribute(name) => slots.attributes.get(name),
            Place::Reply(call) => slots.replies.get(&call),
        };
        slots.reference(pending.map(|(_, slot)| *slot).or_else(|| settled().copied())?)
    }
}
