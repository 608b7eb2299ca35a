//! From the files of a state to what is committed. Reads only.

mod holes;

use std::sync::Arc;

use self::holes::Holes;
use super::View;
use super::disk::{Disk, Listing};
use super::failure::ReadError;
use super::frame::{Kind, SECTOR};
use super::group::{Chain, Misfit};
use super::identity;
use super::layout::Malformed;
use super::names::{FileId, FileName};
use super::payload;
use super::reading::Reading;
use super::replay::{self, Damage, Extent};
use super::segment::{Grouped, HeaderError, Purpose, SegmentHeader};
use super::slots::Slots;
use crate::ledger::LedgerLimits;

/// What a directory holds, by its names alone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Survey {
    /// No state, and nothing else.
    Nothing,
    /// A state whose newest journal is this one.
    State(FileId),
    /// No state, but a file with this name.
    Foreign(String),
}

/// A state as it was read.
pub(crate) struct Recovered {
    pub(crate) view: View,
    pub(crate) header: SegmentHeader,
    /// The slots that the view needs, to be taken over.
    pub(crate) slots: Slots,
}

/// Tells what a directory holds.
pub(crate) fn survey(listing: &Listing) -> Result<Survey, ReadError> {
    let journals = listing.names.iter().filter_map(|name| match name {
        FileName::Journal(id) => Some(*id),
        _ => None,
    });
    if let Some(newest) = journals.max() {
        return Ok(Survey::State(newest));
    }
    let part = |name: &&FileName| matches!(name, FileName::Identity | FileName::Slot(_));
    if let Some(name) = listing.names.iter().find(part) {
        return Err(ReadError::damaged(*name, 0, "the journal that belongs to it is missing"));
    }
    Ok(listing.foreign.clone().map_or(Survey::Nothing, Survey::Foreign))
}

/// Reads the header of a journal.
pub(crate) fn read_header(
    disk: &Disk,
    purpose: Purpose,
    id: FileId,
    verify: bool,
) -> Result<SegmentHeader, ReadError> {
    let file = disk.open(FileName::Journal(id))?;
    let mut sector = vec![0; SECTOR.min(usize::try_from(file.size()?).unwrap_or(SECTOR))];
    file.read_at(&mut sector, 0)?;
    decode_header(purpose, id, &sector, verify)
}

pub(super) fn decode_header(
    purpose: Purpose,
    id: FileId,
    bytes: &[u8],
    verify: bool,
) -> Result<SegmentHeader, ReadError> {
    let name = FileName::Journal(id);
    let header = SegmentHeader::decode(purpose, bytes, verify).map_err(|error| match error {
        HeaderError::Damaged(reason) => ReadError::damaged(name, 0, reason),
        HeaderError::Newer(found) => ReadError::Newer { name, found },
    })?;
    if header.id != id {
        return Err(ReadError::damaged(name, 0, "the journal was written under another name"));
    }
    Ok(header)
}

/// Makes sure that a journal has the length that its header announces.
pub(super) fn check_length(
    name: FileName,
    header: &SegmentHeader,
    bytes: &[u8],
) -> Result<(), ReadError> {
    if header.capacity == bytes.len() as u64 && bytes.len().is_multiple_of(SECTOR) {
        return Ok(());
    }
    let reason = format!("the file should have {} bytes, it has {}", header.capacity, bytes.len());
    Err(ReadError::damaged(name, bytes.len() as u64, reason))
}

/// A journal with all that is known of it.
pub(super) struct Raw {
    pub(super) header: SegmentHeader,
    pub(super) bytes: Vec<u8>,
    /// For [`replay`](replay::replay).
    pub(super) durable: Option<u64>,
}

/// Reads a journal whose header is valid, and puts in what only the group journal may know.
pub(super) fn read_raw(disk: &Disk, head: FileId, reading: &Reading) -> Result<Raw, ReadError> {
    let name = FileName::Journal(head);
    let before = read_header(disk, Purpose::State, head, reading.verify)?.grouped;
    // The group journal comes first: what it knows is in the segment before it is there.
    let chain = match before {
        Some(grouped) => find_chain(disk, name, grouped, reading)?,
        None => None,
    };
    let mut bytes = read_all(disk, name)?;
    let header = decode_header(Purpose::State, head, &bytes, reading.verify)?;
    if header.grouped != before && header.grouped.is_some() {
        return Err(ReadError::damaged(name, 0, "the header changes while it is read"));
    }
    check_length(name, &header, &bytes)?;
    let durable = match (header.grouped, chain) {
        (Some(Grouped { member, end }), Some(chain)) => {
            let redone = chain.redo(member, head.number, &mut bytes);
            let redone = redone.map_err(|Misfit(why)| ReadError::damaged(name, 0, why))?;
            Some(end.max(redone.unwrap_or(0)))
        }
        _ => None,
    };
    Ok(Raw { header, bytes, durable })
}

/// The group journal that a segment needs; `None` if it can do without.
pub(super) fn find_chain(
    disk: &Disk,
    name: FileName,
    grouped: Grouped,
    reading: &Reading,
) -> Result<Option<Arc<Chain>>, ReadError> {
    let run = grouped.member.run;
    if !reading.redo {
        return Ok(None);
    }
    if reading.trusted_run == Some(run) {
        // An error in writing the segment back must be heard of before its content is believed.
        disk.sync(&disk.open(name)?)?;
        return Ok(None);
    }
    if let Some(chain) = reading.chain.as_ref().filter(|chain| chain.run == run) {
        return Ok(Some(Arc::clone(chain)));
    }
    let Some(group) = disk.group()? else { return Err(ReadError::GroupMissing { run }) };
    let found = Chain::find(&group, run, reading.verify);
    let found = found.map_err(|error| ReadError::Group(Box::new(error)))?;
    found.map(|chain| Some(Arc::new(chain))).ok_or(ReadError::GroupMissing { run })
}

/// Reads the state whose newest journal is `head`.
pub(crate) fn read(
    disk: &Disk,
    head: FileId,
    has_identity: bool,
    reading: &Reading,
) -> Result<Recovered, ReadError> {
    let replayed = Replayed::read(disk, head, has_identity, reading)?;
    let Replayed { mut view, header, mut holes, .. } = replayed;
    let slots = holes.fill(&mut view)?;
    Ok(Recovered { view, header, slots })
}

/// A journal that was replayed; contents in slots are still to be read.
pub(crate) struct Replayed<'a> {
    view: View,
    limits: LedgerLimits,
    pub(crate) header: SegmentHeader,
    pub(crate) extent: Extent,
    holes: Holes<'a>,
}

impl<'a> Replayed<'a> {
    /// Replays the journal `head`, the newest of a state.
    pub(crate) fn read(
        disk: &'a Disk,
        head: FileId,
        has_identity: bool,
        reading: &Reading,
    ) -> Result<Self, ReadError> {
        let (name, verify) = (FileName::Journal(head), reading.verify);
        let Raw { header, bytes, durable } = read_raw(disk, head, reading)?;
        if has_identity && identity::read(disk, verify)? != header.state_id {
            return Err(ReadError::damaged(name, 16, "the journal belongs to another state"));
        }
        let mut holes = Holes::new(disk, header.state_id, reading);
        let mut state = None;
        let extent = replay::replay(&bytes, &header.framing(verify), durable, |item| {
            match (item.kind, &mut state) {
                (Kind::Snapshot, state) => {
                    *state = Some(payload::read_snapshot(item.payload, item.sequence, &mut holes)?);
                }
                (Kind::Commit, Some((view, limits))) => {
                    let record = payload::read_commit(item.payload, item.sequence, &mut holes)?;
                    View::apply(view, record, limits);
                }
                (Kind::Commit, None) => return Err(Malformed("there is no snapshot".to_owned())),
            }
            Ok(())
        });
        if let Some(error) = holes.error.take() {
            return Err(error);
        }
        let extent =
            extent.map_err(|Damage { offset, reason }| ReadError::damaged(name, offset, reason))?;
        let Some((view, limits)) = state else {
            return Err(ReadError::damaged(name, SECTOR as u64, "the snapshot is missing"));
        };
        Ok(Self { view, limits, header, extent, holes })
    }

    /// Takes over commits that were added to the journal since, as far as they are whole. Says
    /// whether there were any.
    pub(crate) fn catch_up(&mut self) -> Result<bool, ReadError> {
        const WINDOW: u64 = 256 * 1024;
        let file = self.holes.disk.open(FileName::Journal(self.header.id))?;
        let start = self.extent.end / SECTOR as u64 * SECTOR as u64;
        let mut bytes = vec![0; WINDOW.min(self.header.capacity - start) as usize];
        file.read_at(&mut bytes, start)?;
        let framing = self.header.framing(self.holes.verify);
        let mut position = (self.extent.end - start) as usize;
        while let Some((end, item)) = replay::next(&bytes, position, &framing, self.view.sequence) {
            let record = payload::read_commit(&item, self.view.sequence + 1, &mut self.holes);
            let Ok(record) = record else { break };
            self.view.apply(record, &self.limits);
            position = end;
        }
        let before = std::mem::replace(&mut self.extent.end, start + position as u64);
        match self.holes.error.take() {
            Some(error) => Err(error),
            None => Ok(self.extent.end > before),
        }
    }

    /// What is committed, with all contents. Those that were read by an earlier attempt are not
    /// read again.
    pub(crate) fn contents(&mut self) -> Result<View, ReadError> {
        // First of all: an actor may be about to write these slots anew.
        self.holes.load_needed(&self.view)?;
        let mut view = self.view.clone();
        self.holes.fill(&mut view)?;
        Ok(view)
    }
}

/// Reads a whole file.
pub(crate) fn read_all(disk: &Disk, name: FileName) -> Result<Vec<u8>, ReadError> {
    let file = disk.open(name)?;
    let too_large = || ReadError::damaged(name, 0, "the file does not fit into memory");
    let size = usize::try_from(file.size()?).map_err(|_| too_large())?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(size).map_err(|_| too_large())?;
    bytes.resize(size, 0);
    file.read_at(&mut bytes, 0)?;
    Ok(bytes)
}
