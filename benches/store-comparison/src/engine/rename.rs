//! The usual way to replace a small file: write a new one and rename it over the old.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use anyhow::Result;
use persistent_actor::Bytes;

use super::{Engine, Setup, Update};

/// One file, replaced as a whole.
pub(crate) struct Rename {
    dir: PathBuf,
    synced: bool,
}

impl Rename {
    pub(crate) fn open(setup: &Setup<'_>, synced: bool) -> Result<Self> {
        Ok(Self { dir: setup.dir.to_owned(), synced })
    }
}

impl Engine for Rename {
    fn commit(&mut self, update: &Update<'_>) -> Result<()> {
        let new = self.dir.join("new");
        let mut file = File::create(&new)?;
        file.write_all(update.value)?;
        if self.synced {
            file.sync_data()?;
        }
        fs::rename(&new, self.dir.join("state"))?;
        if self.synced {
            File::open(&self.dir)?.sync_all()?;
        }
        Ok(())
    }

    fn load(&mut self) -> Result<Option<Bytes>> {
        let file = match File::open(self.dir.join("state")) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let len = usize::try_from(file.metadata()?.len())?;
        let mut result = Ok(());
        let bytes = Bytes::build(len, |out| {
            result = std::os::unix::fs::FileExt::read_exact_at(&file, out, 0);
        });
        result?;
        Ok(Some(bytes))
    }
}
