//! Which engines are compared, at which setting, and what their commits survive.

use anyhow::Result;
use clap::ValueEnum;
use fjall::PersistMode;
use heed::EnvFlags;
use persistent_actor::Durability;
use serde::Serialize;

#[cfg(feature = "rocksdb")]
use crate::engine::RocksDb;
use crate::engine::{
    ChangeOnly, ChecksumOnly, Chunked, CompareOnly, Engine, Fjall, Guard, KeyValue, Lmdb, Product,
    ProductPages, RawFile, Redb, Rename, Setup, Slots, Sqlite, SqliteSettings, Whole,
};

/// The durability that rows of one table have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// Written to the operating system: survives the death of processes.
    Process,
    /// `fdatasync` has returned: survives power loss.
    Power,
}

impl Level {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Power => "power",
        }
    }
}

/// What a row is compared as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// A piece of the work: keeps nothing, or keeps it where a crash can tear it.
    Part,
    /// The simplest hand-made file that keeps the promise of its level.
    Floor,
    /// Our store.
    Product,
    /// Somebody else's.
    Peer,
}

/// One engine at one setting.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) role: Role,
    pub(crate) level: Level,
    /// What a commit survives: `process`, `power`, `nothing`, or `-` for a part of the work.
    pub(crate) survives: &'static str,
    /// What the row is, and what a process-level commit is after a power loss.
    pub(crate) about: &'static str,
    /// From which length of the value on the row is of interest. Bytes.
    pub(crate) from: usize,
    pub(crate) open: fn(&Setup<'_>) -> Result<Box<dyn Engine>>,
}

/// How much of a large state changes in the workload `change`. Bytes.
pub(crate) const CHANGE: usize = 4096;

/// From this length on, SQLite is also measured with large pages. Bytes.
const LARGE_PAGES_FROM: usize = 1 << 20;

const WAL_OFF: SqliteSettings =
    SqliteSettings { journal: "WAL", synchronous: "OFF", page_size: 4096, text_keys: false };
const WAL_FULL: SqliteSettings = SqliteSettings { synchronous: "FULL", ..WAL_OFF };
const SQLITEDICT: SqliteSettings = SqliteSettings { journal: "DELETE", text_keys: true, ..WAL_OFF };

fn large_pages(settings: SqliteSettings) -> SqliteSettings {
    SqliteSettings { page_size: 65536, ..settings }
}

fn boxed<E: Engine + 'static>(engine: Result<E>) -> Result<Box<dyn Engine>> {
    engine.map(|engine| Box::new(engine) as Box<dyn Engine>)
}

fn whole<K: KeyValue + 'static>(store: Result<K>) -> Result<Box<dyn Engine>> {
    boxed(store.map(Whole))
}

fn chunked<K: KeyValue + 'static>(store: Result<K>) -> Result<Box<dyn Engine>> {
    boxed(store.map(Chunked::new))
}

/// An entry of the level that `survives` names, of interest for all lengths.
const fn entry(
    name: &'static str,
    role: Role,
    level: Level,
    about: &'static str,
    open: fn(&Setup<'_>) -> Result<Box<dyn Engine>>,
) -> Entry {
    let survives = match (role, level) {
        (Role::Part, _) => "-",
        (_, Level::Process) => "process",
        (_, Level::Power) => "power",
    };
    Entry { name, role, level, survives, about, from: 0, open }
}

/// The engines for states that change wholly.
pub(crate) fn entries() -> Vec<Entry> {
    let mut all = process_entries();
    all.extend(power_entries());
    #[cfg(feature = "rocksdb")]
    all.extend(rocksdb_entries());
    all
}

fn process_entries() -> Vec<Entry> {
    use Level::Process;
    use Role::{Floor, Part, Peer, Product as Ours};
    vec![
        entry("xxh3", Part, Process, "checksum of the value, nothing written", |_| {
            boxed(Ok(ChecksumOnly(0)))
        }),
        entry("pwrite", Part, Process, "pwrite over the old value; a kill tears it", |setup| {
            boxed(RawFile::open(setup, false))
        }),
        entry(
            "slots-ordered",
            Floor,
            Process,
            "two prewritten slots, payload then header; power loss may leave a mixture",
            |setup| boxed(Slots::open(setup, Guard::Order, false)),
        ),
        entry(
            "slots-xxh3",
            Floor,
            Process,
            "two prewritten slots, one pwritev, checksum in the header; power loss may leave none",
            |setup| boxed(Slots::open(setup, Guard::Checksum, false)),
        ),
        entry(
            "write-rename",
            Peer,
            Process,
            "a new file renamed over the old; power loss may leave an empty one",
            |setup| boxed(Rename::open(setup, false)),
        ),
        entry(
            "persistent-actor",
            Ours,
            Process,
            "our store at level process; power loss leaves an older state or an error",
            |setup| boxed(Product::open(setup, Durability::Process)),
        ),
        entry(
            "sqlite-wal-off",
            Peer,
            Process,
            "SQLite, WAL, synchronous=OFF; power loss may corrupt it",
            |setup| whole(Sqlite::open(setup, WAL_OFF)),
        ),
        Entry {
            from: LARGE_PAGES_FROM,
            ..entry("sqlite-wal-off-64k", Peer, Process, "the same with 64 KiB pages", |setup| {
                whole(Sqlite::open(setup, large_pages(WAL_OFF)))
            })
        },
        entry(
            "sqlite-delete-off",
            Peer,
            Process,
            "SQLite as sqlitedict sets it: journal DELETE, synchronous=OFF; power loss may corrupt it",
            |setup| whole(Sqlite::open(setup, SQLITEDICT)),
        ),
        entry(
            "redb-nofsync",
            Peer,
            Process,
            "redb, Durability::Immediate on a file whose sync does nothing; power loss may corrupt it",
            |setup| whole(Redb::open_unsynced(setup)),
        ),
        Entry {
            survives: "nothing",
            ..entry(
                "redb-none",
                Peer,
                Process,
                "redb, Durability::None: LOST at a kill, not of equal durability",
                |setup| whole(Redb::open(setup, redb::Durability::None)),
            )
        },
        entry(
            "lmdb-nosync",
            Peer,
            Process,
            "LMDB, MDB_NOSYNC; power loss may corrupt it",
            |setup| whole(Lmdb::open(setup, EnvFlags::NO_SYNC)),
        ),
        entry(
            "lmdb-nosync-writemap",
            Peer,
            Process,
            "LMDB, MDB_NOSYNC and MDB_WRITEMAP; power loss may corrupt it",
            |setup| whole(Lmdb::open(setup, EnvFlags::NO_SYNC | EnvFlags::WRITE_MAP)),
        ),
        entry(
            "fjall-buffer",
            Peer,
            Process,
            "fjall, PersistMode::Buffer; power loss leaves an older state",
            |setup| whole(Fjall::open(setup, PersistMode::Buffer)),
        ),
    ]
}

fn power_entries() -> Vec<Entry> {
    use Level::Power;
    use Role::{Floor, Part, Peer, Product as Ours};
    vec![
        entry("pwrite-sync", Part, Power, "pwrite + fdatasync over the old value; torn", |setup| {
            boxed(RawFile::open(setup, true))
        }),
        entry(
            "slots-2sync",
            Floor,
            Power,
            "two prewritten slots; payload, fdatasync, header, fdatasync",
            |setup| boxed(Slots::open(setup, Guard::Order, true)),
        ),
        entry(
            "slots-xxh3-sync",
            Floor,
            Power,
            "two prewritten slots, one pwritev, checksum in the header, one fdatasync",
            |setup| boxed(Slots::open(setup, Guard::Checksum, true)),
        ),
        entry(
            "write-rename-sync",
            Peer,
            Power,
            "write, fdatasync, rename, fsync of the directory",
            |setup| boxed(Rename::open(setup, true)),
        ),
        entry("persistent-actor", Ours, Power, "our store at level power", |setup| {
            boxed(Product::open(setup, Durability::Power))
        }),
        entry("sqlite-wal-full", Peer, Power, "SQLite, WAL, synchronous=FULL", |setup| {
            whole(Sqlite::open(setup, WAL_FULL))
        }),
        Entry {
            from: LARGE_PAGES_FROM,
            ..entry("sqlite-wal-full-64k", Peer, Power, "the same with 64 KiB pages", |setup| {
                whole(Sqlite::open(setup, large_pages(WAL_FULL)))
            })
        },
        entry("redb-immediate", Peer, Power, "redb, Durability::Immediate", |setup| {
            whole(Redb::open(setup, redb::Durability::Immediate))
        }),
        entry("lmdb-sync", Peer, Power, "LMDB, default flags", |setup| {
            whole(Lmdb::open(setup, EnvFlags::empty()))
        }),
        entry("fjall-syncdata", Peer, Power, "fjall, PersistMode::SyncData", |setup| {
            whole(Fjall::open(setup, PersistMode::SyncData))
        }),
    ]
}

#[cfg(feature = "rocksdb")]
fn rocksdb_entries() -> Vec<Entry> {
    vec![
        entry(
            "rocksdb-nosync",
            Role::Peer,
            Level::Process,
            "RocksDB, WAL, sync=false; power loss leaves an older state",
            |setup| whole(RocksDb::open(setup, false)),
        ),
        entry("rocksdb-sync", Role::Peer, Level::Power, "RocksDB, WAL, sync=true", |setup| {
            whole(RocksDb::open(setup, true))
        }),
    ]
}

/// The engines for a small change of a large state, at level power. Whole values are rewritten
/// by those that take no parts; `-chunks` are the same databases with the state cut into values
/// of 64 KiB by hand, and told which of them changed.
pub(crate) fn change_entries() -> Vec<Entry> {
    use Level::Power;
    use Role::{Floor, Part, Peer};
    let mut all = vec![
        entry("compare", Part, Power, "comparing the state with the last one", |_| {
            boxed(Ok(CompareOnly::default()))
        }),
        entry(
            "change-told",
            Floor,
            Power,
            "commit of 4 KiB in slots: told what changed",
            |setup| boxed(ChangeOnly::open(setup, CHANGE, false)),
        ),
        entry(
            "change-found",
            Floor,
            Power,
            "the same after comparing the whole state with the last one",
            |setup| boxed(ChangeOnly::open(setup, CHANGE, true)),
        ),
        entry(
            "persistent-actor-pages",
            Role::Product,
            Power,
            "our store with the state in pages (PagedBytes), told which bytes change",
            |setup| boxed(ProductPages::open(setup, Durability::Power)),
        ),
        entry("sqlite-chunks", Peer, Power, "SQLite, WAL, FULL, by 64 KiB, told", |setup| {
            chunked(Sqlite::open(setup, WAL_FULL))
        }),
        entry("redb-chunks", Peer, Power, "redb, Immediate, by 64 KiB, told", |setup| {
            chunked(Redb::open(setup, redb::Durability::Immediate))
        }),
        entry("lmdb-chunks", Peer, Power, "LMDB, default flags, by 64 KiB, told", |setup| {
            chunked(Lmdb::open(setup, EnvFlags::empty()))
        }),
        entry("fjall-chunks", Peer, Power, "fjall, SyncData, by 64 KiB, told", |setup| {
            chunked(Fjall::open(setup, PersistMode::SyncData))
        }),
        #[cfg(feature = "rocksdb")]
        entry("rocksdb-chunks", Peer, Power, "RocksDB, sync=true, by 64 KiB, told", |setup| {
            chunked(RocksDb::open(setup, true))
        }),
    ];
    let rewriting = entries().into_iter().filter(|entry| {
        entry.level == Power && entry.role != Role::Floor && !entry.name.starts_with("write-")
    });
    all.extend(rewriting);
    all
}

/// Whether an entry replaces all of a large state to change a little of it.
pub(crate) fn rewrites(entry: &Entry) -> bool {
    entry.role == Role::Peer && !entry.name.ends_with("-chunks")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Update;
    use crate::pattern::{Pattern, changed};

    #[test]
    fn every_engine_keeps_its_last_value_when_it_is_reopened() {
        for len in [16, 4096, 200_000] {
            let pattern = Pattern::new(len);
            for entry in entries().iter().filter(|entry| entry.role != Role::Part) {
                let dir = tempfile::tempdir().unwrap();
                let setup = Setup { dir: dir.path(), len };
                for generation in 1..=5 {
                    let mut engine = (entry.open)(&setup).unwrap();
                    let found = engine.load().unwrap();
                    let found = found.map(|value| pattern.generation(&value).unwrap());
                    let last = (generation > 1).then_some(generation - 1);
                    assert_eq!(found, last, "{} with {len} bytes", entry.name);
                    let value = pattern.value(generation);
                    engine.commit(&Update { value: &value, changed: 0..len }).unwrap();
                    engine.upkeep().unwrap();
                }
            }
        }
    }

    fn is_told(name: &str) -> bool {
        name.ends_with("-chunks") || name.ends_with("-pages")
    }

    #[test]
    fn every_engine_that_is_told_of_a_change_has_the_whole_state() {
        for entry in change_entries().iter().filter(|entry| is_told(entry.name)) {
            let len = 300_001;
            let dir = tempfile::tempdir().unwrap();
            let mut engine = (entry.open)(&Setup { dir: dir.path(), len }).unwrap();
            let first = Pattern::new(len).value(1);
            engine.commit(&Update { value: &first, changed: 0..len }).unwrap();
            // Across the border between two chunks, and at the end.
            let second = changed(&first, 65_000..66_000);
            engine.commit(&Update { value: &second, changed: 65_000..66_000 }).unwrap();
            let third = changed(&second, 300_000..len);
            engine.commit(&Update { value: &third, changed: 300_000..len }).unwrap();
            assert!(engine.load().unwrap() == Some(third), "{}", entry.name);
        }
    }

    #[test]
    fn names_are_unique_within_a_level() {
        for (list, what) in [(entries(), "whole"), (change_entries(), "change")] {
            let mut names: Vec<_> = list.iter().map(|e| (e.level.name(), e.name)).collect();
            names.sort_unstable();
            let all = names.len();
            names.dedup();
            assert_eq!(names.len(), all, "{what}");
        }
    }
}
