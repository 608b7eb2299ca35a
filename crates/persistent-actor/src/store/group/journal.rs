//! [`GroupJournal`]: gathers commits while the one before is being synced.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::batch::Mark;
use super::gate::{Gate, Passed};
use super::keeper::Keeper;
use super::members::Members;
use super::queue::{Batch, Queue};
use super::resolve::{Care, Resolver};
use super::writer::{Writer, runs};
use super::{DIRECTORY, Member, Written};
use crate::call::SessionId;
use crate::durability::Durability;
use crate::error::{OpenError, StoreError};
use crate::options::Options;
use crate::store::disk::Disk;
use crate::store::failure::{Failure, ReadError};
use crate::store::fence::Claim;
use crate::store::names::FileName;
use crate::store::storage::{self, DirRoot, StateRoot};

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
    gate: Gate,
    /// Apart from the queue: whoever commits need not wait for those who look at the members.
    members: Mutex<Members>,
    writer: Mutex<Writer>,
    pub(super) keeper: Mutex<Keeper>,
}

/// Stands for a commit that was handed to a [`GroupJournal`]. Tickets are ordered: with one, all
/// smaller ones are durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// A batch that was taken and not written is lost, and so are those after it.
struct PoisonOnPanic<'a>(&'a GroupJournal);

impl Drop for PoisonOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.poison("the thread that wrote it panicked");
        }
    }
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
        // The last of them stays in any case.
        let gives_up = runs(&names.names) > 1;
        let claim = Claim::take(&disk, names, options.switches).map_err(io_error)?;
        let claim = claim.ok_or_else(|| StoreError::Fenced { epoch: 0, path: path.clone() })?;
        let keeper = Keeper::new(Disk::new(root.open(DIRECTORY, true)?, sync), claim.epoch);
        let options = options.clone().durability(Durability::Power).create(false);
        let care = if gives_up { Care::Synced } else { Care::Needy };
        let resolved = Resolver::new(&*root, &disk, &options).resolve(|_| care)?;
        let run = match run {
            Some(run) => run,
            None => Self::new_run().map_err(|source| OpenError::Unreadable {
                operation: "make an identity for",
                path: path.clone(),
                source,
            })?,
        };
        let writer = Writer::start(disk, claim, run, &options.sizes).map_err(io_error)?;
        writer.remove_older(gives_up && resolved).map_err(io_error)?;
        Ok(Self {
            root,
            options,
            run,
            queue: Mutex::new(Queue::new()),
            gate: Gate::default(),
            members: Mutex::default(),
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
        Member { run: self.run, number: self.members().join(name.into()) }
    }

    /// An incarnation's state does not need this journal any more: it was closed, or a newer
    /// incarnation has its own journal.
    pub fn leave(&self, member: Member) {
        self.members().leave(member.number);
    }

    /// An incarnation that had opened its state under this epoch has ended without closing it, and
    /// writes no more: its process is gone. [`GroupJournal::maintain`] makes the state whole, as
    /// nobody may open it for a long time; until then the incarnation is a member.
    pub fn forsake(&self, member: Member, epoch: u64) {
        self.members().forsake(member.number, epoch);
    }

    /// Takes over what a commit of `member` has written. It is durable when that is said of the
    /// ticket.
    ///
    /// # Errors
    /// [`StoreError::Poisoned`] if writing failed before.
    pub fn submit(&self, member: Member, written: &Written<'_>) -> Result<Ticket, StoreError> {
        let mut queue = self.queue();
        queue.check()?;
        Ok(Ticket(queue.push(member.number, written)))
    }

    /// The ticket of what would be submitted now, for something that leaves no entry but must not
    /// be told before what was submitted before.
    pub fn ticket(&self) -> Ticket {
        let queue = self.queue();
        // Nothing may be waiting; then the last batch is meant.
        Ticket(if queue.is_empty() { queue.number() - 1 } else { queue.number() })
    }

    /// What is durable.
    ///
    /// # Errors
    /// [`StoreError::Poisoned`] if writing failed: what is not durable by now never will be.
    pub fn durable(&self) -> Result<Ticket, StoreError> {
        self.queue().check()?;
        Ok(Ticket(self.gate.durable()))
    }

    /// Writes and syncs what has gathered, if anything has. Gives what is durable now.
    ///
    /// # Errors
    /// The first time: what failed. The group journal is of no further use then.
    pub fn flush(&self) -> Result<Ticket, StoreError> {
        let _panic = PoisonOnPanic(self);
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let batch = {
            let mut queue = self.queue();
            queue.check()?;
            if queue.is_empty() {
                return Ok(Ticket(self.gate.durable()));
            }
            queue.take()
        };
        let number = batch.number;
        match self.write(&mut writer, batch) {
            Ok((batch, file)) => {
                self.members().note(&batch.marks, file);
                self.queue().give_back(batch);
                self.gate.settle(number);
                drop(writer);
                self.gate.call(number);
                Ok(Ticket(number))
            }
            Err(error) => {
                self.poison(&error.to_string());
                Err(error)
            }
        }
    }

    /// Nothing is done any more, for this reason.
    fn poison(&self, reason: &str) {
        self.queue().poison(reason);
        self.gate.fail();
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
        // Whoever had it may have failed.
        self.queue().check()?;
        keeper.sync_states(self)?;
        let table: Vec<(u64, Mark)> = self.members().marks().collect();
        let full = writer.file();
        let next = writer.next(&table, batch, keeper.take_spare());
        keeper.give(next.map_err(|failure| self.io_error(failure))?);
        keeper.due = Some(full);
        Ok(())
    }

    /// Whether there is something to do for [`GroupJournal::maintain`].
    pub fn needs_maintenance(&self) -> bool {
        // Somebody who holds it is at work.
        self.keeper.try_lock().is_ok_and(|keeper| {
            keeper.due.is_some() || !keeper.has_spare() || self.members().has_forsaken()
        })
    }

    /// Makes durable in the states themselves what the full file of the journal holds, prepares the
    /// next, and makes one of the states whole that were forsaken. To be called beside
    /// [`GroupJournal::flush`] when it is due, by another thread; otherwise a flush does what it
    /// cannot go on without.
    ///
    /// # Errors
    /// What failed. The group journal is of no further use then.
    pub fn maintain(&self) -> Result<(), StoreError> {
        let members = self.members().marks().count();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let size = writer.next_size(members);
        drop(writer);
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        let done = keeper
            .sync_states(self)
            .and_then(|()| keeper.prepare_spare(size).map_err(|failure| self.io_error(failure)))
            .and_then(|()| keeper.release_one(self));
        if let Err(error) = &done {
            self.poison(&error.to_string());
        }
        done
    }

    /// Waits until what the ticket stands for is durable, and writes it if nobody else does.
    ///
    /// # Errors
    /// See [`GroupJournal::flush`].
    pub fn wait(&self, ticket: Ticket) -> Result<(), StoreError> {
        loop {
            match self.gate.wait(ticket.0) {
                Passed::Durable => return Ok(()),
                Passed::Failed => {
                    let queue = self.queue();
                    return queue.check();
                }
                Passed::Leads => {}
            }
            // All of this batch are woken before the one who writes the next: then it finds what they
            // commit at once in its batch, and there are fewer syncs.
            let flushed = self.flush();
            self.gate.hand_over(|| self.queue().number());
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
        self.poison("it was closed");
        let needy = self.members().states();
        let path = self.root.path(DIRECTORY);
        let io_error = |failure: Failure| ReadError::from(failure).into_open_error(&path);
        if !writer.holds().map_err(io_error)? {
            return Ok(());
        }
        // Who has left does not need this run. Of earlier ones nothing is known.
        let has_older = writer.has_older().map_err(io_error)?;
        // A path is not the name by which a state is listed.
        let is_unclear = has_older || needy.iter().any(|name| name.contains('/'));
        let may_need = |state: &str| is_unclear || needy.contains(state);
        // Whoever opens the group meanwhile has the states from then on.
        let is_superseded = || matches!(writer.holds(), Ok(false));
        let care = |state: &str| match may_need(state) && !is_superseded() {
            true => Care::Written,
            false => Care::Skip,
        };
        let whole = (needy.is_empty() && !has_older)
            || Resolver::new(&*self.root, writer.disk(), &self.options).resolve(care)?;
        if !writer.holds().map_err(io_error)? {
            return Ok(());
        }
        let removed = match (whole, needy.is_empty()) {
            (true, _) => writer.remove_up_to_own(),
            (false, true) => writer.remove_own(),
            (false, false) => Ok(()),
        };
        removed.map_err(io_error)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn io_error(&self, failure: Failure) -> StoreError {
        failure.into_store_error(&self.root.path(DIRECTORY))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.path(name)
    }
}
