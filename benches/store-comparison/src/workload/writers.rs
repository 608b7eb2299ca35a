//! Many writers on one machine, each committing small records of its own at level power.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fjall::PersistMode;
use heed::EnvFlags;
use persistent_actor::store::GroupJournal;
use persistent_actor::{ActorState, Bytes, Durability};

use super::{Effort, Scratch};
use crate::catalogue::Role;
#[cfg(feature = "rocksdb")]
use crate::engine::RocksDb;
use crate::engine::{
    Engine, Fjall, Guard, Journal, KeyValue, Lmdb, Product, ProductInGroup, Redb, Setup, Slots,
    Sqlite, SqliteSettings, Update,
};
use crate::group_commit::{Done, GroupCommit, Record};
use crate::stats::Round;

/// How long the group journal's upkeep waits when there is nothing to do.
const KEEPER_PAUSE: Duration = Duration::from_millis(5);

/// How the writers reach the disk.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    /// All through one database, committed in batches.
    Shared(fn(&Setup<'_>) -> Result<Box<dyn KeyValue>>),
    /// Each into a store of its own.
    Own(fn(&Setup<'_>) -> Result<Box<dyn Engine + Send>>),
    /// Each into a state of its own, all of them with one group journal, as on a node.
    Grouped,
}

/// A row of the table.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) role: Role,
    pub(crate) about: &'static str,
    pub(crate) way: Way,
}

/// One turn of a row.
pub(crate) struct Turn {
    pub(crate) round: Round,
    /// Commits per second of all writers together.
    pub(crate) per_second: f64,
    /// Commits in one transaction; `None` where there are no batches.
    pub(crate) batch: Option<f64>,
}

fn shared<K: KeyValue + 'static>(store: Result<K>) -> Result<Box<dyn KeyValue>> {
    store.map(|store| Box::new(store) as Box<dyn KeyValue>)
}

fn own<E: Engine + Send + 'static>(engine: Result<E>) -> Result<Box<dyn Engine + Send>> {
    engine.map(|engine| Box::new(engine) as Box<dyn Engine + Send>)
}

const SQLITE: SqliteSettings =
    SqliteSettings { journal: "WAL", synchronous: "FULL", page_size: 4096, text_keys: false };

/// All rows; every commit survives power loss.
pub(crate) fn rows() -> Vec<Row> {
    use Role::{Floor, Peer, Product as Ours};
    let row = |name, role, about, way| Row { name, role, about, way };
    let journal = "one prewritten journal, one fdatasync per batch; keeps no state";
    let per_file = "a prewritten file of two slots per writer, each its own fdatasync";
    let product = "our store without a node: one state per writer, each its own fdatasync";
    let grouped = "our store as on a node: one state per writer, one fdatasync of one group journal \
                   for all that wait";
    vec![
        row("group-journal", Floor, journal, Way::Shared(|setup| shared(Journal::create(setup)))),
        row(
            "file-per-writer",
            Floor,
            per_file,
            Way::Own(|setup| own(Slots::open(setup, Guard::Checksum, true))),
        ),
        row(
            "persistent-actor",
            Ours,
            product,
            Way::Own(|setup| own(Product::open(setup, Durability::Power))),
        ),
        row("persistent-actor-group", Ours, grouped, Way::Grouped),
        row(
            "sqlite-batched",
            Peer,
            "SQLite, WAL, synchronous=FULL, one transaction per batch",
            Way::Shared(|setup| shared(Sqlite::open(setup, SQLITE))),
        ),
        row(
            "redb-batched",
            Peer,
            "redb, Durability::Immediate, one transaction per batch",
            Way::Shared(|setup| shared(Redb::open(setup, redb::Durability::Immediate))),
        ),
        row(
            "lmdb-batched",
            Peer,
            "LMDB, default flags, one transaction per batch",
            Way::Shared(|setup| shared(Lmdb::open(setup, EnvFlags::empty()))),
        ),
        row(
            "fjall-batched",
            Peer,
            "fjall, PersistMode::SyncData, one batch each",
            Way::Shared(|setup| shared(Fjall::open(setup, PersistMode::SyncData))),
        ),
        #[cfg(feature = "rocksdb")]
        row(
            "rocksdb-batched",
            Peer,
            "RocksDB, sync=true, one write batch each",
            Way::Shared(|setup| shared(RocksDb::open(setup, true))),
        ),
    ]
}

/// What one writer did.
struct Written {
    times_ns: Vec<u64>,
    commits: u64,
}

/// Lets `writers` threads commit until the effort is made.
pub(crate) fn turn(row: &Row, writers: usize, effort: Effort, parent: &Path) -> Result<Turn> {
    let scratch = Scratch::create(parent)?;
    let result = match row.way {
        Way::Shared(open) => shared_turn(open, writers, effort, scratch.path()),
        Way::Own(open) => own_turn(open, writers, effort, scratch.path()),
        Way::Grouped => grouped_turn(writers, effort, scratch.path()),
    };
    result.with_context(|| format!("{} with {writers} writers", row.name))
}

fn record(writer: usize, number: u64) -> Record {
    let mut record = [0xa5; 64];
    record[..8].copy_from_slice(&number.to_le_bytes());
    record[8..16].copy_from_slice(&(writer as u64).to_le_bytes());
    record
}

fn shared_turn(
    open: fn(&Setup<'_>) -> Result<Box<dyn KeyValue>>,
    writers: usize,
    effort: Effort,
    dir: &Path,
) -> Result<Turn> {
    let group = GroupCommit::new(open(&Setup { dir, len: size_of::<Record>() * writers })?);
    let done: Vec<Done> = (0..writers).map(|_| Done::default()).collect();
    let (written, elapsed) = thread::scope(|scope| {
        let committer = scope.spawn(|| group.run(&done));
        let result = race(writers, effort.budget, &|writer, number| {
            group.commit(u32::try_from(writer)?, number, &record(writer, number), &done)
        });
        group.close();
        committer.join().map_err(|_| anyhow::anyhow!("the committer panicked"))??;
        result
    })?;
    for (writer, written) in written.iter().enumerate() {
        let found = group.get(u32::try_from(writer)?)?;
        check(writer, written.commits, found.as_deref())?;
    }
    let batches = group.batches();
    let commits: u64 = written.iter().map(|written| written.commits).sum();
    summary(written, elapsed, Some(commits as f64 / batches.max(1) as f64))
}

fn own_turn(
    open: fn(&Setup<'_>) -> Result<Box<dyn Engine + Send>>,
    writers: usize,
    effort: Effort,
    dir: &Path,
) -> Result<Turn> {
    let mut stores = Vec::with_capacity(writers);
    for writer in 0..writers {
        let dir = dir.join(writer.to_string());
        std::fs::create_dir(&dir)?;
        stores.push(Mutex::new(open(&Setup { dir: &dir, len: size_of::<Record>() })?));
    }
    race_stores(stores, effort)
}

/// As on a node: a thread keeps the group journal in order meanwhile.
fn grouped_turn(writers: usize, effort: Effort, dir: &Path) -> Result<Turn> {
    // Its own directory must be private, which a scratch directory is.
    let group = Arc::new(GroupJournal::open(dir, &ActorState::options())?);
    let open = |writer: usize| {
        let state = ProductInGroup::open(&group, &format!("state-{writer}"));
        own(state).map(Mutex::new)
    };
    let stores = (0..writers).map(open).collect::<Result<Vec<_>>>()?;
    let stop = AtomicBool::new(false);
    let turn = thread::scope(|scope| {
        let keeper = scope.spawn(|| keep(&group, &stop));
        let turn = race_stores(stores, effort);
        stop.store(true, Ordering::Relaxed);
        keeper.join().map_err(|_| anyhow::anyhow!("the keeper panicked"))??;
        turn
    })?;
    group.close()?;
    Ok(turn)
}

/// Does the group journal's upkeep until it is told to stop.
fn keep(group: &GroupJournal, stop: &AtomicBool) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        if group.needs_maintenance() {
            group.maintain()?;
        }
        thread::sleep(KEEPER_PAUSE);
    }
    Ok(())
}

/// Lets a writer commit to each store, and looks whether it holds what was written last.
fn race_stores(mut stores: Vec<Mutex<Box<dyn Engine + Send>>>, effort: Effort) -> Result<Turn> {
    let (written, elapsed) = race(stores.len(), effort.budget, &|writer, number| {
        let value = Bytes::from(record(writer, number).to_vec());
        let store = stores.get(writer).context("an unknown writer")?;
        // Never waited for: each store has one writer.
        let mut store = store.lock().map_err(|_| anyhow::anyhow!("a writer panicked"))?;
        store.commit(&Update { value: &value, changed: 0..value.len() })?;
        store.upkeep()
    })?;
    for (writer, (written, store)) in written.iter().zip(&mut stores).enumerate() {
        let store = store.get_mut().map_err(|_| anyhow::anyhow!("a writer panicked"))?;
        check(writer, written.commits, store.load()?.as_deref())?;
    }
    summary(written, elapsed, None)
}

fn check(writer: usize, commits: u64, found: Option<&[u8]>) -> Result<()> {
    let right = found == Some(&record(writer, commits)[..]);
    ensure!(right, "the last record of writer {writer} is not what the store holds");
    Ok(())
}

/// Runs `commit(writer, number)` in as many threads, number after number, until time is up.
fn race(
    writers: usize,
    budget: Duration,
    commit: &(dyn Fn(usize, u64) -> Result<()> + Sync),
) -> Result<(Vec<Written>, Duration)> {
    let (timed, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let mut threads = Vec::with_capacity(writers);
        for writer in 0..writers {
            let (timed, stop) = (&timed, &stop);
            let work = move || -> Result<Written> {
                let mut written = Written { times_ns: Vec::new(), commits: 0 };
                while !stop.load(Ordering::Relaxed) {
                    let start = Instant::now();
                    commit(writer, written.commits + 1)?;
                    written.commits += 1;
                    if timed.load(Ordering::Relaxed) {
                        written.times_ns.push(u64::try_from(start.elapsed().as_nanos())?);
                    }
                }
                Ok(written)
            };
            // 256 writers need little stack each.
            let builder = thread::Builder::new().stack_size(256 * 1024);
            threads.push(builder.spawn_scoped(scope, work).context("start a writer")?);
        }
        thread::sleep(budget / 5);
        timed.store(true, Ordering::Relaxed);
        let start = Instant::now();
        thread::sleep(budget);
        stop.store(true, Ordering::Relaxed);
        let elapsed = start.elapsed();
        let join = |thread: thread::ScopedJoinHandle<'_, Result<Written>>| {
            thread.join().map_err(|_| anyhow::anyhow!("a writer panicked"))?
        };
        let written: Result<Vec<Written>> = threads.into_iter().map(join).collect();
        Ok((written?, elapsed))
    })
}

fn summary(written: Vec<Written>, elapsed: Duration, batch: Option<f64>) -> Result<Turn> {
    let times: Vec<u64> = written.into_iter().flat_map(|written| written.times_ns).collect();
    let per_second = times.len() as f64 / elapsed.as_secs_f64();
    Ok(Turn { round: Round::of(times).context("no commit was timed")?, per_second, batch })
}
