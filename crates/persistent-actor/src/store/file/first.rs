//! The first journal of an incarnation; also where the disk is full.

use std::io::ErrorKind;

use super::upkeep::encode_snapshot;
use super::{Stop, header};
use crate::options::Options;
use crate::store::View;
use crate::store::disk::Disk;
use crate::store::failure::Failure;
use crate::store::fence::Claim;
use crate::store::group::Member;
use crate::store::names::{FileId, FileName};
use crate::store::patches::Plan;
use crate::store::segment::{Segment, SegmentHeader, Spare};
use crate::store::slots::{Slots, Target};

/// What it is made of.
pub(super) struct First<'a> {
    pub(super) disk: &'a Disk,
    pub(super) claim: &'a Claim,
    pub(super) state_id: u128,
    pub(super) id: FileId,
    pub(super) view: &'a View,
    pub(super) member: Option<Member>,
    /// The name of the directory is to be synced, too.
    pub(super) is_in_new: bool,
    pub(super) options: &'a Options,
}

impl First<'_> {
    /// Writes it; also gives the length of the snapshot's payload. What it takes is given back when
    /// it fails, so that an opener that tries again and again does not fill the disk.
    pub(super) fn write(
        &self,
        slots: &mut Slots,
        buffer: &mut Vec<u8>,
    ) -> Result<(Segment, usize), Stop> {
        let Self { disk, state_id, view, .. } = *self;
        let target = Target { disk, state_id, epoch: self.claim.epoch };
        if let Err(failure) = slots.fold(&target, view, |_| u64::MAX) {
            if is_full(&failure) {
                // For the next opener. This one must not try again: it would not write again what
                // a failed sync may have lost.
                self.make_room();
            }
            return Err(failure.into());
        }
        let plan = slots.plan_snapshot(view);
        let written = match self.write_segment(slots, &plan, buffer) {
            Err(Stop::Io(failure)) if is_full(&failure) && self.make_room() => {
                self.write_segment(slots, &plan, buffer)
            }
            other => other,
        }?;
        slots.restarted(&plan);
        Ok(written)
    }

    fn write_segment(
        &self,
        slots: &Slots,
        plan: &Plan,
        buffer: &mut Vec<u8>,
    ) -> Result<(Segment, usize), Stop> {
        let Self { id, view, options, .. } = *self;
        let len = encode_snapshot(buffer, view, &options.limits, slots, plan)?;
        let capacity = options.sizes.capacity(id.number, len, 0);
        match self.make_segment(header(self.state_id, id, capacity, self.member), buffer) {
            Ok(segment) => Ok((segment, len)),
            Err(failure) => {
                self.discard();
                Err(failure.into())
            }
        }
    }

    fn make_segment(
        &self,
        header: SegmentHeader,
        buffer: &mut Vec<u8>,
    ) -> Result<Segment, Failure> {
        let spare = Spare::create(self.disk, self.id)?;
        spare.into_segment(self.disk, header, self.view.sequence, buffer, self.is_in_new)
    }

    /// Removes what did not become the journal, if that can be. What has the name of the journal
    /// already may be found under it, and stays.
    fn discard(&self) {
        if self.may_remove() {
            // What is reported is why it came to this.
            let _ = self.disk.remove_if_there(FileName::Temporary(self.id));
        }
    }

    /// Removes the temporary files of older epochs, such as a dead writer's spare: they are never
    /// read, and whoever is still at work with one is fenced. Says whether it is worth while to try
    /// again.
    fn make_room(&self) -> bool {
        self.may_remove() && self.remove_older().unwrap_or(false)
    }

    fn remove_older(&self) -> Result<bool, Failure> {
        let names = self.disk.list()?.names;
        let mut made = false;
        for name in &names {
            if matches!(name, FileName::Temporary(id) if id.epoch < self.claim.epoch) {
                self.disk.remove_if_there(*name)?;
                made = true;
            }
        }
        // (The names of another try are those of the first.)
        let is_taken = [FileName::Journal(self.id), FileName::Temporary(self.id)];
        Ok(made && !names.iter().any(|name| is_taken.contains(name)))
    }

    /// A newer opener may be at work with what is there by now.
    fn may_remove(&self) -> bool {
        !self.options.switches.fencing || self.claim.holds_now().unwrap_or(false)
    }
}

fn is_full(failure: &Failure) -> bool {
    matches!(failure.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}
