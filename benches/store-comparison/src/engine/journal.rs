//! A bare journal: records one after another in prewritten space, one `fdatasync` for a batch.
//!
//! It never checkpoints (at its end it starts over and writes across the oldest records), so it
//! is what a journal costs at the least, not a store.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Result, ensure};
use xxhash_rust::xxh3::xxh3_64;

use super::{KeyValue, Setup, prewrite};

/// The length of the file. Bytes.
const CAPACITY: usize = 64 << 20;
/// Checksum (u64), sequence number (u64), key (u32), length (u32).
const HEADER: usize = 24;

/// A journal of small records.
pub(crate) struct Journal {
    file: File,
    end: usize,
    sequence: u64,
    buffer: Vec<u8>,
    /// Where the value of each key's newest record lies, and its length.
    newest: Vec<Option<(u64, usize)>>,
}

impl Journal {
    pub(crate) fn create(setup: &Setup<'_>) -> Result<Self> {
        let path = setup.dir.join("journal");
        let file = File::options().read(true).write(true).create_new(true).open(path)?;
        prewrite(&file, CAPACITY)?;
        Ok(Self { file, end: 0, sequence: 0, buffer: Vec::new(), newest: Vec::new() })
    }
}

impl Journal {
    fn encode(&mut self, key: u32, value: &[u8]) -> Result<()> {
        self.sequence += 1;
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&[0; 8]);
        self.buffer.extend_from_slice(&self.sequence.to_le_bytes());
        self.buffer.extend_from_slice(&key.to_le_bytes());
        self.buffer.extend_from_slice(&u32::try_from(value.len())?.to_le_bytes());
        self.buffer.extend_from_slice(value);
        let check = xxh3_64(&self.buffer[start + 8..]);
        self.buffer[start..start + 8].copy_from_slice(&check.to_le_bytes());
        Ok(())
    }

    fn note(&mut self, key: u32, offset: usize, len: usize) {
        let key = key as usize;
        if key >= self.newest.len() {
            self.newest.resize(key + 1, None);
        }
        self.newest[key] = Some((offset as u64, len));
    }
}

impl KeyValue for Journal {
    fn put_all(&mut self, entries: &[(u32, &[u8])]) -> Result<()> {
        self.buffer.clear();
        for (key, value) in entries {
            self.encode(*key, value)?;
        }
        ensure!(self.buffer.len() <= CAPACITY, "a batch does not fit into the journal");
        if self.end + self.buffer.len() > CAPACITY {
            self.end = 0;
        }
        self.file.write_all_at(&self.buffer, self.end as u64)?;
        self.file.sync_data()?;
        for (key, value) in entries {
            self.note(*key, self.end + HEADER, value.len());
            self.end += HEADER + value.len();
        }
        Ok(())
    }

    fn get(&mut self, key: u32, read: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let Some((offset, len)) = self.newest.get(key as usize).copied().flatten() else {
            return Ok(false);
        };
        let mut value = vec![0; len];
        self.file.read_exact_at(&mut value, offset)?;
        read(&value);
        Ok(true)
    }
}
