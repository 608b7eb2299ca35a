//! [`FileStore`]: a state in files; see `docs/format.md` for what lies where and why.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use self::first::First;
use super::disk::Disk;
use super::failure::{Failure, ReadError};
use super::fence::Claim;
use super::frame::{self, Framing, Kind};
use super::group::{Member, Written};
use super::names::{FileId, FileName};
use super::opening::{recover, refuse_early, sync_inherited};
use super::patches::Plan;
use super::payload::{self, INLINE_LIMIT, Unplaced};
use super::recovery::Recovered;
use super::segment::{Grouped, Purpose, Segment, SegmentHeader, Sizes, Spare};
use super::slots::{Slots, Target};
use super::storage::{self, Storage};
use super::{Record, Store, View};
use crate::call::{SessionId, unix_ms};
use crate::codec::Encoded;
use crate::durability::Durability;
use crate::error::{OpenError, StoreError};
use crate::ledger::LedgerLimits;
use crate::options::Options;
use crate::testing::Switches;

mod birth;
mod first;
mod upkeep;

/// The largest content of a slot. Bytes.
const MAX_CONTENT: u64 = 1 << 40;

/// A [`Store`] in a directory of its own.
///
/// A commit without large values is one write, at [`Durability::Power`] one `fdatasync`, and one
/// look at the claim that tells whether a newer incarnation has taken over.
pub struct FileStore {
    path: PathBuf,
    disk: Disk,
    claim: Claim,
    state_id: u128,
    number: u32,
    segment: Segment,
    spare: Option<Spare>,
    /// The payload of the last snapshot, in bytes.
    snapshot_len: usize,
    slots: Slots,
    /// What older incarnations have left and nothing needs, to be removed in the pauses between
    /// calls.
    leftovers: Vec<FileName>,
    /// The directory has no `identity` yet: it gets one after a commit above this.
    unnamed: Option<u64>,
    limits: LedgerLimits,
    /// Much has gathered in the ledger that is to be forgotten.
    must_forget: bool,
    sizes: Sizes,
    switches: Switches,
    buffer: Vec<u8>,
    sectors: Vec<u8>,
    /// As which member of a group commits are left to its journal.
    member: Option<Member>,
    /// Where the last commit has written what it left to it, until that is asked for.
    left: Option<(FileId, u64)>,
    /// What it has written there.
    left_bytes: Vec<u8>,
    /// The first failure, after which nothing is done any more.
    poison: Option<String>,
}

/// The largest record, as it lies on the disk, whose sync is left to a group journal. Bytes. To
/// write more twice costs about as much as it saves.
const MAX_GROUPED: u64 = 16 * 1024;

/// Why a commit or a checkpoint stopped.
pub(super) enum Stop {
    Io(Failure),
    Fenced,
    TooLarge { what: String, size: u64, limit: u64 },
    Unplaced,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Io(failure)
    }
}

impl From<Unplaced> for Stop {
    fn from(_: Unplaced) -> Self {
        Self::Unplaced
    }
}

impl Stop {
    pub(super) fn into_store_error(self, path: &Path, epoch: u64) -> StoreError {
        match self {
            Self::Io(failure) => failure.into_store_error(path),
            Self::Fenced => StoreError::Fenced { epoch, path: path.to_owned() },
            Self::TooLarge { what, size, limit } => StoreError::TooLarge { what, size, limit },
            Self::Unplaced => StoreError::Io {
                operation: "write to",
                path: path.to_owned(),
                reason: "a large value is in no slot; the view is not that of this store".into(),
            },
        }
    }
}

impl FileStore {
    /// Opens the state in the directory or regular file `path` and becomes its writer; whoever was
    /// it before is fenced. Also gives what is committed.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(path: &Path, options: &Options) -> Result<(Self, View), OpenError> {
        Self::open_with(path, options, || Ok(Vec::new()))
    }

    /// The same; a state that is made now begins with these attributes, unless they are large.
    pub(crate) fn open_with(
        path: &Path,
        options: &Options,
        initial: impl FnOnce() -> Result<Vec<(String, Encoded)>, OpenError>,
    ) -> Result<(Self, View), OpenError> {
        let storage = storage::open_storage(path, options.create, is_synced(options))?;
        Self::open_on_with(storage, path, options, initial)
    }

    /// The same in any [`Storage`]; errors call it `path`.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_on(
        storage: Box<dyn Storage>,
        path: &Path,
        options: &Options,
    ) -> Result<(Self, View), OpenError> {
        Self::open_on_with(storage, path, options, || Ok(Vec::new()))
    }

    /// See [`FileStore::open_on`] and `open_with`.
    ///
    /// # Errors
    /// See [`OpenError`], and what `initial` says.
    #[doc(hidden)]
    pub fn open_on_with(
        storage: Box<dyn Storage>,
        path: &Path,
        options: &Options,
        initial: impl FnOnce() -> Result<Vec<(String, Encoded)>, OpenError>,
    ) -> Result<(Self, View), OpenError> {
        let disk = Disk::new(storage, is_synced(options));
        if let Some(pool) = &options.in_place.0 {
            pool.clear();
        }
        let read_error = |error: ReadError| error.into_open_error(path);
        let io_error = |failure: Failure| ReadError::from(failure).into_open_error(path);
        let listing = refuse_early(&disk, path, options)?;
        let fenced = |epoch| StoreError::Fenced { epoch, path: path.to_owned() };
        let claim = Claim::take(&disk, listing, options.switches).map_err(io_error)?;
        let mut claim = claim.ok_or_else(|| fenced(0))?;
        claim.look_for_mark(&disk).map_err(io_error)?;
        let recovered = recover(&disk, options).and_then(|(recovered, names)| {
            if let Some(Recovered { slots, header, .. }) = &recovered
                && !header.synced
            {
                sync_inherited(&disk, slots)?;
            }
            Ok((recovered, names))
        });
        let (recovered, names) = match recovered {
            Ok(recovered) => recovered,
            // Files may vanish under our eyes if somebody newer is at work.
            Err(_) if !claim.holds_now().map_err(io_error)? => {
                return Err(fenced(claim.epoch).into());
            }
            Err(error) => return Err(read_error(error)),
        };
        let (mut view, slots, state_id) = match recovered {
            Some(Recovered { view, slots, header, .. }) => (view, slots, header.state_id),
            None => (birth::view(initial()?, options), Slots::default(), new_state_id(path)?),
        };
        view.ledger.keep(options.session);
        view.ledger.trim(&options.limits);
        view.ledger.expire(&options.limits, unix_ms());
        let epoch = claim.epoch;
        let store = Self::start(path, disk, claim, state_id, slots, &view, &names, options);
        let store = store.map_err(|stop| stop.into_store_error(path, epoch))?;
        Ok((store, view))
    }

    /// Writes the first journal of this incarnation; of the files `names` it makes some
    /// superfluous.
    #[expect(clippy::too_many_arguments, reason = "all that an open state consists of")]
    pub(super) fn start(
        path: &Path,
        disk: Disk,
        claim: Claim,
        state_id: u128,
        mut slots: Slots,
        view: &View,
        names: &[FileName],
        options: &Options,
    ) -> Result<Self, Stop> {
        let mut buffer = Vec::new();
        let number = 1;
        let id = FileId { epoch: claim.epoch, number };
        if options.durability == Durability::Process {
            slots.set_pool(options.in_place.clone());
        }
        let member = options.member.filter(|_| disk.is_synced());
        let unnamed = birth::unnamed(names, view);
        let is_in_new = unnamed.is_some();
        let first =
            First { disk: &disk, claim: &claim, state_id, id, view, member, is_in_new, options };
        let (segment, snapshot_len) = first
            .write(&mut slots, &mut buffer)
            .map_err(|stop| explained(stop, &claim, options.switches))?;
        let mut store = Self {
            path: path.to_owned(),
            disk,
            claim,
            state_id,
            number,
            segment,
            spare: None,
            snapshot_len,
            slots,
            leftovers: Vec::new(),
            unnamed,
            limits: options.limits.clone(),
            must_forget: false,
            sizes: options.sizes,
            switches: options.switches,
            buffer,
            sectors: Vec::new(),
            member,
            left: None,
            left_bytes: Vec::new(),
            poison: None,
        };
        store.check_claim()?;
        match store.tidy_up(names, options) {
            Ok(()) => Ok(store),
            Err(stop) => Err(explained(stop, &store.claim, store.switches)),
        }
    }

    fn try_commit(&mut self, record: &Record, view: &View) -> Result<(), Stop> {
        let plan = self.slots.plan(record, view);
        let len = check_sizes(record, &plan)?;
        if !self.segment.fits(len) {
            self.prepare_checkpoint(view)?;
            self.checkpoint(view, len)?;
            // Where records are large, there may never be time for a checkpoint between calls.
            self.must_forget = view.ledger.is_expiry_due(&self.limits, unix_ms());
            // Arrays may lie in other slots now.
            return self.try_commit(record, view);
        }
        let is_large = is_large(record);
        if is_large && self.segment.is_ahead() {
            // Slots are free in a state that is not durable yet.
            self.segment.sync(&self.disk)?;
        }
        if is_large {
            self.check_claim_now()?;
            let (disk, state_id) = (&self.disk, self.state_id);
            let target = Target { disk, state_id, epoch: self.claim.epoch };
            self.slots.write(&target, record, view, &plan)?;
        }
        Framing::begin(&mut self.buffer);
        payload::put_commit(&mut self.buffer, record, &self.slots.in_commit(&plan))?;
        debug_assert_eq!(self.buffer.len(), frame::HEADER + len, "the computed length is right");
        let fits = frame::size_on_disk(len) <= MAX_GROUPED;
        self.write(record.sequence, fits && !is_large && !is_intent(record))?;
        self.check_claim()?;
        self.slots.committed(record, &plan);
        Ok(())
    }

    /// Writes the record whose payload is in the buffer, and syncs it, or leaves that to the group
    /// journal.
    fn write(&mut self, sequence: u64, may_be_grouped: bool) -> Result<(), Stop> {
        let grouped = self.member.filter(|_| may_be_grouped);
        if let Some(member) = grouped {
            self.segment.enter_group(&self.disk, member)?;
        }
        let (buffer, sectors) = (&mut self.buffer, &mut self.sectors);
        let record = self.segment.append(Kind::Commit, sequence, buffer, sectors)?;
        self.left = None;
        if grouped.is_some() {
            self.left = Some((self.segment.id(), record.offset));
            // Not a copy: it is in the cache now, and what is made next need not be.
            std::mem::swap(if record.is_long { sectors } else { buffer }, &mut self.left_bytes);
            self.left_bytes.shrink_to(2 * MAX_GROUPED as usize);
        } else {
            self.segment.sync(&self.disk)?;
            if self.member.is_some() && self.segment.is_grouped() {
                // The group journal knows up to where the segment is durable.
                self.left = Some((self.segment.id(), self.segment.end()));
                self.left_bytes.clear();
            }
        }
        Ok(())
    }

    fn try_set_group(&mut self, member: Option<Member>) -> Result<(), Stop> {
        self.member = match member {
            Some(_) if !self.disk.is_synced() || self.disk.group()?.is_none() => None,
            other => other,
        };
        if self.member.is_none() && self.disk.is_synced() {
            self.segment.unmap();
        }
        Ok(())
    }

    /// Makes the state whole without the group journal. Also if a newer incarnation has claimed it:
    /// that one may have died before it had a journal of its own.
    fn try_close(&mut self) -> Result<(), Stop> {
        self.member = None;
        self.segment.leave_group_for_good(&self.disk)?;
        Ok(())
    }

    fn check_claim(&self) -> Result<(), Stop> {
        if self.switches.fencing && !self.claim.holds()? { Err(Stop::Fenced) } else { Ok(()) }
    }

    /// The same, before files are made, renamed or removed: a state that has taken the place of this one
    /// may have some of the same names.
    fn check_claim_now(&self) -> Result<(), Stop> {
        if self.switches.fencing && !self.claim.holds_now()? { Err(Stop::Fenced) } else { Ok(()) }
    }

    /// Runs `work` unless the store is poisoned; poisons it if `work` fails.
    fn guarded(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<(), Stop>,
    ) -> Result<(), StoreError> {
        if let Some(first) = &self.poison {
            return Err(StoreError::Poisoned { first: first.clone() });
        }
        let Err(stop) = work(self) else { return Ok(()) };
        let stop = explained(stop, &self.claim, self.switches);
        let harmless = matches!(stop, Stop::TooLarge { .. });
        let error = stop.into_store_error(&self.path, self.claim.epoch);
        if !harmless {
            self.poison = Some(error.to_string());
        }
        Err(error)
    }
}

/// Why a store had to stop: if files that it was at work with are gone, a newer incarnation may have
/// removed them.
fn explained(stop: Stop, claim: &Claim, switches: Switches) -> Stop {
    match stop {
        Stop::Io(failure) if failure.kind() == ErrorKind::NotFound && switches.fencing => {
            match claim.holds_now() {
                Ok(true) => Stop::Io(failure),
                Ok(false) => Stop::Fenced,
                Err(other) => Stop::Io(other),
            }
        }
        other => other,
    }
}

impl Store for FileStore {
    fn epoch(&self) -> u64 {
        self.claim.epoch
    }

    fn state_id(&self) -> Option<u128> {
        Some(self.state_id)
    }

    fn commit(&mut self, record: &Record, view: &View) -> Result<(), StoreError> {
        self.guarded(|store| store.try_commit(record, view))
    }

    fn check(&mut self) -> Result<(), StoreError> {
        self.guarded(|store| store.check_claim())
    }

    fn is_maintenance_due(&self, view: &View) -> bool {
        self.is_due(view)
    }

    fn maintain(&mut self, view: &mut View) -> Result<(), StoreError> {
        let done = self.guarded(|store| store.try_maintain(view));
        if let Err(error) = &done {
            // What was forgotten on the way to a checkpoint that is not there must not be missed.
            self.poison.get_or_insert_with(|| error.to_string());
        }
        done
    }

    fn set_group(&mut self, member: Option<Member>) -> Result<(), StoreError> {
        self.guarded(|store| store.try_set_group(member))
    }

    fn take_written(&mut self) -> Option<Written<'_>> {
        let (FileId { epoch, number }, offset) = self.left.take()?;
        Some(Written { epoch, number, offset, bytes: &self.left_bytes })
    }

    fn close(&mut self) -> Result<(), StoreError> {
        self.guarded(|store| store.try_close())
    }
}

fn is_synced(options: &Options) -> bool {
    options.durability == Durability::Power && options.switches.sync
}

fn header(state_id: u128, id: FileId, capacity: u64, member: Option<Member>) -> SegmentHeader {
    let grouped = member.map(|member| Grouped { member, end: 0 });
    let (purpose, synced, left) = (Purpose::State, false, None);
    SegmentHeader { purpose, state_id, id, capacity, synced, grouped, left }
}

/// Whether a record writes to slots.
fn is_large(record: &Record) -> bool {
    let reply = record.call.as_ref().map(|call| &call.reply.value);
    let mut values = record.changes.iter().map(|(_, value)| value).chain(reply);
    values.any(|value| !value.blobs.is_empty() || value.inline.len() >= INLINE_LIMIT)
}

/// Whether a record notes calls that the actor died of: it must be durable before they run.
fn is_intent(record: &Record) -> bool {
    let reserved = |(name, _): &(String, Encoded)| crate::state::is_reserved(name);
    record.call.is_none() && record.changes.iter().any(reserved)
}

pub(super) fn new_state_id(path: &Path) -> Result<u128, OpenError> {
    let id = SessionId::generate().map_err(|source| OpenError::Unreadable {
        operation: "make an identity for",
        path: path.to_owned(),
        source,
    })?;
    Ok(id.0)
}

/// The length of the payload of a record that can be stored.
fn check_sizes(record: &Record, plan: &Plan) -> Result<usize, Stop> {
    for (name, value) in &record.changes {
        let shown =
            || format!("the name of attribute {:?}", name.chars().take(40).collect::<String>());
        check_limit(shown, name.len() as u64, u64::from(u16::MAX))?;
        check_limit(|| format!("attribute {name:?}"), value.size(), MAX_CONTENT)?;
    }
    if let Some(call) = &record.call {
        check_limit(|| "the reply".to_owned(), call.reply.value.size(), MAX_CONTENT)?;
    }
    let len = payload::commit_len(record, plan);
    check_limit(|| "the commit".to_owned(), len, frame::MAX_PAYLOAD)?;
    Ok(len as usize)
}

fn check_limit(what: impl FnOnce() -> String, size: u64, limit: u64) -> Result<(), Stop> {
    if size > limit { Err(Stop::TooLarge { what: what(), size, limit }) } else { Ok(()) }
}
