//! What is done beside commits: checkpoints, and the removal of what nothing needs any more.

use super::{FileStore, Stop, check_limit, header};
use crate::call::unix_ms;
use crate::ledger::LedgerLimits;
use crate::options::Options;
use crate::store::View;
use crate::store::frame::{self, Framing};
use crate::store::names::{FileId, FileName};
use crate::store::opening::takes_over_slots;
use crate::store::patches::Plan;
use crate::store::payload;
use crate::store::segment::Spare;
use crate::store::slots::{Slots, Target};

/// The patches of an array may become as long as this part of it before it is written to a slot.
const FOLD_SHARE: u64 = 64;

/// How many files of older incarnations may wait to be removed. Any others are removed when the
/// state is opened, so that they never pile up.
const MAX_LEFTOVERS: usize = 8;

impl FileStore {
    /// Takes stock of what older incarnations have left; those that have ended write no more.
    pub(super) fn tidy_up(&mut self, names: &[FileName], options: &Options) -> Result<(), Stop> {
        let (epoch, ended) = (self.claim.epoch, &options.ended);
        let takes_over = takes_over_slots(options);
        // Those that came after its writer may have it mapped.
        let is_forsaken = |id: FileId| (id.epoch..epoch).all(|epoch| ended.contains(&epoch));
        let needed = names.iter().filter(|name| self.needs_slot(**name)).count();
        let mut reusable = Vec::new();
        for &name in names {
            let superfluous = match name {
                FileName::Slot(id) if id.epoch < epoch && self.slots.contains(id) => false,
                // No more than what a reserve of our own would be.
                FileName::Slot(id) if takes_over && is_forsaken(id) && reusable.len() < needed => {
                    reusable.push(name);
                    false
                }
                FileName::Journal(id) | FileName::Temporary(id) | FileName::Slot(id) => {
                    id.epoch < epoch
                }
                FileName::Claim(_) | FileName::Identity => false,
            };
            // Somebody waits for a successor: it answers first and cleans up then.
            let can_wait = !ended.is_empty() && self.leftovers.len() < MAX_LEFTOVERS;
            if superfluous && can_wait {
                self.leftovers.push(name);
            } else if superfluous {
                self.disk.remove_if_there(name)?;
            }
        }
        self.disk.reuse(reusable);
        if self.leftovers.is_empty() {
            self.disk.tidy()?;
        }
        Ok(())
    }

    fn needs_slot(&self, name: FileName) -> bool {
        matches!(name, FileName::Slot(id) if self.slots.contains(id))
    }

    /// Removes one file that an older incarnation has left; `false` if there is none.
    fn remove_leftover(&mut self) -> Result<bool, Stop> {
        let Some(name) = self.leftovers.pop() else { return Ok(false) };
        self.check_claim_now()?;
        self.disk.remove_if_there(name)?;
        if self.leftovers.is_empty() {
            self.disk.tidy()?;
        }
        Ok(true)
    }

    /// Writes what must be in slots before a snapshot of `view` can be written. `view` is what the
    /// current segment gives when it is read: what that needs is not free to be written to.
    pub(super) fn prepare_checkpoint(&mut self, view: &View) -> Result<(), Stop> {
        self.check_claim_now()?;
        if self.segment.is_ahead() && !self.slots.slots.is_empty() {
            // Slots are free in a state that is not durable yet. Without slots nothing but the
            // new segment is written, and that is whole and has its name, both synced, before
            // anything takes the old one away.
            self.segment.sync(&self.disk)?;
        }
        let target = Target { disk: &self.disk, state_id: self.state_id, epoch: self.claim.epoch };
        let least = self.sizes.later;
        self.slots.fold(&target, view, |len| least.max(len / FOLD_SHARE))?;
        Ok(())
    }

    /// Switches to a new segment that starts with a snapshot of `view` and has room for a record
    /// of `record_len` bytes.
    pub(super) fn checkpoint(&mut self, view: &View, record_len: usize) -> Result<(), Stop> {
        self.check_claim_now()?;
        self.number += 1;
        let id = FileId { epoch: self.claim.epoch, number: self.number };
        let plan = self.slots.plan_snapshot(view);
        let (buffer, slots) = (&mut self.buffer, &self.slots);
        self.snapshot_len = encode_snapshot(buffer, view, &self.limits, slots, &plan)?;
        let capacity = self.sizes.capacity(self.number, self.snapshot_len, record_len);
        let header = header(self.state_id, id, capacity, self.member);
        let spare = match self.spare.take() {
            Some(spare) => spare,
            None => Spare::create(&self.disk, id)?,
        };
        let segment =
            spare.into_segment(&self.disk, header, view.sequence, &mut self.buffer, false)?;
        let old = std::mem::replace(&mut self.segment, segment);
        self.slots.restarted(&plan);
        // What follows takes away what a successor might be reading.
        self.check_claim_now()?;
        if old.is_reusable(capacity) {
            self.spare = Some(old.retire(&self.disk)?);
        } else {
            self.disk.remove(old.name())?;
        }
        self.disk.remove_reusable()?;
        self.slots.remove_unused(&self.disk, view)?;
        Ok(())
    }

    /// Half of the segment is used, or there is much to give back, or the group journal is not
    /// needed any more.
    pub(super) fn is_due(&self, view: &View) -> bool {
        self.segment.quarters() >= 2
            || self.slots.is_wasteful(view)
            || self.may_leave_group()
            || self.needs_identity(view)
            || self.must_forget
    }

    /// The segment says that it needs the group journal, and does not any more.
    fn may_leave_group(&self) -> bool {
        self.member.is_none() && self.segment.is_grouped() && !self.segment.is_ahead()
    }

    pub(super) fn try_maintain(&mut self, view: &mut View) -> Result<(), Stop> {
        self.slots.stock(view);
        if self.may_leave_group() {
            self.segment.leave_group()?;
        }
        if self.write_identity(view)? || self.remove_leftover()? || !self.is_due(view) {
            return Ok(());
        }
        if self.must_forget {
            return self.forget_and_checkpoint(view);
        }
        let quarters = self.segment.quarters();
        let wasteful = self.slots.is_wasteful(view);
        let id = FileId { epoch: self.claim.epoch, number: self.number + 1 };
        let capacity = self.sizes.capacity(id.number, self.snapshot_len, 0);
        if self.spare.is_none() {
            self.check_claim_now()?;
            self.spare = Some(Spare::create(&self.disk, id)?);
        }
        let Some(spare) = &mut self.spare else { return Ok(()) };
        // Many that sync at the same time hold up each other.
        let synced = self.member.is_none();
        if !spare.is_ready(capacity, synced) {
            spare.step(&self.disk, capacity, self.sizes.step, synced)?;
        } else if quarters >= 3 || wasteful {
            self.forget_and_checkpoint(view)?;
        }
        Ok(())
    }

    /// A checkpoint that forgets what lies beyond the bounds of the ledger.
    fn forget_and_checkpoint(&mut self, view: &mut View) -> Result<(), Stop> {
        self.prepare_checkpoint(view)?;
        view.ledger.expire(&self.limits, unix_ms());
        self.checkpoint(view, 0)?;
        self.must_forget = false;
        Ok(())
    }
}

/// Puts a snapshot into `buffer` (after room for the header) and gives its length.
pub(super) fn encode_snapshot(
    buffer: &mut Vec<u8>,
    view: &View,
    limits: &LedgerLimits,
    slots: &Slots,
    plan: &Plan,
) -> Result<usize, Stop> {
    Framing::begin(buffer);
    payload::put_snapshot(buffer, view, limits, &slots.in_snapshot(plan))?;
    let len = buffer.len() - frame::HEADER;
    check_limit(|| "the snapshot of the state".to_owned(), len as u64, frame::MAX_PAYLOAD)?;
    Ok(len)
}
