//! [`salvage`]: everything that is wrong with a state, and what of it can still be read.
//!
//! Opening a state stops at the first damage and changes nothing. This reads on, for the tools
//! that report damage and make a readable state from what is left. It writes nothing.

use std::ops::RangeInclusive;
use std::path::Path;

use super::disk::Disk;
use super::failure::ReadError;
use super::frame::{Kind, SECTOR};
use super::group::Misfit;
use super::identity;
use super::names::{FileId, FileName};
use super::payload;
use super::placeholders::{Placeholders, Unreadable};
use super::reading::Reading;
use super::recovery::{self, Survey};
use super::replay;
use super::segment::{Purpose, SegmentHeader};
use super::storage::open_storage;
use super::{Record, View};
use crate::call::CallId;
use crate::error::OpenError;
use crate::ledger::LedgerLimits;

/// One place of a state that is not what was once written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Damage {
    /// The file's name in the state directory.
    pub file: String,
    /// Where, in bytes from its start.
    pub offset: u64,
    /// What is wrong there.
    pub reason: String,
}

/// What can be said of a state and read of it, damaged or not.
#[derive(Clone, Debug, Default)]
pub struct Salvage {
    /// All damage that was found, in the order in which it was met.
    pub damage: Vec<Damage>,
    /// The state's id, if a file still tells it.
    pub state_id: Option<u128>,
    /// The highest epoch in any file name.
    pub highest_epoch: u64,
    /// Why nothing can be read although records are there.
    pub hopeless: Option<String>,
    /// The sequence number of the last commit whose record can be read, following its snapshot
    /// without a gap.
    pub last_record: Option<u64>,
    /// Numbers of commits whose records stand behind the damage of the journal.
    pub behind: Option<RangeInclusive<u64>>,
    /// Whether the journal is damaged behind [`Salvage::last_record`], so that commits may have
    /// been there of which nothing is known.
    pub cut: bool,
    /// The newest committed state of which everything can be read.
    pub committed: Option<View>,
    /// The calls of commits after [`Salvage::committed`] whose records can be read.
    pub later_calls: Vec<CallId>,
    /// The state after [`Salvage::last_record`], without what cannot be read of it; never
    /// committed like this if the next two fields are not empty.
    pub partial: Option<View>,
    /// Attributes of that state which cannot be read.
    pub unreadable_attributes: Vec<String>,
    /// Calls whose replies cannot be read. [`Salvage::partial`] has forgotten them and all of
    /// their session before them: they are answered with an error, never run again.
    pub unreadable_replies: Vec<CallId>,
}

/// Reads what can be read of the state at `path`. Nobody should be writing to it;
/// for a state in use, and to learn whether there is any damage at all, see
/// [`inspect`](super::inspect()).
///
/// # Errors
/// [`OpenError::NotFound`] and [`OpenError::NotAState`] if there is no state,
/// [`OpenError::NewerVersion`], and [`OpenError::Unreadable`] if the system refuses.
pub fn salvage(path: &Path) -> Result<Salvage, OpenError> {
    salvage_on(&Disk::new(open_storage(path, false, false)?, false), path)
}

/// The same on any [`Disk`]; errors call it `path`.
pub(super) fn salvage_on(disk: &Disk, path: &Path) -> Result<Salvage, OpenError> {
    let listing = disk.list().map_err(|error| ReadError::from(error).into_open_error(path))?;
    let highest_epoch = listing.names.iter().filter_map(|name| name.epoch()).max().unwrap_or(0);
    let mut salvage = Salvage { highest_epoch, ..Salvage::default() };
    let has_identity = listing.names.contains(&FileName::Identity);
    match recovery::survey(&listing) {
        Ok(Survey::State(head)) => {
            let read = salvage.read(disk, head, has_identity);
            read.map_err(|error| error.into_open_error(path))?;
        }
        Ok(Survey::Nothing) => return Err(OpenError::NotFound { path: path.to_owned() }),
        Ok(Survey::Foreign(found)) => {
            return Err(OpenError::NotAState { path: path.to_owned(), found });
        }
        Err(error) => {
            salvage.note(error).map_err(|error| error.into_open_error(path))?;
            salvage.hopeless = Some("the journal is missing".to_owned());
        }
    }
    Ok(salvage)
}

/// The commits of a journal, contents of slots left out.
#[derive(Default)]
struct History {
    snapshot: Option<(View, LedgerLimits)>,
    commits: Vec<Record>,
}

impl History {
    /// The state after the first `commits` commits.
    fn state_after(&self, commits: usize) -> Option<View> {
        let (mut view, limits) = self.snapshot.clone()?;
        for record in &self.commits[..commits] {
            view.apply(record.clone(), &limits);
        }
        Some(view)
    }
}

impl Salvage {
    /// Takes damage down; anything else is an error.
    fn note(&mut self, error: ReadError) -> Result<(), ReadError> {
        match error {
            ReadError::Damaged { name, offset, reason } => {
                let damage = Damage { file: name.to_string(), offset, reason };
                if !self.damage.contains(&damage) {
                    self.damage.push(damage);
                }
                Ok(())
            }
            ReadError::Group(error) => {
                let ReadError::Damaged { name, offset, reason } = *error else {
                    return Err(ReadError::Group(error));
                };
                let file = format!("../{}/{name}", super::group::DIRECTORY);
                self.damage.push(Damage { file, offset, reason });
                Ok(())
            }
            ReadError::GroupMissing { run } => {
                let file = format!("../{}", super::group::DIRECTORY);
                let reason = format!(
                    "the group journal {run:032x}, which may hold the newest commits, is missing"
                );
                self.damage.push(Damage { file, offset: 0, reason });
                Ok(())
            }
            other => Err(other),
        }
    }

    fn read(&mut self, disk: &Disk, head: FileId, has_identity: bool) -> Result<(), ReadError> {
        let name = FileName::Journal(head);
        let mut bytes = recovery::read_all(disk, name)?;
        let Some(header) = self.header(disk, head, &bytes, has_identity)? else { return Ok(()) };
        if header.capacity != bytes.len() as u64 || !bytes.len().is_multiple_of(SECTOR) {
            let reason =
                format!("the file should have {} bytes, it has {}", header.capacity, bytes.len());
            self.note(ReadError::damaged(name, bytes.len() as u64, reason))?;
            self.cut = (bytes.len() as u64) < header.capacity;
        }
        let durable = self.redo(disk, &header, &mut bytes)?;
        let mut contents = Placeholders::new(disk, header.state_id);
        let history = self.replay(name, &bytes, durable, &header, &mut contents)?;
        for error in contents.slot_damage()? {
            self.note(error)?;
        }
        self.last_record = history.state_after(history.commits.len()).map(|view| view.sequence);
        if self.last_record.is_none() {
            self.hopeless = Some("the snapshot at the beginning of the journal is damaged".into());
            return Ok(());
        }
        self.choose(&history, &mut contents)
    }

    /// Puts in what only the group journal may know, if the segment says that there is such; for
    /// the result see [`replay`](replay::replay).
    fn redo(
        &mut self,
        disk: &Disk,
        header: &SegmentHeader,
        bytes: &mut [u8],
    ) -> Result<Option<u64>, ReadError> {
        let Some(grouped) = header.grouped else { return Ok(None) };
        let name = FileName::Journal(header.id);
        let redone = recovery::find_chain(disk, name, grouped, &Reading::default());
        let redone = redone.and_then(|chain| {
            let Some(chain) = chain else { return Ok(None) };
            let redone = chain.redo(grouped.member, header.id.number, bytes);
            let redone = redone.map_err(|Misfit(why)| ReadError::damaged(name, 0, why))?;
            Ok(Some(grouped.end.max(redone.unwrap_or(0))))
        });
        match redone {
            Ok(durable) => Ok(durable),
            Err(error) => {
                self.note(error)?;
                self.cut = true;
                Ok(None)
            }
        }
    }

    /// The journal's header; if that is damaged, one made from the file's name and the identity.
    fn header(
        &mut self,
        disk: &Disk,
        head: FileId,
        bytes: &[u8],
        has_identity: bool,
    ) -> Result<Option<SegmentHeader>, ReadError> {
        let mut identity = None;
        if has_identity {
            match identity::read(disk, true) {
                Ok(id) => identity = Some(id),
                Err(error) => self.note(error)?,
            }
        }
        let header = match recovery::decode_header(Purpose::State, head, bytes, true) {
            Ok(header) => Some(header),
            Err(error) => {
                self.note(error)?;
                let capacity = bytes.len() as u64;
                identity.map(|state_id| SegmentHeader {
                    purpose: Purpose::State,
                    state_id,
                    id: head,
                    capacity,
                    synced: false,
                    grouped: None,
                    left: None,
                })
            }
        };
        self.state_id = header.map(|header| header.state_id).or(identity);
        match (header, identity) {
            (None, _) => {
                let reason = "neither the journal nor the identity tells which state this is";
                self.hopeless = Some(reason.to_owned());
                Ok(None)
            }
            (Some(header), Some(identity)) if header.state_id != identity => {
                let name = FileName::Journal(head);
                self.note(ReadError::damaged(name, 16, "the journal belongs to another state"))?;
                let reason = "the identity and the journal come from different states; put the \
                              right one back";
                self.hopeless = Some(reason.to_owned());
                Ok(None)
            }
            _ => Ok(header),
        }
    }

    fn replay(
        &mut self,
        name: FileName,
        bytes: &[u8],
        durable: Option<u64>,
        header: &SegmentHeader,
        contents: &mut Placeholders<'_>,
    ) -> Result<History, ReadError> {
        let framing = header.framing(true);
        let mut history = History::default();
        let replayed = replay::replay(bytes, &framing, durable, |item| {
            match item.kind {
                Kind::Snapshot => {
                    let read = payload::read_snapshot(item.payload, item.sequence, contents)?;
                    history.snapshot = Some(read);
                }
                Kind::Commit => {
                    let read = payload::read_commit(item.payload, item.sequence, contents)?;
                    history.commits.push(read);
                }
            }
            Ok(())
        });
        let Err(replay::Damage { offset, reason }) = replayed else { return Ok(history) };
        self.note(ReadError::damaged(name, offset, reason))?;
        self.cut = true;
        let last = history.commits.last().map(|record| record.sequence);
        let last = last.or(history.snapshot.as_ref().map(|(view, _)| view.sequence));
        for start in (offset.next_multiple_of(8)..bytes.len() as u64).step_by(8) {
            let Ok(found) = framing.header(&bytes[start as usize..]) else { continue };
            if found.kind == Kind::Commit as u32 && last.is_none_or(|last| found.sequence > last) {
                let first = self.behind.as_ref().map_or(found.sequence, |range| *range.start());
                self.behind = Some(first.min(found.sequence)..=first.max(found.sequence));
            }
        }
        Ok(history)
    }

    /// Finds the newest state that is whole, and what is left of the newest of all.
    fn choose(
        &mut self,
        history: &History,
        contents: &mut Placeholders<'_>,
    ) -> Result<(), ReadError> {
        let whole_after = self.newest_whole(history, contents)?;
        let newest = history.commits.len();
        if let Some(mut view) = whole_after.and_then(|commits| history.state_after(commits)) {
            contents.fill(&mut view, &mut Unreadable::default())?;
            self.committed = Some(view);
            let later = &history.commits[whole_after.unwrap_or(newest)..];
            self.later_calls = later.iter().filter_map(|r| Some(r.call.as_ref()?.id)).collect();
        }
        if whole_after == Some(newest) {
            self.partial = self.committed.clone();
            return Ok(());
        }
        let Some(mut view) = history.state_after(newest) else { return Ok(()) };
        let mut unreadable = Unreadable::default();
        contents.fill(&mut view, &mut unreadable)?;
        for name in &unreadable.attributes {
            view.attributes.remove(name);
        }
        for call in &unreadable.replies {
            view.ledger.raise_floor(call.session, call.sequence.saturating_add(1));
        }
        for error in unreadable.errors {
            self.note(error)?;
        }
        self.unreadable_attributes = unreadable.attributes;
        self.unreadable_replies = unreadable.replies;
        self.partial = Some(view);
        Ok(())
    }

    /// After how many commits the state was last one of which all contents can be read.
    fn newest_whole(
        &self,
        history: &History,
        contents: &mut Placeholders<'_>,
    ) -> Result<Option<usize>, ReadError> {
        let newest = history.commits.len();
        match history.state_after(newest) {
            Some(view) if contents.are_readable(&view)? => return Ok(Some(newest)),
            _ => {}
        }
        let Some((mut view, limits)) = history.snapshot.clone() else { return Ok(None) };
        let mut whole = contents.are_readable(&view)?.then_some(0);
        for (index, record) in history.commits.iter().enumerate() {
            view.apply(record.clone(), &limits);
            if contents.are_readable(&view)? {
                whole = Some(index + 1);
            }
        }
        Ok(whole)
    }
}
