//! The least that many durable answers need where syncs are shared: one file, and one sync for all
//! that wait for one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::task;

use super::bare::{MESSAGE_BYTES, prewritten};

/// The size of the file, which is written in a ring. Bytes.
const FILE_BYTES: usize = 16 << 20;

/// A file that the records of many are written to; inside a runtime.
pub(super) struct SharedSync {
    file: Arc<File>,
    line: Mutex<Line>,
}

/// Records that wait to be written, and who waits for them.
#[derive(Default)]
struct Line {
    bytes: Vec<u8>,
    waiting: Vec<oneshot::Sender<()>>,
    /// Where the next batch goes.
    at: usize,
    /// A task is at work.
    writing: bool,
}

impl SharedSync {
    pub(super) fn create(path: &Path) -> io::Result<Arc<Self>> {
        Ok(Self::new(prewritten(path, FILE_BYTES)?))
    }

    fn new(file: File) -> Arc<Self> {
        Arc::new(Self { file: Arc::new(file), line: Mutex::default() })
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a record, and returns when it is durable.
    pub(super) async fn commit(self: &Arc<Self>) -> io::Result<()> {
        let (durable, wait) = oneshot::channel();
        let was_writing = {
            let mut line = self.line();
            line.bytes.extend([7; MESSAGE_BYTES]);
            line.waiting.push(durable);
            std::mem::replace(&mut line.writing, true)
        };
        if !was_writing {
            tokio::spawn(Arc::clone(self).write_batches());
        }
        wait.await.map_err(|_| io::Error::other("the file could not be written"))
    }

    /// Writes and syncs batches, each of what has come since the last, until nobody waits. After an
    /// error nobody waits, either: who did hears of it.
    async fn write_batches(self: Arc<Self>) {
        while let Some((bytes, waiting, at)) = self.take() {
            let file = Arc::clone(&self.file);
            let write =
                move || file.write_all_at(&bytes, at as u64).and_then(|()| file.sync_data());
            if !matches!(task::spawn_blocking(write).await, Ok(Ok(()))) {
                drop(waiting);
                *self.line() = Line::default();
                return;
            }
            for durable in waiting {
                // Who does not wait any more has ended.
                let _ = durable.send(());
            }
        }
    }

    /// What is to be written next, and where.
    fn take(&self) -> Option<(Vec<u8>, Vec<oneshot::Sender<()>>, usize)> {
        let mut line = self.line();
        if line.waiting.is_empty() {
            line.writing = false;
            return None;
        }
        let (bytes, waiting) = (std::mem::take(&mut line.bytes), std::mem::take(&mut line.waiting));
        if line.at + bytes.len() > FILE_BYTES {
            line.at = 0;
        }
        let at = line.at;
        line.at += bytes.len();
        Some((bytes, waiting, at))
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;

    /// Lets many commit at once; what each was told.
    fn commit_at_once(shared: &Arc<SharedSync>, how_many: usize) -> Vec<io::Result<()>> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let commit = |_| {
                let shared = Arc::clone(shared);
                async move { shared.commit().await }
            };
            (0..how_many).map(commit).collect::<JoinSet<_>>().join_all().await
        })
    }

    #[test]
    fn who_was_told_that_a_record_is_durable_has_it_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let shared = SharedSync::create(&path).unwrap();
        let told = commit_at_once(&shared, 100);
        assert!(told.iter().all(Result::is_ok));
        let records = 100 * MESSAGE_BYTES;
        let bytes = std::fs::read(&path).unwrap();
        assert!(bytes[..records].iter().all(|byte| *byte == 7));
        assert!(bytes[records..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn all_who_wait_hear_that_writing_has_failed_and_so_does_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, [0; MESSAGE_BYTES]).unwrap();
        let shared = SharedSync::new(File::open(&path).unwrap());
        assert!(commit_at_once(&shared, 10).iter().all(Result::is_err));
        assert!(commit_at_once(&shared, 1).iter().all(Result::is_err));
    }
}
