//! fjall.

use anyhow::Result;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{KeyValue, Setup};

/// A fjall database with one keyspace, at its default settings.
pub(crate) struct Fjall {
    database: Database,
    keyspace: Keyspace,
    mode: PersistMode,
}

impl Fjall {
    pub(crate) fn open(setup: &Setup<'_>, mode: PersistMode) -> Result<Self> {
        let database = Database::builder(setup.dir).open()?;
        let keyspace = database.keyspace("state", KeyspaceCreateOptions::default)?;
        Ok(Self { database, keyspace, mode })
    }
}

impl KeyValue for Fjall {
    fn put_all(&mut self, entries: &[(u32, &[u8])]) -> Result<()> {
        let mut batch = self.database.batch().durability(Some(self.mode));
        for (key, value) in entries {
            batch.insert(&self.keyspace, key.to_be_bytes(), *value);
        }
        Ok(batch.commit()?)
    }

    fn get(&mut self, key: u32, read: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let value = self.keyspace.get(key.to_be_bytes())?;
        Ok(value.map(|value| read(&value)).is_some())
    }
}
