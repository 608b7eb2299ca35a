//! The four workloads; each measures one row for one round at a time, so that the rows of a
//! table can take turns.

pub(crate) mod commit;
pub(crate) mod reopen;
pub(crate) mod writers;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

/// How long rows are measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// How often each row takes its turn.
    pub(crate) rounds: usize,
    /// How long one turn lasts at most, once it has `min_commits`.
    pub(crate) budget: Duration,
    pub(crate) min_commits: u64,
    /// How often a state is killed and reopened.
    pub(crate) kills: usize,
}

/// A scratch directory for one turn. When it goes, so does what it left for the disk to do, so
/// that the next turn does not pay for it.
pub(crate) struct Scratch<'a> {
    parent: &'a Path,
    dir: Option<TempDir>,
}

impl<'a> Scratch<'a> {
    pub(crate) fn create(parent: &'a Path) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("store-comparison-").tempdir_in(parent);
        let dir = dir.with_context(|| format!("create a directory in {}", parent.display()))?;
        Ok(Self { parent, dir: Some(dir) })
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.as_ref().map_or(self.parent, TempDir::path)
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        drop(self.dir.take());
        if let Ok(parent) = std::fs::File::open(self.parent) {
            // Only for quiet; the results do not depend on it.
            let _ = rustix::fs::syncfs(&parent);
        }
    }
}
