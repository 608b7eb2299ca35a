//! redb.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use anyhow::Result;
use redb::{Database, Durability, ReadableDatabase, StorageBackend, TableDefinition, TableError};

use super::{KeyValue, Setup};

const TABLE: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("state");

/// A redb database.
pub(crate) struct Redb {
    database: Database,
    durability: Durability,
}

impl Redb {
    pub(crate) fn open(setup: &Setup<'_>, durability: Durability) -> Result<Self> {
        Ok(Self { database: Database::create(setup.dir.join("state.redb"))?, durability })
    }

    /// With `fsync` taken away: what redb needs for surviving the death of processes alone.
    pub(crate) fn open_unsynced(setup: &Setup<'_>) -> Result<Self> {
        let path = setup.dir.join("state.redb");
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let database = Database::builder().create_with_backend(Unsynced(file))?;
        Ok(Self { database, durability: Durability::Immediate })
    }
}

impl KeyValue for Redb {
    fn put_all(&mut self, entries: &[(u32, &[u8])]) -> Result<()> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(self.durability)?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for (key, value) in entries {
                table.insert(key, value)?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn get(&mut self, key: u32, read: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let transaction = self.database.begin_read()?;
        let table = match transaction.open_table(TABLE) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(false),
            other => other?,
        };
        let value = table.get(key)?;
        Ok(value.map(|value| read(value.value())).is_some())
    }
}

/// A file whose sync does nothing.
#[derive(Debug)]
struct Unsynced(File);

impl StorageBackend for Unsynced {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }
}
