//! The file of a group journal that batches go to.

use std::collections::BTreeSet;

use super::batch::{self, Mark};
use super::queue::Batch;
use crate::store::disk::Disk;
use crate::store::failure::Failure;
use crate::store::fence::Claim;
use crate::store::frame::{self, Framing, Kind};
use crate::store::names::{FileId, FileName};
use crate::store::segment::{Purpose, Segment, SegmentHeader, Sizes, Spare};

/// How large the first file is. Bytes. Each is twice as large as the one before, up to the last.
const FIRST: u64 = 256 * 1024;
const LAST: u64 = 32 * 1024 * 1024;

/// What a file holds of each member at least, up to [`LAST`]: when it is given up, each member's
/// state is synced, which costs as much as some hundred commits.
const MEMBER: u64 = 64 * 1024;

pub(super) struct Writer {
    disk: Disk,
    claim: Claim,
    run: u128,
    first: u64,
    last: u64,
    member: u64,
    segment: Segment,
    /// The file before: it is needed until the states have been synced, and kept until the next.
    previous: Option<Segment>,
    sequence: u64,
    sectors: Vec<u8>,
}

impl Writer {
    pub(super) fn start(
        disk: Disk,
        claim: Claim,
        run: u128,
        sizes: &Sizes,
    ) -> Result<Self, Failure> {
        let (first, last, member) = match *sizes == Sizes::default() {
            true => (FIRST, LAST, MEMBER),
            // Tests that want to meet many files.
            false => (sizes.first / 2, sizes.first, 0),
        };
        let id = FileId { epoch: claim.epoch, number: 1 };
        let mut table = Vec::new();
        Framing::begin(&mut table);
        batch::put_table(&mut table, false, [].iter().map(|(n, mark)| (*n, mark)));
        let spare = Spare::create(&disk, id)?;
        // The directory may have been made just now, or by somebody who was killed after that.
        let segment = spare.into_segment(&disk, header(run, id, first), 0, &mut table, true)?;
        let sectors = Vec::new();
        let previous = None;
        Ok(Self { disk, claim, run, first, last, member, segment, previous, sequence: 0, sectors })
    }

    pub(super) fn disk(&self) -> &Disk {
        &self.disk
    }

    pub(super) fn epoch(&self) -> u64 {
        self.claim.epoch
    }

    /// The number of the file that batches go to.
    pub(super) fn file(&self) -> u32 {
        self.segment.id().number
    }

    /// Whether no newer opener has taken over.
    pub(super) fn holds(&self) -> Result<bool, Failure> {
        self.claim.holds()
    }

    pub(super) fn fits(&self, batch: &Batch) -> bool {
        self.segment.fits(batch.payload.len() - frame::HEADER)
    }

    /// Writes a batch and syncs it.
    pub(super) fn append(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        self.sequence += 1;
        let (payload, sectors) = (&mut batch.payload, &mut self.sectors);
        self.segment.append(Kind::Commit, self.sequence, payload, sectors)?;
        self.segment.sync(&self.disk)
    }

    /// How large the next file will be with so many members.
    pub(super) fn next_size(&self, members: usize) -> u64 {
        let doublings = self.file().min(32);
        let doubled = self.first.saturating_mul(1 << doublings);
        doubled.max(self.member.saturating_mul(members as u64)).min(self.last)
    }

    /// Goes on to the next file, which begins with `table`. Gives the file that is not needed any
    /// more.
    pub(super) fn next(
        &mut self,
        table: &[(u64, Mark)],
        batch: &Batch,
        spare: Option<Spare>,
    ) -> Result<Option<Spare>, Failure> {
        let id = FileId { epoch: self.claim.epoch, number: self.file() + 1 };
        let mut payload = Vec::new();
        Framing::begin(&mut payload);
        batch::put_table(&mut payload, true, table.iter().map(|(number, mark)| (*number, mark)));
        let needed =
            [&payload, &batch.payload].map(|p| frame::size_on_disk(p.len() - frame::HEADER));
        let needed = (needed[0] + needed[1] + 4096).next_multiple_of(4096);
        let spare = match spare {
            Some(spare) => spare,
            None => Spare::create(&self.disk, id)?,
        };
        let size = self.next_size(table.len());
        let header = header(self.run, id, size.max(needed));
        let next = spare.into_segment(&self.disk, header, self.sequence, &mut payload, false)?;
        let full = std::mem::replace(&mut self.segment, next);
        match self.previous.replace(full) {
            Some(old) => {
                let spare = old.retire(&self.disk)?;
                // Zeros under the name of a journal would be damage.
                self.disk.sync_names()?;
                Ok(Some(spare))
            }
            None => Ok(None),
        }
    }

    /// Whether there are group journals of earlier runs.
    pub(super) fn has_older(&self) -> Result<bool, Failure> {
        Ok(self.older_epochs()?.next().is_some())
    }

    fn older_epochs(&self) -> Result<impl Iterator<Item = u64>, Failure> {
        let own = self.epoch();
        let names = self.disk.list()?.names.into_iter();
        let epochs = names.filter_map(|name| match name {
            FileName::Journal(id) => Some(id.epoch),
            _ => None,
        });
        Ok(epochs.filter(move |epoch| *epoch < own))
    }

    /// Removes the files of earlier runs; their journals only if no state needs them any more.
    /// Those of the last run stay even then: who was a member of it may still be about to note so
    /// in its state, which needs them from then on, although they hold nothing for it.
    pub(super) fn remove_older(&self, resolved: bool) -> Result<(), Failure> {
        let last = self.older_epochs()?.max().unwrap_or(0);
        self.remove(|name| match name {
            FileName::Journal(id) => resolved && id.epoch < last,
            FileName::Temporary(id) => id.epoch < self.epoch(),
            _ => false,
        })
    }

    /// Removes the files of this run and of earlier ones; those of a newer opener are its own.
    pub(super) fn remove_up_to_own(&self) -> Result<(), Failure> {
        self.remove(|name| match name {
            FileName::Journal(id) | FileName::Temporary(id) => id.epoch <= self.epoch(),
            _ => false,
        })
    }

    /// Removes the files of this run.
    pub(super) fn remove_own(&self) -> Result<(), Failure> {
        self.remove(|name| match name {
            FileName::Journal(id) | FileName::Temporary(id) => id.epoch == self.epoch(),
            _ => false,
        })
    }

    fn remove(&self, which: impl Fn(FileName) -> bool) -> Result<(), Failure> {
        for name in self.disk.list()?.names {
            if which(name) {
                self.disk.remove_if_there(name)?;
            }
        }
        Ok(())
    }
}

/// How many runs have left journals among files of these names.
pub(super) fn runs(names: &[FileName]) -> usize {
    let epochs = names.iter().filter_map(|name| match name {
        FileName::Journal(id) => Some(id.epoch),
        _ => None,
    });
    epochs.collect::<BTreeSet<u64>>().len()
}

fn header(run: u128, id: FileId, capacity: u64) -> SegmentHeader {
    let purpose = Purpose::Group;
    SegmentHeader { purpose, state_id: run, id, capacity, synced: true, grouped: None, left: None }
}
