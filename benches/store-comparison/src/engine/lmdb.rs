//! LMDB, through heed.

use anyhow::Result;
use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions};

use super::{KeyValue, Setup};

/// An LMDB environment.
pub(crate) struct Lmdb {
    env: Env,
    database: Database<Bytes, Bytes>,
}

impl Lmdb {
    pub(crate) fn open(setup: &Setup<'_>, flags: EnvFlags) -> Result<Self> {
        let mut options = EnvOpenOptions::new();
        options.map_size((8 * setup.len + (256 << 20)).next_multiple_of(4096));
        // SAFETY: of the flags used here, NO_SYNC and WRITE_MAP endanger at most the content of
        // a scratch database after a power loss. The file is opened once, and only by us.
        let env = unsafe { options.flags(flags).open(setup.dir)? };
        let mut transaction = env.write_txn()?;
        let database = env.create_database(&mut transaction, None)?;
        transaction.commit()?;
        Ok(Self { env, database })
    }
}

impl KeyValue for Lmdb {
    fn put_all(&mut self, entries: &[(u32, &[u8])]) -> Result<()> {
        let mut transaction = self.env.write_txn()?;
        for (key, value) in entries {
            self.database.put(&mut transaction, &key.to_be_bytes(), value)?;
        }
        Ok(transaction.commit()?)
    }

    fn get(&mut self, key: u32, read: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let transaction = self.env.read_txn()?;
        let value = self.database.get(&transaction, &key.to_be_bytes())?;
        Ok(value.map(read).is_some())
    }
}
