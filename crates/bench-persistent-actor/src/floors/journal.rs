//! The store alone with 256 writers, beside one bare journal that batches.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use persistent_actor::codec;
use persistent_actor::store::{GroupJournal, GroupedState};
use persistent_actor::{
    ActorState, CallId, CodecError, Encoded, Reply, ReplyStatus, SessionId, StoreError,
};

use super::bare::{MESSAGE_BYTES, prewritten};
use super::what::{Found, Row, Target, What};
use super::{Context, Effort, FloorsError, system, wrong_store};
use crate::measurement::median;

const BARE: What = What::per_s(
    "store_bare_journal",
    "256 threads, 64-byte records, one prewritten journal, one `fdatasync` for all that wait",
);
const STORE: What = What::per_s(
    "store_many",
    "256 threads, each commits calls to a state of its own, `power`, one group journal",
);

pub(super) const ROWS: &[Row] = &[Row {
    key: "store-many",
    work: "the store alone, 256 writers, power",
    product: &STORE,
    floors: &[&BARE],
    target: Target::AtLeast(0.75),
}];

const WRITERS: usize = 256;

/// The size of the journal that is written in a ring. Bytes.
const JOURNAL_BYTES: usize = 16 << 20;

/// How long the group journal's upkeep waits when there is nothing to do.
const KEEPER_PAUSE: Duration = Duration::from_millis(5);

/// Writers need little.
const STACK_BYTES: usize = 256 * 1024;

pub(super) fn measure(context: &Context<'_>) -> Result<Vec<Found>, FloorsError> {
    let (rounds, time) = match context.effort {
        Effort::Quick => (1, Duration::from_millis(300)),
        Effort::Normal | Effort::Full => (5, Duration::from_millis(700)),
    };
    let journal = Journal::create(&context.dir.join("journal")).map_err(system("make a file"))?;
    let group = group(context)?;
    let mut states = states(&group)?;
    let (mut bare, mut store) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        bare.push(journal.race(time)?);
        let (per_s, back) = store_race(&group, states, time)?;
        store.push(per_s);
        states = back;
    }
    let value = |values| median(values).unwrap_or(f64::NAN);
    Ok(vec![Found { what: BARE, value: value(bare) }, Found { what: STORE, value: value(store) }])
}

fn group(context: &Context<'_>) -> Result<Arc<GroupJournal>, FloorsError> {
    let root = context.dir.join("group");
    std::fs::create_dir_all(&root).map_err(system("make a directory"))?;
    GroupJournal::open(root, &ActorState::options()).map(Arc::new).map_err(wrong_store)
}

fn states(group: &Arc<GroupJournal>) -> Result<Vec<GroupedState>, FloorsError> {
    let open = |writer: usize| {
        let state =
            GroupJournal::open_state(group, &format!("state-{writer}"), ActorState::options());
        state.map_err(wrong_store)
    };
    (0..WRITERS).map(open).collect()
}

/// Lets every writer commit to its own state; commits per second, and the states back.
fn store_race(
    group: &GroupJournal,
    states: Vec<GroupedState>,
    time: Duration,
) -> Result<(f64, Vec<GroupedState>), FloorsError> {
    let session = SessionId::generate().map_err(system("make an identity"))?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let keeper = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                if group.needs_maintenance() {
                    group.maintain()?;
                }
                thread::sleep(KEEPER_PAUSE);
            }
            Ok(())
        });
        let start = |mut state: GroupedState| {
            let stop = &stop;
            let write = move || {
                let mut sequence = 0;
                while !stop.load(Ordering::Relaxed) {
                    let id = CallId { session, sequence };
                    let (reply, changes) = call(id).map_err(wrong_store)?;
                    let ticket = state.commit_call(id, sequence, 7, reply, changes);
                    group.wait(ticket.map_err(wrong_store)?).map_err(wrong_store)?;
                    state.maintain().map_err(wrong_store)?;
                    sequence += 1;
                }
                Ok::<_, FloorsError>((state, sequence))
            };
            thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, write)
        };
        let writers: Vec<_> = states.into_iter().map(start).collect();
        let begin = Instant::now();
        thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        let elapsed = begin.elapsed();
        let mut back = Vec::with_capacity(WRITERS);
        let mut all = 0;
        for writer in writers {
            let (state, commits) = joined(writer.map_err(system("start a thread"))?)?;
            if commits > 0
                && state.state().get::<u64>("counter").map_err(wrong_store)? != Some(commits)
            {
                return Err(FloorsError::Wrong("a commit of the store is lost"));
            }
            all += commits;
            back.push(state);
        }
        let kept: Result<(), StoreError> = joined(keeper);
        kept.map_err(wrong_store)?;
        Ok((all as f64 / elapsed.as_secs_f64(), back))
    })
}

/// A commit as an actor makes it: a value of some bytes, the reply, the call's id.
pub(super) fn commit(state: &mut ActorState, id: CallId) -> Result<(), FloorsError> {
    let (reply, changes) = call(id).map_err(wrong_store)?;
    state.commit_call(id, id.sequence, 7, reply, changes).map_err(wrong_store)
}

/// What a call answers and changes.
fn call(id: CallId) -> Result<(Reply, Vec<(String, Encoded)>), CodecError> {
    let value = codec::encode(&(id.sequence + 1))?;
    let reply = Reply { status: ReplyStatus::Returned, value: value.clone() };
    Ok((reply, vec![("counter".to_owned(), value)]))
}

/// A writer's result; one that panicked panics here.
fn joined<T>(writer: thread::ScopedJoinHandle<'_, T>) -> T {
    writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The least that many durable writers need: a queue, one file, and one sync for all that wait.
struct Journal {
    file: File,
    queue: Mutex<Queue>,
    arrived: Condvar,
    durable: Vec<AtomicU64>,
}

#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    waiting: Vec<(usize, u64, Thread)>,
    closed: bool,
}

impl Journal {
    fn create(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: prewritten(path, JOURNAL_BYTES)?,
            queue: Mutex::default(),
            arrived: Condvar::new(),
            durable: (0..WRITERS).map(|_| AtomicU64::new(0)).collect(),
        })
    }

    /// Appends a record and returns when it is durable.
    fn commit(&self, writer: usize, number: u64) {
        {
            let mut queue = lock(&self.queue);
            queue.bytes.extend([number as u8; MESSAGE_BYTES]);
            queue.waiting.push((writer, number, thread::current()));
            if queue.waiting.len() == 1 {
                self.arrived.notify_one();
            }
        }
        while self.durable[writer].load(Ordering::Acquire) < number {
            thread::park();
        }
    }

    /// Writes and syncs batches until the journal is closed; after an error nobody waits for
    /// more.
    fn write_batches(&self) -> io::Result<()> {
        let written = self.try_write_batches();
        if written.is_err() {
            self.durable.iter().for_each(|number| number.store(u64::MAX, Ordering::Release));
            lock(&self.queue).waiting.drain(..).for_each(|(_, _, thread)| thread.unpark());
        }
        written
    }

    /// Each batch is what arrived while the last was under way.
    fn try_write_batches(&self) -> io::Result<()> {
        let (mut bytes, mut waiting) = (Vec::new(), Vec::new());
        let mut at = 0;
        loop {
            {
                let mut queue = lock(&self.queue);
                while queue.waiting.is_empty() && !queue.closed {
                    queue = self.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner);
                }
                if queue.waiting.is_empty() {
                    queue.closed = false;
                    return Ok(());
                }
                std::mem::swap(&mut queue.bytes, &mut bytes);
                std::mem::swap(&mut queue.waiting, &mut waiting);
            }
            if at + bytes.len() > JOURNAL_BYTES {
                at = 0;
            }
            let written = self.file.write_all_at(&bytes, at as u64);
            let written = written.and_then(|()| self.file.sync_data());
            at += bytes.len();
            bytes.clear();
            for (writer, number, thread) in waiting.drain(..) {
                let reached = if written.is_ok() { number } else { u64::MAX };
                self.durable[writer].store(reached, Ordering::Release);
                thread.unpark();
            }
            written?;
        }
    }

    /// Lets all writers commit; commits per second.
    fn race(&self, time: Duration) -> Result<f64, FloorsError> {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let batches = scope.spawn(|| self.write_batches());
            let write = |writer: usize| {
                let stop = &stop;
                move || {
                    let first = self.durable[writer].load(Ordering::Relaxed);
                    let mut number = first;
                    while !stop.load(Ordering::Relaxed) {
                        number += 1;
                        self.commit(writer, number);
                    }
                    number - first
                }
            };
            let start = |writer| {
                let thread = thread::Builder::new().stack_size(STACK_BYTES);
                thread.spawn_scoped(scope, write(writer))
            };
            let writers: Vec<_> = (0..WRITERS).map(start).collect();
            let begin = Instant::now();
            thread::sleep(time);
            stop.store(true, Ordering::Relaxed);
            let elapsed = begin.elapsed();
            let mut commits = 0;
            for writer in writers {
                let writer = writer.map_err(system("start a thread"))?;
                commits += writer.join().unwrap_or_else(|p| std::panic::resume_unwind(p));
            }
            lock(&self.queue).closed = true;
            self.arrived.notify_one();
            let written = batches.join().unwrap_or_else(|p| std::panic::resume_unwind(p));
            written.map_err(system("write a file"))?;
            Ok(commits as f64 / elapsed.as_secs_f64())
        })
    }
}
