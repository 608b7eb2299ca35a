//! [`inspect`]: what a state directory holds, without touching it.

use std::path::Path;
use std::time::{Duration, Instant};

use super::View;
use super::disk::Disk;
use super::failure::{Failure, ReadError};
use super::names::{FileId, FileName};
use super::reading::Reading;
use super::recovery::{self, Replayed, Survey};
use super::replay::Tail;
use super::storage::{Storage, open_storage};
use crate::call::CallId;
use crate::error::OpenError;
use crate::outcome::CallOutcome;

/// What a state directory holds.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// All that is committed.
    pub view: View,
    /// The state's id, the same in all its files.
    pub state_id: u128,
    /// The epoch of the journal that was read.
    pub epoch: u64,
    /// The highest epoch claimed; above [`Inspection::epoch`] while an actor starts.
    pub claimed_epoch: u64,
    /// What the holder of that claim says of itself: `pid` and `start` lines.
    pub holder: String,
    /// The name of the journal that was read.
    pub journal: String,
    /// The bytes of the journal that are used.
    pub journal_used: u64,
    /// Whether the journal ends with a torn record, which the next opener leaves behind.
    pub torn_tail: bool,
    /// All files, by name.
    pub files: Vec<FileInfo>,
}

/// A file of a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// Its name in the state directory.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
}

/// Reads the state in the directory `path` and checks everything that it needs. Writes nothing,
/// claims nothing, and never holds up an actor that is running.
///
/// # Errors
/// See [`OpenError`]; [`OpenError::NotFound`] if there is no state.
pub fn inspect(path: &Path) -> Result<Inspection, OpenError> {
    inspect_on(open_storage(path, false, false)?, path)
}

/// What became of a call, read from the state at `path`: also while nobody runs it. Claims
/// nothing and never holds up an actor that is running.
///
/// The journal and its name are synced before this returns, because its writer may have been killed
/// before it did: a commit at `power` that was reported is not taken back by a power loss. (After an
/// I/O error of the disk that can happen: `docs/durability.md`, "Of the disk".)
///
/// # Errors
/// See [`OpenError`]; [`OpenError::NotFound`] if there is no state.
pub fn outcome(path: &Path, id: CallId) -> Result<CallOutcome, OpenError> {
    outcome_on(|sync| open_storage(path, false, sync), path, id)
}

/// The same in any [`Storage`], which is opened twice, once to sync it; errors call it `path`.
///
/// # Errors
/// As for [`outcome`].
#[doc(hidden)]
pub fn outcome_on(
    storage: impl Fn(bool) -> Result<Box<dyn Storage>, OpenError>,
    path: &Path,
    id: CallId,
) -> Result<CallOutcome, OpenError> {
    let disk = Disk::new(storage(true)?, true);
    loop {
        let found = inspect_on(storage(false)?, path)?;
        let intents = found.view.intents().map_err(|source| OpenError::Attribute {
            attribute: crate::intent::ATTRIBUTE.to_owned(),
            source,
        })?;
        let outcome = CallOutcome::of(id, &found.view.ledger, &intents);
        let Some(FileName::Journal(head)) = FileName::parse(&found.journal) else {
            return Ok(outcome);
        };
        let sync = |journal| {
            disk.sync(&journal)?;
            disk.sync_names()
        };
        match disk.open(FileName::Journal(head)).and_then(sync) {
            Ok(()) => return Ok(outcome),
            // A checkpoint has replaced it since.
            Err(failure) if is_missing(&failure) => {}
            Err(failure) => return Err(ReadError::from(failure).into_open_error(path)),
        }
    }
}

/// How long reading is tried while an actor keeps changing what is read.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a journal that a running actor extends is followed before it is read anew.
const CATCH_UPS: u32 = 30;

/// The same in any [`Storage`]; errors call it `path`.
///
/// # Errors
/// As for [`inspect`].
#[doc(hidden)]
pub fn inspect_on(storage: Box<dyn Storage>, path: &Path) -> Result<Inspection, OpenError> {
    let disk = Disk::new(storage, false);
    let start = Instant::now();
    let mut unchanged = 0;
    loop {
        let before = fingerprint(&disk).map_err(|error| error.into_open_error(path))?;
        let error = match try_inspect(&disk) {
            Ok(Found::State(inspection)) => return Ok(*inspection),
            Ok(Found::Nothing) => return Err(OpenError::NotFound { path: path.to_owned() }),
            Ok(Found::Foreign(found)) => {
                return Err(OpenError::NotAState { path: path.to_owned(), found });
            }
            Ok(Found::Moved) => None,
            Err(error) => Some(error),
        };
        // Between a first and a second look a running actor may have gone on.
        std::thread::sleep(Duration::from_millis(1));
        let after = fingerprint(&disk).map_err(|error| error.into_open_error(path))?;
        unchanged = if before == after { unchanged + 1 } else { 0 };
        // What was wrong while the state changed may be due to the change.
        if let Some(error) = error.filter(|_| unchanged > 3) {
            return Err(error.into_open_error(path));
        }
        if start.elapsed() > PATIENCE {
            let source = std::io::Error::new(
                std::io::ErrorKind::ResourceBusy,
                "an actor is changing the state too quickly to be read; try again",
            );
            return Err(OpenError::Unreadable { operation: "read", path: path.to_owned(), source });
        }
    }
}

/// What the last process that claimed the state in the directory `path` says of itself, as
/// [`Inspection::holder`]; empty if none did. Reads nothing else, so damage does not matter.
///
/// # Errors
/// See [`OpenError`].
pub fn last_holder(path: &Path) -> Result<String, OpenError> {
    let disk = Disk::new(open_storage(path, false, false)?, false);
    let read = || newest_claim(&disk, &disk.list()?.names);
    read().map(|(_, holder)| holder).map_err(|error: ReadError| error.into_open_error(path))
}

/// Whether a file of this name in a state directory is part of the state.
pub fn is_state_file(name: &str) -> bool {
    FileName::parse(name).is_some()
}

enum Found {
    State(Box<Inspection>),
    Nothing,
    Foreign(String),
    /// An actor went on to another journal meanwhile.
    Moved,
}

/// The newest journal and a hash of it: differs when an actor has gone on.
fn fingerprint(disk: &Disk) -> Result<Option<(FileName, u64)>, ReadError> {
    let newest = |name: &FileName| matches!(name, FileName::Journal(_));
    let names = disk.list()?.names;
    let Some(name) = names.into_iter().filter(newest).max_by_key(|name| match name {
        FileName::Journal(id) => Some(*id),
        _ => None,
    }) else {
        return Ok(None);
    };
    match recovery::read_all(disk, name) {
        Ok(bytes) => Ok(Some((name, xxhash_rust::xxh3::xxh3_64(&bytes)))),
        Err(ReadError::Io(failure)) if is_missing(&failure) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_missing(failure: &Failure) -> bool {
    failure.kind() == std::io::ErrorKind::NotFound
}

fn try_inspect(disk: &Disk) -> Result<Found, ReadError> {
    let listing = disk.list()?;
    let has_identity = listing.names.contains(&FileName::Identity);
    let head = match recovery::survey(&listing)? {
        Survey::State(head) => head,
        Survey::Nothing => return Ok(Found::Nothing),
        Survey::Foreign(found) => return Ok(Found::Foreign(found)),
    };
    let (view, replayed) = match read_while_it_grows(disk, head, has_identity) {
        Err(ReadError::Io(failure)) if is_missing(&failure) => return Ok(Found::Moved),
        other => other?,
    };
    let listing = disk.list()?;
    let names = listing.names.clone();
    // Files are used again after a checkpoint: what was read counts only if there was none.
    if recovery::survey(&listing)? != Survey::State(head) {
        return Ok(Found::Moved);
    }
    let Replayed { header, extent, .. } = replayed;
    let (claimed_epoch, holder) = newest_claim(disk, &names)?;
    Ok(Found::State(Box::new(Inspection {
        view,
        state_id: header.state_id,
        epoch: head.epoch,
        claimed_epoch,
        holder,
        journal: FileName::Journal(head).to_string(),
        journal_used: extent.end,
        torn_tail: extent.tail == Tail::Torn,
        files: file_sizes(disk, names)?,
    })))
}

/// Reads the state of a journal that a running actor may be extending. Replaying takes longer
/// than an actor needs to write its large values anew; catching up and then reading them does not.
fn read_while_it_grows(
    disk: &Disk,
    head: FileId,
    has_identity: bool,
) -> Result<(View, Replayed<'_>), ReadError> {
    let mut replayed = Replayed::read(disk, head, has_identity, &Reading::default())?;
    replayed.catch_up()?;
    for _ in 0..CATCH_UPS {
        match replayed.contents() {
            Ok(view) => return Ok((view, replayed)),
            // A slot is only written again after a further commit or a checkpoint.
            Err(error @ ReadError::Damaged { .. }) if !replayed.catch_up()? => return Err(error),
            Err(ReadError::Damaged { .. }) => {}
            Err(other) => return Err(other),
        }
    }
    Ok((replayed.contents()?, replayed))
}

fn newest_claim(disk: &Disk, names: &[FileName]) -> Result<(u64, String), ReadError> {
    const MAX_SIZE: u64 = 4096;
    let claims = names.iter().filter_map(|name| match name {
        FileName::Claim(epoch) => Some(*epoch),
        _ => None,
    });
    let Some(epoch) = claims.max() else { return Ok((0, String::new())) };
    let file = match disk.open(FileName::Claim(epoch)) {
        Err(failure) if is_missing(&failure) => return Ok((epoch, String::new())),
        other => other?,
    };
    let mut bytes = vec![0; file.size()?.min(MAX_SIZE) as usize];
    file.read_at(&mut bytes, 0)?;
    Ok((epoch, String::from_utf8_lossy(&bytes).into_owned()))
}

fn file_sizes(disk: &Disk, names: Vec<FileName>) -> Result<Vec<FileInfo>, ReadError> {
    let mut files = Vec::new();
    for name in names {
        match disk.open(name).and_then(|file| file.size()) {
            Ok(size) => files.push(FileInfo { name: name.to_string(), size }),
            Err(failure) if is_missing(&failure) => {}
            Err(failure) => return Err(failure.into()),
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}
