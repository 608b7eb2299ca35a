//! [`Head`]: the newest journal of a state, looked at without opening the state.

use std::io::ErrorKind;

use super::Member;
use crate::store::disk::{Disk, DiskFile};
use crate::store::failure::{Failure, ReadError};
use crate::store::frame::SECTOR;
use crate::store::names::FileName;
use crate::store::recovery::{self, Survey};
use crate::store::segment::{Grouped, Purpose, SegmentHeader};

/// The newest journal of a state, by what the operating system has of it now. What the disk has may
/// be older: the header with another note, or another journal.
pub(super) struct Head {
    header: SegmentHeader,
    /// Older journals are there, too. They are taken away when the name of this one is synced.
    has_older: bool,
}

impl Head {
    /// Looks for it; `None` if there is no state.
    pub(super) fn find(disk: &Disk) -> Result<Option<Self>, ReadError> {
        let names = disk.list()?;
        let Survey::State(id) = recovery::survey(&names)? else { return Ok(None) };
        let header = recovery::read_header(disk, Purpose::State, id, true)?;
        let is_older = |name: &FileName| matches!(name, FileName::Journal(other) if *other != id);
        Ok(Some(Self { header, has_older: names.names.iter().any(is_older) }))
    }

    /// What it says of a group.
    pub(super) fn grouped(&self) -> Option<Grouped> {
        self.header.grouped
    }

    /// The epoch of the incarnation that has made it.
    pub(super) fn epoch(&self) -> u64 {
        self.header.id.epoch
    }

    /// Makes durable that it is the newest journal, and that it is in no group, as it says: only
    /// what may not be durable, so that most states cost nothing. `false` if the file is not there
    /// any more.
    pub(super) fn confirm(&self, disk: &Disk) -> Result<bool, Failure> {
        if self.header.left.is_some() {
            match disk.open(FileName::Journal(self.header.id)) {
                Err(failure) if failure.kind() == ErrorKind::NotFound => return Ok(false),
                file => disk.sync(&file?)?,
            }
        }
        self.confirm_name(disk)
    }

    /// The same, whatever was lost by a sync that failed before. Nobody writes a header here now.
    pub(super) fn confirm_anew(&self, disk: &Disk) -> Result<bool, Failure> {
        if self.header.left.is_some() {
            let file = disk.open_for_writing(FileName::Journal(self.header.id))?;
            let Some(file) = file else { return Ok(false) };
            self.write_left(&file, disk)?;
        }
        self.confirm_name(disk)
    }

    /// Makes durable that it is the newest journal.
    pub(super) fn confirm_name(&self, disk: &Disk) -> Result<bool, Failure> {
        if self.has_older {
            disk.sync_names()?;
        }
        Ok(true)
    }

    /// Makes the state whole without what `member`, who writes no more, has left to the group journal;
    /// whoever reads it meanwhile finds it with a note of the group or without, and all its records
    /// in either case. `false` if it cannot be opened or read, or is another's: files of the same
    /// names may have taken the place of those that were the member's.
    pub(super) fn make_whole(&self, member: Member, disk: &Disk) -> Result<bool, Failure> {
        match self.header.member() {
            None => return self.confirm_name(disk),
            Some(other) if other != member => return Ok(false),
            Some(_) => {}
        }
        let name = FileName::Journal(self.header.id);
        // Nothing has failed of what is to be written.
        let Ok(Some(file)) = disk.open_for_writing(name) else { return Ok(false) };
        let Ok(bytes) = recovery::read_all(disk, name) else { return Ok(false) };
        if recovery::check_length(name, &self.header, &bytes).is_err() {
            return Ok(false);
        }
        // All is written once more: a sync that failed before its writer ended may have lost some
        // of it, and another one would not tell.
        file.write_at(&bytes[SECTOR..], SECTOR as u64)?;
        // What is not synced is needed with the note.
        disk.sync(&file)?;
        self.write_left(&file, disk)?;
        self.confirm_name(disk)
    }

    fn write_left(&self, file: &DiskFile, disk: &Disk) -> Result<(), Failure> {
        let mut header = self.header;
        header.write_left_for_good(file, disk)
    }
}
