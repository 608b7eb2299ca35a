//! [`GroupJournal`]: gathers commits while the one before is being synced.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::batch::{self, Mark};
use super::keeper::Keeper;
use super::writer::Writer;
use super::{DIRECTORY, Member, Written, resolve};
use crate::call::SessionId;
use crate::durability::Durability;
use crate::error::{OpenError, StoreError};
use crate::state::Options;
use crate::store::disk::Disk;
use crate::store::failure::{Failure, ReadError};
use crate::store::fence::Claim;
use crate::store::frame::Framing;
use crate::store::names::{FileId, FileName};
use crate::store::storage::{self, DirRoot, StateRoot};

/// How much memory for a batch is kept. Bytes.
const KEPT_BYTES: usize = 1024 * 1024;

/// One journal for the commits of many states in one directory, so that those that are made at the
/// same time share one sync.
///
/// Each state writes its commits to its own journal as ever, and leaves the sync to this one,
/// which gets a copy. To be shared by threads.
pub struct GroupJournal {
    pub(super) root: Box<dyn StateRoot>,
    pub(super) options: Options,
    run: u128,
    queue: Mutex<Queue>,
    /// Those who wait for a batch with an even number, and with an odd one.
    done: [Condvar; 2],
    writer: Mutex<Writer>,
    keeper: Mutex<Keeper>,
}

/// Stands for a commit that was handed to a [`GroupJournal`]. Tickets are ordered: with one, all
/// smaller ones are durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// What is between those who commit and the one who writes.
pub(super) struct Queue {
    /// The payload of the batch that gathers, after room for a record header.
    batch: Vec<u8>,
    /// The memory of one that was written.
    spent: Vec<u8>,
    /// Up to where that makes the members' segments durable.
    marks: Vec<(u64, Mark)>,
    /// The number of the batch that gathers.
    number: u64,
    /// All batches up to this one are durable.
    durable: u64,
    /// Somebody who waits is writing.
    led: bool,
    next_member: u64,
    pub(super) members: BTreeMap<u64, Incarnation>,
    /// The first failure, after which nothing is done any more.
    poison: Option<String>,
}

/// What is known of a member.
pub(super) struct Incarnation {
    /// The name of its state.
    pub(super) state: String,
    /// Up to where its newest segment is durable; `None` before its first commit.
    pub(super) mark: Option<Mark>,
    /// The last group journal with an entry of it.
    pub(super) last_in: u32,
}

/// A batch that is to be written.
pub(super) struct Batch {
    pub(super) payload: Vec<u8>,
    pub(super) marks: Vec<(u64, Mark)>,
    number: u64,
}

impl GroupJournal {
    /// Opens the group journal of the states in the directory `root`, and makes what an earlier
    /// one has left durable in the states themselves. Whoever had it open before is fenced.
    ///
    /// Of `options` the ledger's limits count: states that need the earlier journal are opened
    /// with them.
    ///
    /// # Errors
    /// See [`OpenError`]. A state that cannot be opened is no error: what it needs is kept.
    pub fn open(root: impl AsRef<Path>, options: &Options) -> Result<Self, OpenError> {
        Self::open_on(Box::new(DirRoot(root.as_ref().to_owned())), options, None)
    }

    /// The same with a `run` from [`GroupJournal::new_run`], for engines that must know it before.
    ///
    /// # Errors
    /// As for [`GroupJournal::open`].
    pub fn open_run(
        root: impl AsRef<Path>,
        options: &Options,
        run: u128,
    ) -> Result<Self, OpenError> {
        Self::open_on(Box::new(DirRoot(root.as_ref().to_owned())), options, Some(run))
    }

    /// A new run: a random number.
    ///
    /// # Errors
    /// If the operating system has no random bytes to give.
    pub fn new_run() -> std::io::Result<u128> {
        SessionId::generate().map(|id| id.0)
    }

    /// Whether an earlier group journal of the states in `root` is still there: its program was
    /// killed, or the machine stopped.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn is_left(root: impl AsRef<Path>) -> Result<bool, OpenError> {
        let path = root.as_ref().join(DIRECTORY);
        let storage = match storage::DirStorage::open(&path, false, false) {
            Err(OpenError::NotFound { .. }) => return Ok(false),
            other => other?,
        };
        let listing = Disk::new(Box::new(storage), false).list();
        let names = listing.map_err(|e| ReadError::from(e).into_open_error(&path))?.names;
        Ok(names.iter().any(|name| matches!(name, FileName::Journal(_))))
    }

    /// The same in any [`StateRoot`].
    ///
    /// # Errors
    /// As for [`GroupJournal::open`].
    #[doc(hidden)]
    pub fn open_on(
        root: Box<dyn StateRoot>,
        options: &Options,
        run: Option<u128>,
    ) -> Result<Self, OpenError> {
        let path = root.path(DIRECTORY);
        let io_error = |failure: Failure| ReadError::from(failure).into_open_error(&path);
        let sync = options.switches.sync && options.switches.group_sync;
        let disk = Disk::new(root.open(DIRECTORY, true)?, sync);
        let names = disk.list().map_err(io_error)?;
        let claim = Claim::take(&disk, names, &storage::describe_holder()).map_err(io_error)?;
        let claim = claim.ok_or_else(|| StoreError::Fenced { epoch: 0, path: path.clone() })?;
        let keeper = Keeper::new(Disk::new(root.open(DIRECTORY, true)?, sync), claim.epoch);
        let options = options.clone().durability(Durability::Power).create(false);
        let resolved = resolve::all(&*root, &disk, &options)?;
        let run = match run {
            Some(run) => run,
            None => Self::new_run().map_err(|source| OpenError::Unreadable {
                operation: "make an identity for",
                path: path.clone(),
                source,
            })?,
        };
        let writer = Writer::start(disk, claim, run, &options.sizes).map_err(io_error)?;
        writer.remove_older(resolved).map_err(io_error)?;
        Ok(Self {
            root,
            options,
            run,
            queue: Mutex::new(Queue::new()),
            done: [Condvar::new(), Condvar::new()],
            writer: Mutex::new(writer),
            keeper: Mutex::new(keeper),
        })
    }

    /// The run: a random number that the states' journals name; see
    /// [`Options::group_run`](crate::Options::group_run).
    pub fn run(&self) -> u128 {
        self.run
    }

    /// A new incarnation of the state `name` (of its directory).
    pub fn join(&self, name: impl Into<String>) -> Member {
        let mut queue = self.queue();
        let number = queue.next_member;
        queue.next_member += 1;
        let incarnation = Incarnation { state: name.into(), mark: None, last_in: 0 };
        queue.members.insert(number, incarnation);
        Member { run: self.run, number }
    }

    /// An incarnation's state does not need this journal any more: it was closed, or a newer
    /// incarnation has its own journal.
    pub fn leave(&self, member: Member) {
        self.queue().members.remove(&member.number);
    }

    /// Takes over what a commit of `member` has written. It is durable when that is said of the
    /// ticket.
    ///
    /// # Errors
    /// [`StoreError::Poisoned`] if writing failed before.
    pub fn submit(&self, member: Member, written: &Written) -> Result<Ticket, StoreError> {
        let mut queue = self.queue();
        queue.check()?;
        let Written { epoch, number, offset, bytes } = written;
        batch::put_entry(&mut queue.batch, member.number, written);
        let segment = FileId { epoch: *epoch, number: *number };
        let mark = Mark { segment, end: offset + bytes.len() as u64 };
        queue.marks.push((member.number, mark));
        Ok(Ticket(queue.number))
    }

    /// The ticket of what would be submitted now, for something that leaves no entry but must not
    /// be told before what was submitted before.
    pub fn ticket(&self) -> Ticket {
        let queue = self.queue();
        // Nothing may be waiting; then the last batch is meant.
        Ticket(if queue.marks.is_empty() { queue.number - 1 } else { queue.number })
    }

    /// What is durable.
    ///
    /// # Errors
    /// [`StoreError::Poisoned`] if writing failed: what is not durable by now never will be.
    pub fn durable(&self) -> Result<Ticket, StoreError> {
        let queue = self.queue();
        queue.check()?;
        Ok(Ticket(queue.durable))
    }

    /// Writes and syncs what has gathered, if anything has. Gives what is durable now.
    ///
    /// # Errors
    /// The first time: what failed. The group journal is of no further use then.
    pub fn flush(&self) -> Result<Ticket, StoreError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let batch = {
            let mut queue = self.queue();
            queue.check()?;
            if queue.marks.is_empty() {
                return Ok(Ticket(queue.durable));
            }
            queue.take()
        };
        let number = batch.number;
        let written = self.write(&mut writer, batch);
        let mut queue = self.queue();
        let result = match written {
            Ok((batch, file)) => {
                queue.settle(batch, file);
                Ok(Ticket(number))
            }
            Err(error) => {
                queue.poison = Some(error.to_string());
                // Nobody will write what comes next.
                self.done_with(number + 1).notify_all();
                Err(error)
            }
        };
        self.done_with(number).notify_all();
        result
    }

    /// Who waits for the batch of this number.
    fn done_with(&self, number: u64) -> &Condvar {
        &self.done[(number % 2) as usize]
    }

    fn write(&self, writer: &mut Writer, mut batch: Batch) -> Result<(Batch, u32), StoreError> {
        if !writer.fits(&batch) {
            self.go_on(writer, &batch)?;
        }
        let written = writer.append(&mut batch).map_err(|failure| self.io_error(failure));
        written?;
        if !writer.holds().map_err(|failure| self.io_error(failure))? {
            let path = self.root.path(DIRECTORY);
            return Err(StoreError::Fenced { epoch: writer.epoch(), path });
        }
        Ok((batch, writer.file()))
    }

    /// Goes on to the next file. What the one before the last still holds must be durable in the
    /// states by then.
    fn go_on(&self, writer: &mut Writer, batch: &Batch) -> Result<(), StoreError> {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        keeper.sync_states(self)?;
        let table: Vec<(u64, Mark)> = {
            let queue = self.queue();
            let marks = queue.members.iter();
            marks.filter_map(|(number, member)| Some((*number, member.mark?))).collect()
        };
        let full = writer.file();
        let next = writer.next(&table, batch, keeper.take_spare());
        keeper.give(next.map_err(|failure| self.io_error(failure))?);
        keeper.due = Some(full);
        Ok(())
    }

    /// Whether there is something to do for [`GroupJournal::maintain`].
    pub fn needs_maintenance(&self) -> bool {
        // Somebody who holds it is at work.
        self.keeper.try_lock().is_ok_and(|keeper| keeper.due.is_some() || !keeper.has_spare())
    }

    /// Makes durable in the states themselves what the full file of the journal holds, and
    /// prepares the next. To be called beside [`GroupJournal::flush`] when it is due, by another
    /// thread; otherwise a flush does it when it cannot go on without.
    ///
    /// # Errors
    /// What failed. The group journal is of no further use then.
    pub fn maintain(&self) -> Result<(), StoreError> {
        let size = self.writer.lock().unwrap_or_else(PoisonError::into_inner).next_size();
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        let done = keeper
            .sync_states(self)
            .and_then(|()| keeper.prepare_spare(size).map_err(|failure| self.io_error(failure)));
        if let Err(error) = &done {
            self.queue().poison.get_or_insert_with(|| error.to_string());
            self.done.iter().for_each(Condvar::notify_all);
        }
        done
    }

    /// Waits until what the ticket stands for is durable, and writes it if nobody else does.
    ///
    /// # Errors
    /// See [`GroupJournal::flush`].
    pub fn wait(&self, ticket: Ticket) -> Result<(), StoreError> {
        let mut queue = self.queue();
        loop {
            if queue.durable >= ticket.0 {
                return Ok(());
            }
            queue.check()?;
            if queue.led {
                let waiting = self.done_with(ticket.0).wait(queue);
                queue = waiting.unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            queue.led = true;
            drop(queue);
            let flushed = self.flush();
            queue = self.queue();
            queue.led = false;
            // Somebody whose batch gathered meanwhile goes on.
            self.done_with(queue.number).notify_one();
            flushed?;
        }
    }

    /// Ends it: what was submitted is made durable, and if all states were closed before, or can
    /// be made whole now, the journal is removed. Nothing is taken any more.
    ///
    /// # Errors
    /// See [`GroupJournal::flush`], and [`OpenError`].
    pub fn close(&self) -> Result<(), OpenError> {
        self.flush()?;
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let is_needed = {
            let mut queue = self.queue();
            queue.poison = Some("it was closed".to_owned());
            !queue.members.is_empty()
        };
        let path = self.root.path(DIRECTORY);
        let io_error = |failure: Failure| ReadError::from(failure).into_open_error(&path);
        if !writer.holds().map_err(io_error)? {
            return Ok(());
        }
        let has_older = writer.has_older().map_err(io_error)?;
        let whole = match is_needed || has_older {
            true => resolve::all(&*self.root, writer.disk(), &self.options)?,
            false => true,
        };
        let removed = match (whole, is_needed) {
            (true, _) => writer.remove_all(),
            (false, false) => writer.remove_own(),
            (false, true) => Ok(()),
        };
        removed.map_err(io_error)
    }

    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn io_error(&self, failure: Failure) -> StoreError {
        failure.into_store_error(&self.root.path(DIRECTORY))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.path(name)
    }
}

impl Queue {
    fn new() -> Self {
        let mut batch = Vec::new();
        Framing::begin(&mut batch);
        Self {
            batch,
            spent: Vec::new(),
            marks: Vec::new(),
            number: 1,
            durable: 0,
            led: false,
            next_member: 1,
            members: BTreeMap::new(),
            poison: None,
        }
    }

    fn check(&self) -> Result<(), StoreError> {
        match &self.poison {
            None => Ok(()),
            Some(first) => Err(StoreError::Poisoned { first: first.clone() }),
        }
    }

    /// Takes out the batch that has gathered.
    fn take(&mut self) -> Batch {
        let mut payload = std::mem::take(&mut self.spent);
        Framing::begin(&mut payload);
        std::mem::swap(&mut payload, &mut self.batch);
        let number = self.number;
        self.number += 1;
        Batch { payload, marks: std::mem::take(&mut self.marks), number }
    }

    /// A batch is durable in the group journal `file`.
    fn settle(&mut self, batch: Batch, file: u32) {
        for (number, mark) in &batch.marks {
            if let Some(member) = self.members.get_mut(number) {
                member.mark = Some(*mark);
                member.last_in = file;
            }
        }
        self.durable = batch.number;
        self.spent = batch.payload;
        self.spent.shrink_to(KEPT_BYTES);
    }
}
