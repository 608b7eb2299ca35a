//! SQLite, bundled with rusqlite.

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension};

use super::{KeyValue, Setup};

/// How SQLite is set up.
#[derive(Clone, Copy)]
pub(crate) struct SqliteSettings {
    /// `PRAGMA journal_mode`.
    pub(crate) journal: &'static str,
    /// `PRAGMA synchronous`.
    pub(crate) synchronous: &'static str,
    /// `PRAGMA page_size`. Bytes.
    pub(crate) page_size: u32,
    /// The table that the Python package sqlitedict makes: text keys and `REPLACE`.
    pub(crate) text_keys: bool,
}

/// A table of blobs. Checkpoints of the WAL as SQLite does them by default.
pub(crate) struct Sqlite {
    connection: Connection,
    text_keys: bool,
}

impl Sqlite {
    pub(crate) fn open(setup: &Setup<'_>, settings: SqliteSettings) -> Result<Self> {
        let connection = Connection::open(setup.dir.join("state.sqlite"))?;
        let SqliteSettings { journal, synchronous, page_size, text_keys } = settings;
        connection.pragma_update(None, "page_size", page_size)?;
        connection.pragma_update(None, "journal_mode", journal)?;
        connection.pragma_update(None, "synchronous", synchronous)?;
        let key = if text_keys { "TEXT" } else { "INTEGER" };
        let table = format!("CREATE TABLE IF NOT EXISTS state (k {key} PRIMARY KEY, v BLOB)");
        connection.execute_batch(&table)?;
        Ok(Self { connection, text_keys })
    }
}

impl KeyValue for Sqlite {
    fn put_all(&mut self, entries: &[(u32, &[u8])]) -> Result<()> {
        if self.text_keys {
            for (key, value) in entries {
                let mut replace =
                    self.connection.prepare_cached("REPLACE INTO state (k, v) VALUES (?1, ?2)")?;
                replace.execute((key.to_string(), value))?;
            }
            return Ok(());
        }
        let transaction = self.connection.transaction()?;
        {
            let mut upsert = transaction.prepare_cached(
                "INSERT INTO state (k, v) VALUES (?1, ?2) ON CONFLICT (k) DO UPDATE SET v = ?2",
            )?;
            for entry in entries {
                upsert.execute(*entry)?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn get(&mut self, key: u32, read: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let mut select = self.connection.prepare_cached("SELECT v FROM state WHERE k = ?1")?;
        let show = |row: &rusqlite::Row<'_>| {
            read(row.get_ref(0)?.as_blob()?);
            Ok(())
        };
        let found = if self.text_keys {
            select.query_row([key.to_string()], show)
        } else {
            select.query_row([key], show)
        };
        Ok(found.optional()?.is_some())
    }
}
