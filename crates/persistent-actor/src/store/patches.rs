//! Versions of paged arrays that are the content of a slot with patches (`docs/format.md`,
//! section 4).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::layout::Malformed;
use super::names::FileId;
use super::payload::{BlobRef, SlotRef};
use super::{Record, View};
use crate::bytes::{Bytes, BytesId};
use crate::page_tree::{PAGE, PageTree};
use crate::paged_bytes::Paged;

/// How many pages a commit patches at most; what changes more is written to a slot.
const MAX_PATCHED_PAGES: usize = 64;

/// Bytes that take the place of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Patch {
    pub(crate) offset: u64,
    pub(crate) bytes: Vec<u8>,
}

/// The versions that a record holds as patches.
pub(crate) type Plan = BTreeMap<BytesId, Planned>;

/// A version that a record holds as patches of what is in a slot.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) base: FileId,
    pub(crate) patches: Vec<Patch>,
}

/// Which versions are patched contents of slots.
#[derive(Default)]
pub(super) struct Patched {
    /// The contents of slots that paged arrays build upon.
    bases: BTreeMap<FileId, Base>,
    versions: HashMap<BytesId, Version>,
    /// The slots for which the current journal holds patches, needed or not: what else they come
    /// to hold before the next journal must not be taken for what the patches belong to. And those
    /// that it names and the next one will not.
    with_sets: BTreeSet<FileId>,
}

struct Base {
    /// What the slot holds.
    tree: PageTree,
    /// The newest version that builds upon it; only this one can be patched further.
    tip: BytesId,
    /// How many sets of patches the journal holds.
    sets: u32,
    /// How long these are together. Bytes.
    patched: u64,
}

/// A version: the slot's content with its first so many sets of patches.
#[derive(Clone, Copy)]
pub(super) struct Version {
    pub(super) base: FileId,
    pub(super) sets: u32,
}

impl Patched {
    /// The patches by which `new` follows `old`, which builds upon `at`, if it is to be written
    /// as such.
    pub(super) fn plan(&self, new: &Bytes, old: &Bytes, at: FileId) -> Option<Planned> {
        let (new_tree, old_tree) = (Paged::of(new)?, Paged::of(old)?);
        let base = self.bases.get(&at)?;
        if base.tip != old.id() || new_tree.len() != old_tree.len() || base.sets == u32::MAX {
            return None;
        }
        let mut pages = Vec::new();
        new_tree.differing(old_tree, &mut pages);
        (pages.len() <= MAX_PATCHED_PAGES)
            .then(|| Planned { base: at, patches: patches(new_tree, old_tree, &pages) })
    }

    /// The version of a patched array.
    pub(super) fn version(&self, id: BytesId) -> Option<Version> {
        self.versions.get(&id).copied()
    }

    /// What the slot at `base` holds.
    pub(super) fn content(&self, base: FileId) -> Option<&PageTree> {
        self.bases.get(&base).map(|base| &base.tree)
    }

    /// How many sets of patches the journal holds for a base.
    pub(super) fn sets(&self, base: FileId) -> u32 {
        self.bases.get(&base).map_or(0, |base| base.sets)
    }

    /// A slot holds this version.
    pub(super) fn stored(&mut self, slot: FileId, bytes: &Bytes) {
        self.versions.remove(&bytes.id());
        if let Some(tree) = Paged::of(bytes) {
            let base = Base { tree: tree.clone(), tip: bytes.id(), sets: 0, patched: 0 };
            self.bases.insert(slot, base);
        }
    }

    /// A slot turned out to hold this version already.
    pub(super) fn found(&mut self, slot: FileId, bytes: &Bytes) {
        match self.bases.contains_key(&slot) {
            true => drop(self.versions.remove(&bytes.id())),
            false => self.stored(slot, bytes),
        }
    }

    /// The current journal needs this slot, whatever becomes of what it holds.
    pub(super) fn keep(&mut self, slot: FileId) {
        self.with_sets.insert(slot);
    }

    /// Whether the current journal needs this slot, also if nothing else does.
    pub(super) fn has_sets(&self, slot: FileId) -> bool {
        self.with_sets.contains(&slot)
    }

    /// The journal holds the patches that make the tip of a base into `bytes`.
    pub(super) fn patched(&mut self, bytes: &Bytes, Planned { base, patches }: &Planned) {
        let Some(known) = self.bases.get_mut(base) else { return };
        if !patches.is_empty() {
            known.sets += 1;
            self.with_sets.insert(*base);
        }
        known.tip = bytes.id();
        known.patched += len(patches);
        self.versions.insert(bytes.id(), Version { base: *base, sets: known.sets });
    }

    /// Takes over a version that an older incarnation wrote: the content of a slot, and what the
    /// patches have made of it.
    pub(super) fn adopt(&mut self, slot: FileId, tree: PageTree, bytes: &Bytes, sets: u32) {
        let base =
            self.bases.entry(slot).or_insert(Base { tree, tip: bytes.id(), sets, patched: 0 });
        if sets >= base.sets {
            (base.sets, base.tip) = (sets, bytes.id());
        }
        if sets > 0 {
            self.versions.insert(bytes.id(), Version { base: slot, sets });
        }
    }

    /// A slot's content is needed no more.
    pub(super) fn forget(&mut self, slot: FileId) {
        self.bases.remove(&slot);
    }

    /// Whether a version must be written to a slot before a snapshot can name it, or should be
    /// because its patches are longer than `most` bytes.
    pub(super) fn is_to_be_stored(&self, bytes: &Bytes, most: u64) -> bool {
        let Some(version) = self.version(bytes.id()) else { return false };
        let base = self.bases.get(&version.base);
        base.is_none_or(|base| base.tip != bytes.id() || base.patched > most)
    }

    /// The versions that a snapshot of `view` holds as patches, all of a version's in one set.
    pub(super) fn plan_snapshot(&self, view: &View) -> Plan {
        let attributes = view.attributes.values().flat_map(|value| &value.blobs);
        let planned = |bytes: &Bytes| {
            let base = self.version(bytes.id())?.base;
            let (new, old) = (Paged::of(bytes)?, &self.bases.get(&base)?.tree);
            let mut pages = Vec::new();
            new.differing(old, &mut pages);
            Some((bytes.id(), Planned { base, patches: patches(new, old, &pages) }))
        };
        attributes.filter_map(planned).collect()
    }

    /// The journal begins with a snapshot that holds the versions in `plan` and no other.
    pub(super) fn restarted(&mut self, plan: &Plan) {
        self.versions.clear();
        self.with_sets.clear();
        for base in self.bases.values_mut() {
            (base.sets, base.patched) = (0, 0);
        }
        for (id, Planned { base, patches }) in plan {
            let sets = u32::from(!patches.is_empty());
            self.versions.insert(*id, Version { base: *base, sets });
            if sets > 0 {
                self.with_sets.insert(*base);
            }
            if let Some(base) = self.bases.get_mut(base) {
                (base.sets, base.patched) = (sets, len(patches));
            }
        }
    }
}

fn len(patches: &[Patch]) -> u64 {
    patches.iter().map(|patch| patch.bytes.len() as u64).sum()
}

/// Whether a reply of the record is this array: then it needs a slot of its own.
pub(super) fn is_answered(record: &Record, id: BytesId) -> bool {
    let reply = record.call.iter().flat_map(|call| &call.reply.value.blobs);
    reply.map(Bytes::id).any(|answered| answered == id)
}

/// What changes `old` into `new`, which differ in these pages only.
fn patches(new: &PageTree, old: &PageTree, pages: &[usize]) -> Vec<Patch> {
    let mut patches: Vec<Patch> = Vec::new();
    for &index in pages {
        let (new, old) = (new.page(index), old.page(index));
        let Some(first) = new.iter().zip(old).position(|(a, b)| a != b) else { continue };
        let last = new.iter().zip(old).rposition(|(a, b)| a != b).unwrap_or(first);
        let (offset, bytes) = ((index * PAGE + first) as u64, &new[first..=last]);
        match patches.last_mut() {
            Some(last) if last.offset + last.bytes.len() as u64 == offset => {
                last.bytes.extend_from_slice(bytes);
            }
            _ => patches.push(Patch { offset, bytes: bytes.to_vec() }),
        }
    }
    patches
}

/// While a journal is read: the sets of patches that it holds for each slot, in order.
#[derive(Default)]
pub(super) struct Sets(HashMap<SlotRef, Vec<Vec<Patch>>>);

impl Sets {
    /// Takes the patches of a reference over, and tells how many sets belong to its version.
    pub(super) fn take(&mut self, reference: &BlobRef<'_>) -> Result<u32, Malformed> {
        let sets = self.0.entry(reference.slot).or_default();
        let known = u32::try_from(sets.len()).unwrap_or(u32::MAX);
        let (earlier, patches) = (reference.earlier, &reference.patches);
        if patches.is_empty() && earlier <= known {
            return Ok(earlier);
        }
        if patches.is_empty() || earlier != known || known == u32::MAX {
            let text = format!("an array builds upon {earlier} sets of patches, {known} are there");
            return Err(Malformed(text));
        }
        sets.push(patches.to_vec());
        Ok(known + 1)
    }

    /// The patches of a version, in order. All lie within the content that they belong to.
    pub(super) fn of(&self, slot: SlotRef, version: u32) -> impl Iterator<Item = &Patch> {
        let sets = self.0.get(&slot).map_or(&[][..], Vec::as_slice);
        sets[..version as usize].iter().flatten()
    }
}
