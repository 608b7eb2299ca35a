//! [`SimDisk`]: a disk in memory that can lose, tear and refuse what real ones do. For tests.
//!
//! It records every operation, so that a test can ask for the disk as it might be found if the
//! machine had stopped after any of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::storage::{StateRoot, Storage, StorageFile};
use crate::error::OpenError;

mod crash;

use crash::{Replay, dir_of};

/// An operation that changed the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// A file was made.
    Create {
        /// Its name.
        name: String,
        /// Its inode.
        inode: u64,
    },
    /// Bytes were written.
    Write {
        /// The inode.
        inode: u64,
        /// From where on.
        offset: u64,
        /// What.
        bytes: Vec<u8>,
    },
    /// A file was synced.
    Sync {
        /// The inode.
        inode: u64,
    },
    /// Syncing a file failed: what was not synced before may never reach the disk.
    FailedSync {
        /// The inode.
        inode: u64,
    },
    /// A file got another name.
    Rename {
        /// The old name.
        from: String,
        /// The new one.
        to: String,
    },
    /// A name was removed.
    Remove {
        /// The name.
        name: String,
    },
    /// The names were synced.
    SyncNames,
    /// The names in a directory ([`SimDisk::dir`]) were synced.
    SyncDir {
        /// The directory with a slash behind it.
        dir: String,
    },
    /// The name of a directory was synced.
    SyncOwnName {
        /// The directory with a slash behind it; nothing for that of the whole disk.
        dir: String,
    },
    /// Not an operation: a note of the test, such as "commit 7 was answered".
    Mark(u64),
}

impl Op {
    /// Whether it changes a name in the directory `dir` (with a slash behind it).
    fn is_in(&self, dir: &str) -> bool {
        match self {
            Self::Create { name, .. } | Self::Remove { name } => name.starts_with(dir),
            Self::Rename { from, .. } => from.starts_with(dir),
            _ => false,
        }
    }
}

/// What is left of the operations when a machine or process stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Everything is there: a process was killed between two operations.
    Nothing,
    /// A process was killed within its last write: some leading bytes of it are there.
    TornWrite(u64),
    /// Power failed, and nothing is there that was not synced.
    Unsynced,
    /// Power failed, and of what was not synced any sectors and names may be there, chosen by
    /// this seed.
    Random(u64),
}

/// What happens to one operation.
pub enum Fault {
    /// It fails with this error number and does nothing.
    Errno(rustix::io::Errno),
    /// A write writes half and fails with "no space left"; other operations just fail with it.
    Short,
    /// Something happens just before it, as if another process had come in between.
    Before(Box<dyn FnOnce() + Send>),
}

#[derive(Clone, Default)]
struct Image {
    names: BTreeMap<String, u64>,
    /// The directories whose own names are synced, as in [`Op::SyncOwnName`].
    dirs: BTreeSet<String>,
    contents: BTreeMap<u64, Vec<u8>>,
}

#[derive(Default)]
struct Inner {
    /// What was there before the first recorded operation; all of it is synced.
    base: Image,
    live: Image,
    log: Vec<Op>,
    next_inode: u64,
    operations: u64,
    fault: Option<(u64, Fault)>,
}

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Default)]
pub struct SimDisk {
    inner: Arc<Mutex<Inner>>,
}

impl SimDisk {
    /// A disk with these files, all synced.
    pub fn with_files<N: Into<String>>(files: impl IntoIterator<Item = (N, Vec<u8>)>) -> Self {
        let mut image = Image::default();
        for (inode, (name, content)) in (0..).zip(files) {
            image.names.insert(name.into(), inode);
            image.contents.insert(inode, content);
        }
        image.dirs = image.names.keys().map(|name| dir_of(name).to_owned()).collect();
        Self::from_image(image)
    }

    fn from_image(image: Image) -> Self {
        // A file that was made and not written has a name only.
        let inodes = image.contents.keys().chain(image.names.values());
        let next_inode = inodes.max().map_or(0, |last| last + 1);
        let inner = Inner { base: image.clone(), live: image, next_inode, ..Inner::default() };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// The disk as a [`Storage`].
    pub fn storage(&self) -> Box<dyn Storage> {
        Box::new(self.clone())
    }

    /// A directory on the disk. Its files are those of the disk whose names begin with `name` and
    /// a slash.
    pub fn dir(&self, name: &str) -> Box<dyn Storage> {
        Box::new(SimDir { disk: self.clone(), prefix: format!("{name}/") })
    }

    /// The directories on the disk, as a [`StateRoot`].
    pub fn root(&self) -> Box<dyn StateRoot> {
        Box::new(self.clone())
    }

    /// All files with their contents, by name.
    pub fn files(&self) -> Vec<(String, Vec<u8>)> {
        let inner = self.lock();
        let content = |inode| inner.live.contents.get(inode).cloned().unwrap_or_default();
        inner.live.names.iter().map(|(name, inode)| (name.clone(), content(inode))).collect()
    }

    /// The operations so far.
    pub fn log(&self) -> Vec<Op> {
        self.lock().log.clone()
    }

    /// How many operations, reading ones included, there were so far.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Puts a note into the log.
    pub fn mark(&self, note: u64) {
        self.lock().log.push(Op::Mark(note));
    }

    /// Lets the operation number `at` (as counted by [`SimDisk::operations`]) have a fault.
    pub fn plan(&self, at: u64, fault: Fault) {
        self.lock().fault = Some((at, fault));
    }

    /// The disk as it may be found if everything stopped after the first `count` operations of
    /// the log.
    #[must_use]
    pub fn crashed(&self, count: usize, loss: Loss) -> Self {
        let inner = self.lock();
        let mut replay = Replay::new(&inner.base);
        for op in &inner.log[..count] {
            replay.apply(op);
        }
        Self::from_image(replay.finish(loss))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an operation and lets its fault happen, if it has one.
    fn begin(&self) -> Result<MutexGuard<'_, Inner>, (MutexGuard<'_, Inner>, Injected)> {
        let mut inner = self.lock();
        let number = inner.operations;
        inner.operations += 1;
        match inner.fault.take_if(|(at, _)| *at == number) {
            None => Ok(inner),
            Some((_, Fault::Before(action))) => {
                drop(inner);
                action();
                Ok(self.lock())
            }
            Some((_, Fault::Errno(errno))) => Err((inner, Injected::Errno(errno))),
            Some((_, Fault::Short)) => Err((inner, Injected::Short)),
        }
    }

    fn simple(&self) -> io::Result<MutexGuard<'_, Inner>> {
        self.begin().map_err(|(_, injected)| injected.error())
    }
}

#[derive(Clone, Copy)]
enum Injected {
    Errno(rustix::io::Errno),
    Short,
}

impl Injected {
    fn error(self) -> io::Error {
        match self {
            Self::Errno(errno) => errno.into(),
            Self::Short => rustix::io::Errno::NOSPC.into(),
        }
    }
}

impl Inner {
    fn inode(&self, name: &str) -> io::Result<u64> {
        self.live.names.get(name).copied().ok_or_else(|| rustix::io::Errno::NOENT.into())
    }

    fn write(&mut self, inode: u64, offset: u64, bytes: &[u8]) {
        let content = self.live.contents.entry(inode).or_default();
        write_to(content, offset, bytes);
        self.log.push(Op::Write { inode, offset, bytes: bytes.to_vec() });
    }
}

fn write_to(content: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let (start, end) = (offset as usize, offset as usize + bytes.len());
    if content.len() < end {
        content.resize(end, 0);
    }
    content[start..end].copy_from_slice(bytes);
}

impl Storage for SimDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.simple()?.live.names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        let inode = self.simple()?.inode(name)?;
        Ok(Box::new(SimFile { disk: self.clone(), inode }))
    }

    fn open_for_writing(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        Storage::open(self, name)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        let mut inner = self.simple()?;
        if inner.live.names.contains_key(name) {
            return Err(rustix::io::Errno::EXIST.into());
        }
        let inode = inner.next_inode;
        inner.next_inode += 1;
        inner.live.names.insert(name.to_owned(), inode);
        inner.live.contents.insert(inode, Vec::new());
        inner.log.push(Op::Create { name: name.to_owned(), inode });
        drop(inner);
        Ok(Box::new(SimFile { disk: self.clone(), inode }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.simple()?;
        let inode = inner.inode(from)?;
        if inner.live.names.contains_key(to) {
            return Err(rustix::io::Errno::EXIST.into());
        }
        inner.live.names.remove(from);
        inner.live.names.insert(to.to_owned(), inode);
        inner.log.push(Op::Rename { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.simple()?;
        inner.inode(name)?;
        inner.live.names.remove(name);
        inner.log.push(Op::Remove { name: name.to_owned() });
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        self.simple()?.log.push(Op::SyncNames);
        Ok(())
    }

    fn sync_own_name(&self) -> io::Result<()> {
        self.simple()?.log.push(Op::SyncOwnName { dir: String::new() });
        Ok(())
    }
}

impl StateRoot for SimDisk {
    fn states(&self) -> io::Result<Vec<String>> {
        let names = Storage::list(self)?;
        let dirs = names.iter().filter_map(|name| Some(name.split_once('/')?.0.to_owned()));
        let mut dirs: Vec<String> = dirs.filter(|name| !name.starts_with('.')).collect();
        dirs.dedup();
        Ok(dirs)
    }

    fn open(&self, name: &str, _create: bool) -> Result<Box<dyn Storage>, OpenError> {
        Ok(self.dir(name))
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("root").join(name)
    }
}

/// A directory of a [`SimDisk`].
struct SimDir {
    disk: SimDisk,
    prefix: String,
}

impl SimDir {
    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

impl Storage for SimDir {
    fn list(&self) -> io::Result<Vec<String>> {
        let names = Storage::list(&self.disk)?;
        Ok(names.iter().filter_map(|name| Some(name.strip_prefix(&self.prefix)?.into())).collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        Storage::open(&self.disk, &self.full(name))
    }

    fn open_for_writing(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        Storage::open(self, name)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        Storage::create(&self.disk, &self.full(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Storage::rename(&self.disk, &self.full(from), &self.full(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        Storage::remove(&self.disk, &self.full(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        let dir = self.prefix.clone();
        self.disk.simple()?.log.push(Op::SyncDir { dir });
        Ok(())
    }

    fn sync_own_name(&self) -> io::Result<()> {
        let dir = self.prefix.clone();
        self.disk.simple()?.log.push(Op::SyncOwnName { dir });
        Ok(())
    }

    fn beside(&self, name: &str) -> io::Result<Option<Box<dyn Storage>>> {
        let prefix = format!("{name}/");
        let names = Storage::list(&self.disk)?;
        let is_there = names.iter().any(|name| name.starts_with(&prefix));
        let dir = Self { disk: self.disk.clone(), prefix };
        Ok(is_there.then(|| Box::new(dir) as Box<dyn Storage>))
    }
}

struct SimFile {
    disk: SimDisk,
    inode: u64,
}

impl StorageFile for SimFile {
    fn size(&self) -> io::Result<u64> {
        let inner = self.disk.simple()?;
        Ok(inner.live.contents.get(&self.inode).map_or(0, |content| content.len() as u64))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let inner = self.disk.simple()?;
        let content = inner.live.contents.get(&self.inode).map_or(&[][..], Vec::as_slice);
        let start = offset as usize;
        let Some(bytes) = content.get(start..start + buffer.len()) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self.disk.begin() {
            Ok(mut inner) => {
                inner.write(self.inode, offset, bytes);
                Ok(())
            }
            Err((mut inner, injected)) => {
                if matches!(injected, Injected::Short) {
                    inner.write(self.inode, offset, &bytes[..bytes.len() / 2]);
                }
                Err(injected.error())
            }
        }
    }

    fn written_in_place(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        match self.disk.begin() {
            Ok(mut inner) => {
                inner.log.push(Op::Sync { inode: self.inode });
                Ok(())
            }
            Err((mut inner, injected)) => {
                inner.log.push(Op::FailedSync { inode: self.inode });
                Err(injected.error())
            }
        }
    }

    fn is_linked(&self) -> io::Result<bool> {
        Ok(self.disk.simple()?.live.names.values().any(|inode| *inode == self.inode))
    }
}
