//! [`GroupCommit`]: one sync for actors that commit at the same time.
//!
//! Workers write their commits and leave the sync to the node, with a copy of what they have
//! written. One thread appends what has gathered to the group journal and syncs that; only then do
//! the replies go to their callers. While it does so, the next ones gather. An actor that is alone
//! syncs its commits itself, which is quicker.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use persistent_actor::store::{GroupJournal, Member, Written};
use persistent_actor::{OpenError, Options, StoreError};
use tokio::runtime::{Handle, Id};

use crate::cell::Cell;
use crate::event::now_ns;
use crate::link::{Link, Seat};
use crate::releaser::{Releaser, Waiting};
use crate::root::escape;
use crate::wire::Frame;

/// How many actors must have something to do for them to share syncs.
const CROWD: usize = 4;

/// After how many calls in a row without such a crowd an actor syncs for itself again.
const PATIENCE: u32 = 16;

/// Which part of the actors that have something to do is waited for before a sync; a sync costs as
/// much processor time as some calls.
const GATHERED_PART: usize = 4;

/// How many times as long as the last write and sync took others are waited for, at most.
const GATHER_TIMES: u32 = 4;

/// The longest time for which others are waited for.
const MAX_GATHER: Duration = Duration::from_millis(1);

/// The group journal of a node, and who waits for it.
pub(crate) struct GroupCommit {
    root: PathBuf,
    options: Options,
    run: u128,
    /// Opened when it is needed for the first time.
    journal: OnceLock<GroupJournal>,
    /// It could not be opened, or it has failed: every actor syncs for itself.
    failed: AtomicBool,
    /// The threads are there.
    running: AtomicBool,
    /// How many actors have something to do.
    busy: AtomicUsize,
    line: Mutex<Line>,
    /// Wakes the thread that writes.
    filled: Condvar,
    /// Wakes the one that looks after full files.
    due: Condvar,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Who gives replies to their callers, on each runtime that has actors.
    releasers: Mutex<HashMap<Id, Arc<Releaser>>>,
}

/// What is between the sockets and the thread that writes.
#[derive(Default)]
struct Line {
    waiting: Vec<Waiting>,
    /// The thread that writes sleeps until so many wait.
    sleeps_until: Option<usize>,
    /// The threads were started.
    wanted: bool,
    /// The thread that looks after full files has something to do.
    upkeep: bool,
    closed: bool,
}

impl GroupCommit {
    /// For the actors in the state root `root`. If an earlier program was killed, what it has left
    /// in its group journal is taken over first.
    pub(crate) fn open(root: &Path, options: Options) -> Result<Arc<Self>, OpenError> {
        let run = GroupJournal::new_run().map_err(|source| OpenError::Unreadable {
            operation: "make an identity for the group journal in",
            path: root.to_owned(),
            source,
        })?;
        let group = Arc::new(Self {
            root: root.to_owned(),
            options,
            run,
            journal: OnceLock::new(),
            failed: AtomicBool::new(false),
            running: AtomicBool::new(false),
            busy: AtomicUsize::new(0),
            line: Mutex::default(),
            filled: Condvar::new(),
            due: Condvar::new(),
            threads: Mutex::default(),
            releasers: Mutex::default(),
        });
        if GroupJournal::is_left(root)? {
            group.open_journal()?;
        }
        Ok(group)
    }

    /// The run of its journal, which the workers must know.
    pub(crate) fn run(&self) -> u128 {
        self.run
    }

    /// Who gives replies to their callers, for actors on this runtime.
    pub(crate) fn releaser(&self, runtime: &Handle) -> Arc<Releaser> {
        let mut releasers = self.releasers.lock().unwrap_or_else(PoisonError::into_inner);
        releasers.retain(|_, releaser| !releaser.has_ended());
        let releaser = releasers.entry(runtime.id()).or_insert_with(|| Releaser::start(runtime));
        Arc::clone(releaser)
    }

    fn open_journal(&self) -> Result<&GroupJournal, OpenError> {
        if let Some(journal) = self.journal.get() {
            return Ok(journal);
        }
        let opened = GroupJournal::open_run(&self.root, &self.options, self.run)?;
        Ok(self.journal.get_or_init(|| opened))
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One actor more or less has something to do.
    pub(crate) fn count_busy(&self, more: bool) {
        if more {
            self.busy.fetch_add(1, Ordering::Relaxed);
        } else {
            self.busy.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// To be asked before a call is sent: lets an actor take its seat in the group, or give it up.
    pub(crate) fn seat(self: &Arc<Self>, link: &mut Link, name: &str) {
        let is_crowd = self.busy.load(Ordering::Relaxed) >= CROWD;
        let Seat { member, is_taken, alone, .. } = &mut link.seat;
        if is_crowd {
            *alone = 0;
            if *is_taken || self.failed.load(Ordering::Relaxed) {
                return;
            }
            let is_running = self.running.load(Ordering::Acquire);
            let Some(journal) = self.journal.get().filter(|_| is_running) else {
                self.start();
                return;
            };
            // A name that has no directory has no actor.
            let Ok(directory) = escape(name) else { return };
            let Member { run, number } = *member.get_or_insert_with(|| journal.join(directory));
            *is_taken = true;
            link.push(&Frame::Group { member: Some((run, number)) });
        } else if *is_taken {
            *alone += 1;
            if *alone >= PATIENCE {
                *is_taken = false;
                link.push(&Frame::Group { member: None });
            }
        }
    }

    /// Starts the threads; the first opens the journal.
    fn start(self: &Arc<Self>) {
        let mut line = self.line();
        if std::mem::replace(&mut line.wanted, true) || line.closed {
            return;
        }
        let (writer, keeper) = (Arc::clone(self), Arc::clone(self));
        let named = |name: &str| thread::Builder::new().name(name.to_owned());
        let started = [
            named("actor-group").spawn(move || writer.write_all()),
            named("actor-group-2").spawn(move || keeper.keep()),
        ];
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in started {
            match thread {
                Ok(thread) => threads.push(thread),
                // Without them each actor syncs for itself.
                Err(_) => self.failed.store(true, Ordering::Relaxed),
            }
        }
        self.running.store(true, Ordering::Release);
    }

    /// Takes what a commit of `member` has written.
    pub(crate) fn take(&self, member: Member, written: Written<'_>) {
        if let Some(journal) = self.journal.get() {
            // If it has failed, the thread that writes will say so.
            let _ = journal.submit(member, &written);
        }
    }

    /// Keeps the reply to a call back until all that was taken so far is durable.
    pub(crate) fn hold(&self, cell: &Arc<Cell>, sequence: u64) {
        let mut line = self.line();
        line.waiting.push(Waiting { cell: Arc::clone(cell), sequence });
        let is_enough = line.sleeps_until.is_some_and(|enough| line.waiting.len() >= enough);
        if is_enough {
            line.sleeps_until = None;
            drop(line);
            self.filled.notify_one();
        }
    }

    /// These incarnations' states do not need the journal any more.
    pub(crate) fn leave(&self, member: Member) {
        if let Some(journal) = self.journal.get() {
            journal.leave(member);
        }
    }

    /// This incarnation, which had opened its state under this epoch, is gone, and its actor has
    /// ended: its state is made whole when there is time.
    pub(crate) fn forsake(&self, member: Member, epoch: u64) {
        if let Some(journal) = self.journal.get() {
            journal.forsake(member, epoch);
            self.line().upkeep = true;
            self.due.notify_one();
        }
    }

    /// The thread that writes.
    fn write_all(&self) {
        let mut batch = Vec::new();
        let written = catch_unwind(AssertUnwindSafe(|| self.write_batches(&mut batch)));
        if written.is_err() {
            // Nobody knows what is durable now, but whoever has a seat still waits for it.
            self.fail(&mut batch);
            while self.gather(&mut batch, Duration::ZERO) {
                self.fail(&mut batch);
            }
        }
    }

    fn write_batches(&self, batch: &mut Vec<Waiting>) {
        if self.open_journal().is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
        let mut took = Duration::ZERO;
        while self.gather(batch, took) {
            let start = Instant::now();
            let flushed = self.flush();
            took = start.elapsed();
            match flushed {
                Ok(()) => release(batch, now_ns()),
                Err(_) => self.fail(batch),
            }
        }
    }

    /// From now on every actor syncs for itself; what waits counts as unanswered.
    fn fail(&self, batch: &mut Vec<Waiting>) {
        self.failed.store(true, Ordering::Relaxed);
        for Waiting { cell, .. } in batch.drain(..) {
            cell.void_held();
        }
    }

    /// Waits until somebody waits, and then a little while for others. `false` at the end.
    fn gather(&self, batch: &mut Vec<Waiting>, took: Duration) -> bool {
        let mut line = self.line();
        while line.waiting.is_empty() && !line.closed {
            line.sleeps_until = Some(1);
            line = self.filled.wait(line).unwrap_or_else(PoisonError::into_inner);
        }
        let deadline = Instant::now() + (took * GATHER_TIMES).min(MAX_GATHER);
        loop {
            let enough = self.busy.load(Ordering::Relaxed) / GATHERED_PART;
            let left = deadline.saturating_duration_since(Instant::now());
            if line.waiting.len() >= enough || left.is_zero() || line.closed {
                break;
            }
            line.sleeps_until = Some(enough);
            let waited = self.filled.wait_timeout(line, left);
            line = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        line.sleeps_until = None;
        std::mem::swap(batch, &mut line.waiting);
        !batch.is_empty()
    }

    fn flush(&self) -> Result<(), StoreError> {
        let Some(journal) = self.journal.get() else {
            return Err(StoreError::Poisoned { first: "there is no group journal".to_owned() });
        };
        journal.flush()?;
        if journal.needs_maintenance() {
            self.line().upkeep = true;
            self.due.notify_one();
        }
        Ok(())
    }

    /// The thread that looks after full files.
    fn keep(&self) {
        loop {
            {
                let mut line = self.line();
                while !line.upkeep && !line.closed {
                    line = self.due.wait(line).unwrap_or_else(PoisonError::into_inner);
                }
                if line.closed {
                    return;
                }
                line.upkeep = false;
            }
            let Some(journal) = self.journal.get() else { continue };
            // If it fails, the thread that writes meets that, too.
            if journal.maintain().is_ok() && journal.needs_maintenance() {
                self.line().upkeep = true;
            }
        }
    }

    /// Ends the threads after what waits now.
    pub(crate) fn stop(&self) {
        self.line().closed = true;
        self.filled.notify_all();
        self.due.notify_all();
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            if thread.thread().id() != thread::current().id() {
                // One that has panicked has ended, too.
                let _ = thread.join();
            }
        }
        let releasers = self.releasers.lock().unwrap_or_else(PoisonError::into_inner);
        releasers.values().for_each(|releaser| releaser.close());
    }

    /// Ends it after all actors have stopped: the journal is removed if all states are whole
    /// without it.
    pub(crate) fn close(&self) {
        self.stop();
        if let Some(journal) = self.journal.get() {
            // What cannot be removed now is taken over by the next program.
            let _ = journal.close();
        }
    }
}

/// Gives replies to the releasers of their actors; mostly there is but one.
fn release(batch: &mut Vec<Waiting>, durable_ns: u64) {
    while let Some(releaser) = batch.first().and_then(|first| first.cell.releaser()).cloned() {
        let is_same = |reply: &Waiting| {
            reply.cell.releaser().is_some_and(|other| Arc::ptr_eq(other, &releaser))
        };
        let (same, others) = batch.drain(..).partition(is_same);
        *batch = others;
        releaser.release(same, durable_ns);
    }
}
