//! The engines under comparison, behind two small traits.

mod fjall;
mod journal;
mod lmdb;
mod product;
mod redb;
mod rename;
#[cfg(feature = "rocksdb")]
mod rocksdb;
mod slots;
mod sqlite;

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result};
use persistent_actor::Bytes;

pub(crate) use self::fjall::Fjall;
pub(crate) use self::journal::Journal;
pub(crate) use self::lmdb::Lmdb;
pub(crate) use self::product::{Product, ProductInGroup, ProductPages};
pub(crate) use self::redb::Redb;
pub(crate) use self::rename::Rename;
#[cfg(feature = "rocksdb")]
pub(crate) use self::rocksdb::RocksDb;
pub(crate) use self::slots::{
    ChangeOnly, ChecksumOnly, CompareOnly, Guard, RawFile, Slots, prewrite,
};
pub(crate) use self::sqlite::{Sqlite, SqliteSettings};

/// Where an engine is opened, and for what.
#[derive(Clone, Copy)]
pub(crate) struct Setup<'a> {
    /// A directory of its own, which exists.
    pub(crate) dir: &'a Path,
    /// The length of the values. Bytes.
    pub(crate) len: usize,
}

/// A new value of the state.
pub(crate) struct Update<'a> {
    pub(crate) value: &'a Bytes,
    /// What differs from the value before; for engines that can be told.
    pub(crate) changed: Range<usize>,
}

/// Keeps the state of one actor.
pub(crate) trait Engine {
    /// Replaces the state; when it returns, the state is as durable as the engine was set to.
    fn commit(&mut self, update: &Update<'_>) -> Result<()>;

    /// Work that may wait until the reply has left.
    fn upkeep(&mut self) -> Result<()> {
        Ok(())
    }

    /// The state, in memory of its own.
    fn load(&mut self) -> Result<Option<Bytes>>;
}

/// A database of numbered values.
pub(crate) trait KeyValue: Send {
    /// Writes several values in one transaction.
    fn put_all(&mut self, entries: &[(u32, &[u8])]) -> Result<()>;

    /// Shows a value to `read`; whether there is one.
    fn get(&mut self, key: u32, read: &mut dyn FnMut(&[u8])) -> Result<bool>;
}

/// The state as one value of a database.
pub(crate) struct Whole<K>(pub(crate) K);

impl<K: KeyValue> Engine for Whole<K> {
    fn commit(&mut self, update: &Update<'_>) -> Result<()> {
        self.0.put_all(&[(0, update.value)])
    }

    fn load(&mut self) -> Result<Option<Bytes>> {
        get_bytes(&mut self.0, 0)
    }
}

/// A value in memory of its own.
pub(crate) fn get_bytes(store: &mut dyn KeyValue, key: u32) -> Result<Option<Bytes>> {
    let mut copy = None;
    store.get(key, &mut |value| {
        copy = Some(Bytes::build(value.len(), |out| out.copy_from_slice(value)));
    })?;
    Ok(copy)
}

/// The unit in which [`Chunked`] writes; the same as in our store. Bytes.
const CHUNK: usize = 64 * 1024;

/// The state cut into values of 64 KiB, of which those are written that are said to have changed.
pub(crate) struct Chunked<K> {
    store: K,
    /// The length of the state; 0 before the first commit, which writes everything.
    len: usize,
}

impl<K> Chunked<K> {
    pub(crate) fn new(store: K) -> Self {
        Self { store, len: 0 }
    }
}

impl<K: KeyValue> Engine for Chunked<K> {
    fn commit(&mut self, update: &Update<'_>) -> Result<()> {
        let value = update.value;
        let changed = if self.len == 0 { 0..value.len() } else { update.changed.clone() };
        let mut entries = Vec::with_capacity(changed.len() / CHUNK + 2);
        for index in changed.start / CHUNK..changed.end.div_ceil(CHUNK) {
            let end = value.len().min((index + 1) * CHUNK);
            entries.push((u32::try_from(index)?, &value[index * CHUNK..end]));
        }
        self.len = value.len();
        self.store.put_all(&entries)
    }

    fn load(&mut self) -> Result<Option<Bytes>> {
        let mut found = Ok(true);
        let bytes = Bytes::build(self.len, |out| {
            for (index, chunk) in out.chunks_mut(CHUNK).enumerate() {
                // A state has fewer chunks than a u32 can count: `commit` checked it.
                let copy = self.store.get(index as u32, &mut |value| chunk.copy_from_slice(value));
                if !matches!(copy, Ok(true)) {
                    found = copy;
                    return;
                }
            }
        });
        Ok(found.context("load a chunk")?.then_some(bytes))
    }
}
