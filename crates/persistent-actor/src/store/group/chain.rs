//! [`Chain`]: what the group journal of one run still knows. Reads only.

use std::time::Duration;

use super::Member;
use super::batch::{self, Pieces};
use crate::store::disk::Disk;
use crate::store::failure::ReadError;
use crate::store::frame::{Kind, SECTOR};
use crate::store::names::{FileId, FileName};
use crate::store::recovery;
use crate::store::replay::{self, Damage};
use crate::store::segment::{Purpose, SegmentHeader};

/// How often a group journal that is being written is read before damage is believed.
const ATTEMPTS: u32 = 3;

/// What the group journal of one run still knows: the newest file and the one before it.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    pub(crate) run: u128,
    pieces: Pieces,
}

/// Entries that do not fit the segment they are of; says why.
#[derive(Debug)]
pub(crate) struct Misfit(pub(crate) &'static str);

impl Chain {
    /// What fuzzing has made up.
    #[cfg(fuzzing)]
    pub(super) fn of(run: u128, pieces: Pieces) -> Self {
        Self { run, pieces }
    }

    /// Reads the chain of `run` in the directory of group journals; `None` if it is not there.
    pub(crate) fn find(disk: &Disk, run: u128, verify: bool) -> Result<Option<Self>, ReadError> {
        let mut attempt = 1;
        loop {
            match Self::try_find(disk, run, verify) {
                Ok(Look::Found(chain)) => return Ok(Some(chain)),
                // Its writer may be at work; it may have gone on to another file meanwhile.
                Ok(_) | Err(ReadError::Damaged { .. }) if attempt < ATTEMPTS => {}
                Ok(Look::Nothing) => return Ok(None),
                Ok(Look::Moved(name)) => {
                    let reason = "the group journal changes too quickly to be read";
                    return Err(ReadError::damaged(name, 0, reason));
                }
                Err(error) => return Err(error),
            }
            std::thread::sleep(Duration::from_millis(1));
            attempt += 1;
        }
    }

    fn try_find(disk: &Disk, run: u128, verify: bool) -> Result<Look, ReadError> {
        let before = match journals_of(disk, run, verify)? {
            Ok(journals) => journals,
            Err(moved) => return Ok(Look::Moved(moved)),
        };
        let Some(&head) = before.last() else { return Ok(Look::Nothing) };
        let mut chain = Self { run, pieces: Pieces::new() };
        let mut newest = Pieces::new();
        let Some(needs_previous) = read(disk, head, run, verify, &mut newest)? else {
            return Ok(Look::Moved(FileName::Journal(head)));
        };
        if needs_previous {
            let previous = FileId { number: head.number.wrapping_sub(1), ..head };
            if !before.contains(&previous) {
                let name = FileName::Journal(head);
                let reason = format!(
                    "the group journal before it, {}, is missing",
                    FileName::Journal(previous)
                );
                return Err(ReadError::damaged(name, SECTOR as u64, reason));
            }
            if read(disk, previous, run, verify, &mut chain.pieces)?.is_none() {
                return Ok(Look::Moved(FileName::Journal(previous)));
            }
        }
        for (member, pieces) in newest {
            chain.pieces.entry(member).or_default().extend(pieces);
        }
        match journals_of(disk, run, verify)? {
            Ok(after) if after == before => Ok(Look::Found(chain)),
            _ => Ok(Look::Moved(FileName::Journal(head))),
        }
    }

    /// Puts what is known of a member's segment into the bytes of that segment. Gives the place
    /// up to which the segment is durable, if anything is known of it.
    pub(crate) fn redo(
        &self,
        member: Member,
        segment: u32,
        bytes: &mut [u8],
    ) -> Result<Option<u64>, Misfit> {
        let mut durable = None;
        for piece in self.pieces.get(&member.number).into_iter().flatten() {
            if piece.segment != segment {
                continue;
            }
            let start = usize::try_from(piece.offset).unwrap_or(usize::MAX);
            let end = start.saturating_add(piece.bytes.len());
            let Some(place) = bytes.get_mut(start..end).filter(|_| start >= SECTOR) else {
                return Err(Misfit("an entry of the group journal lies outside of the segment"));
            };
            place.copy_from_slice(&piece.bytes);
            durable = durable.max(Some(end as u64));
        }
        Ok(durable)
    }
}

/// What a look at the directory of group journals gave.
enum Look {
    Found(Chain),
    Nothing,
    /// A file that was listed is gone, or a new one has come.
    Moved(FileName),
}

/// The group journals of a run, oldest first; or the name of one that vanished meanwhile.
fn journals_of(
    disk: &Disk,
    run: u128,
    verify: bool,
) -> Result<Result<Vec<FileId>, FileName>, ReadError> {
    let mut found = Vec::new();
    let mut damage = None;
    for name in disk.list()?.names {
        let FileName::Journal(id) = name else { continue };
        match recovery::read_header(disk, Purpose::Group, id, verify) {
            Ok(SegmentHeader { state_id, .. }) if state_id == run => found.push(id),
            Ok(_) => {}
            Err(ReadError::Io(failure)) if failure.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Err(name));
            }
            // It may be the one that is looked for.
            Err(error @ (ReadError::Damaged { .. } | ReadError::Newer { .. })) => {
                damage = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    found.sort_unstable();
    match damage {
        Some(error) => Err(error),
        None => Ok(Ok(found)),
    }
}

/// Reads one group journal; says whether the one before it is needed, or `None` if it is gone.
fn read(
    disk: &Disk,
    id: FileId,
    run: u128,
    verify: bool,
    pieces: &mut Pieces,
) -> Result<Option<bool>, ReadError> {
    let name = FileName::Journal(id);
    let bytes = match recovery::read_all(disk, name) {
        Err(ReadError::Io(failure)) if failure.kind() == std::io::ErrorKind::NotFound => {
            return Ok(None);
        }
        other => other?,
    };
    let header = recovery::decode_header(Purpose::Group, id, &bytes, verify)?;
    if header.state_id != run {
        return Ok(None);
    }
    recovery::check_length(name, &header, &bytes)?;
    let mut needs_previous = false;
    let replayed = replay::replay(&bytes, &header.framing(verify), None, |item| {
        match item.kind {
            Kind::Snapshot => needs_previous = batch::read_table(item.payload, pieces)?,
            Kind::Commit => batch::read_batch(item.payload, pieces)?,
        }
        Ok(())
    });
    match replayed {
        Ok(_) => Ok(Some(needs_previous)),
        Err(Damage { offset, reason }) => Err(ReadError::damaged(name, offset, reason)),
    }
}
