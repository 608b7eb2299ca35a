//! [`Container`]: a [`Storage`] inside one regular file (`docs/format-single-file.md`).
//!
//! For callers that have made the file themselves, as Python's `NamedTemporaryFile` does, and
//! expect nothing beside it. There is no lock: space is given out by appending, which the kernel
//! makes exclusive, and nobody ever writes to space that another process has taken.

#![expect(clippy::disallowed_methods, reason = "a Storage, like storage.rs: it touches one file")]

mod file;
mod page;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fd::OwnedFd;
use rustix::fs::{self, FallocateFlags, FileType, Mode, OFlags, SeekFrom};
use rustix::io::{Errno, pread, pwrite, write};

use self::file::ContainerFile;
use self::page::{Extent, FirstPage, PAGE, SECTOR, Use};
use super::storage::{Storage, StorageFile, sync_above};
use crate::call::SessionId;
use crate::error::OpenError;

/// Named files inside one regular file.
pub struct Container {
    inner: Arc<Inner>,
}

/// What a container and its open files share.
struct Inner {
    /// For reading and writing at a position.
    file: OwnedFd,
    /// The same file for appending: with `O_APPEND`, positions are ignored.
    end: OwnedFd,
    /// Why both are for reading only.
    refusal: Option<Errno>,
    /// The directory that it is in.
    parent: PathBuf,
    id: u128,
    taken: Mutex<Taken>,
}

/// The extents that this process has taken.
#[derive(Default)]
struct Taken {
    positions: BTreeSet<u64>,
    /// Those that no file needs any more. Only their taker may use them again: any other process
    /// would write where a stopped one may still write, too.
    unused: Vec<Extent>,
}

/// Extents with less room are not used again: they cost next to nothing, and claims are among
/// them, which a process takes before it is the one that may write. Bytes.
const MIN_REUSED: u64 = 16 * PAGE;

impl Container {
    /// Opens the regular file `path`; an empty one becomes a container if `create` is set, and one
    /// that may not be written is open for reading if it is not. With `sync`, that it is a
    /// container survives power loss before this returns; its name is left to
    /// [`Storage::sync_own_name`].
    ///
    /// # Errors
    /// [`OpenError::NotFound`] if the file is empty and `create` is not set;
    /// [`OpenError::NotAState`] if it holds something else; [`OpenError::NotPrivate`] if others
    /// may write to it; [`OpenError::Damaged`], [`OpenError::NewerVersion`],
    /// [`OpenError::Unreadable`].
    pub fn open(path: &Path, create: bool, sync: bool) -> Result<Self, OpenError> {
        let unreadable = |operation, error: io::Error| OpenError::Unreadable {
            operation,
            path: path.to_owned(),
            source: error,
        };
        let open = |access| fs::open(path, access | OFLAGS, Mode::empty());
        let (file, refusal) = match open(OFlags::RDWR) {
            Err(refusal @ (Errno::ACCESS | Errno::PERM | Errno::ROFS)) if !create => {
                (open(OFlags::RDONLY), Some(refusal))
            }
            file => (file, None),
        };
        let file = file.map_err(|error| unreadable("open", error.into()))?;
        let access = if refusal.is_some() { OFlags::RDONLY } else { OFlags::RDWR };
        let end = open(access | OFlags::APPEND);
        let end = end.map_err(|error| unreadable("open", error.into()))?;
        check_file(&file, path)?;
        let size = fs::fstat(&file).map_err(|error| unreadable("examine", error.into()))?.st_size;
        if size == 0 {
            if !create {
                return Err(OpenError::NotFound { path: path.to_owned() });
            }
            begin(&end, sync).map_err(|error| unreadable("begin", error))?;
        }
        let mut sector = [0; SECTOR];
        let read = read_up_to(&file, &mut sector, 0).map_err(|error| unreadable("read", error))?;
        let id = match page::decode_first_page(&sector) {
            FirstPage::Container(id) => id,
            FirstPage::Newer(found) => {
                let (path, supported) = (path.to_owned(), page::VERSION);
                return Err(OpenError::NewerVersion { path, found, supported });
            }
            FirstPage::Damaged => {
                let reason = "the checksum of the first page is wrong".to_owned();
                return Err(OpenError::Damaged { path: path.to_owned(), offset: 0, reason });
            }
            FirstPage::Foreign => {
                let start = sector[..read.min(16)].escape_ascii().to_string();
                return Err(OpenError::NotAState { path: path.to_owned(), found: start });
            }
        };
        let taken = Mutex::default();
        let path = std::path::absolute(path).map_err(|error| unreadable("find", error))?;
        let parent = path.parent().unwrap_or(Path::new("/")).to_owned();
        Ok(Self { inner: Arc::new(Inner { file, end, refusal, parent, id, taken }) })
    }
}

const OFLAGS: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

fn check_file(file: &OwnedFd, path: &Path) -> Result<(), OpenError> {
    let stat = fs::fstat(file).map_err(|error| OpenError::Unreadable {
        operation: "examine",
        path: path.to_owned(),
        source: error.into(),
    })?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        let found = "neither a directory nor a regular file".to_owned();
        return Err(OpenError::NotAState { path: path.to_owned(), found });
    }
    let owner = rustix::process::geteuid().as_raw();
    let reason = if stat.st_uid != owner && stat.st_uid != 0 && owner != 0 {
        format!("it belongs to user {}", stat.st_uid)
    } else if stat.st_mode & 0o022 != 0 {
        format!("its mode is {:04o}: its group or others can write to it", stat.st_mode & 0o7777)
    } else {
        return Ok(());
    };
    Err(OpenError::NotPrivate { path: path.to_owned(), reason })
}

/// Makes an empty file a container. If several processes do so at once, the first page counts.
fn begin(end: &OwnedFd, sync: bool) -> io::Result<()> {
    let page = page::encode_first_page(SessionId::generate()?.0);
    let written = write(end, &page)?;
    if written != page.len() {
        return Err(io::Error::new(io::ErrorKind::StorageFull, "no room for the first page"));
    }
    if sync {
        fs::fdatasync(end)?;
    }
    Ok(())
}

/// Reads until the buffer is full or the file ends.
fn read_up_to(file: &OwnedFd, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match pread(file, &mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(filled)
}

impl Extent {
    fn is_first(&self, name: &str) -> bool {
        matches!(&self.usage, Use::First(own) if own == name)
    }

    fn is_named(&self, name: &str) -> bool {
        matches!(&self.usage, Use::First(own) | Use::Candidate(own) if own == name)
    }

    fn continues(&self, file: &Self) -> bool {
        let is_file = matches!(file.usage, Use::First(_) | Use::Candidate(_));
        let of_file = Use::Further { first: file.position, serial: file.serial };
        is_file && self.usage == of_file
    }
}

impl Inner {
    /// The headers of all extents, by position.
    fn scan(&self) -> io::Result<Vec<Extent>> {
        let mut extents = Vec::new();
        let mut position = PAGE;
        let mut copies = [0; 2 * SECTOR];
        loop {
            if read_up_to(&self.file, &mut copies, position)? == 0 {
                return Ok(extents);
            }
            match Extent::decode_copies(&copies, self.id, position) {
                Some(extent) => {
                    position = extent.end();
                    extents.push(extent);
                }
                // Space that somebody has taken and not named yet, or never will.
                None => match fs::seek(&self.file, SeekFrom::Data(position + PAGE)) {
                    Ok(data) => position = data / PAGE * PAGE,
                    Err(Errno::NXIO) => return Ok(extents),
                    Err(error) => return Err(error.into()),
                },
            }
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // The lists are never left half changed.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes new space for a header page and `content`, or an extent that was used before and has
    /// room for it. The extent is this process's own for ever.
    fn take(&self, content: &[u8]) -> io::Result<Extent> {
        let room = (content.len() as u64).next_multiple_of(PAGE);
        let mut taken = self.taken();
        let fits = |extent: &Extent| (room..=2 * room).contains(&extent.room);
        if let Some(place) = taken.unused.iter().position(fits) {
            let extent = taken.unused.swap_remove(place);
            drop(taken);
            self.write_at(content, extent.content())?;
            return Ok(extent);
        }
        drop(taken);
        let mut bytes = vec![0; (PAGE + room) as usize];
        bytes[PAGE as usize..PAGE as usize + content.len()].copy_from_slice(content);
        let position = self.append(&bytes)?;
        self.taken().positions.insert(position);
        let (generation, serial, offset, len) = (0, 0, 0, 0);
        Ok(Extent { position, generation, serial, offset, len, room, usage: Use::Free })
    }

    /// Appends whole pages; tells where. What an append has written is nobody else's: the kernel
    /// finds the end and writes there under one lock.
    fn append(&self, bytes: &[u8]) -> io::Result<u64> {
        let _one_at_a_time = self.taken();
        loop {
            let written = self.write_end(bytes)?;
            // With O_APPEND the descriptor's offset is behind what was written.
            let end = fs::seek(&self.end, SeekFrom::Current(0))?;
            if written != bytes.len() {
                return Err(io::Error::new(io::ErrorKind::StorageFull, "no room at its end"));
            }
            if end.is_multiple_of(PAGE) {
                return Ok(end - written as u64);
            }
            // An append that was cut off left an odd end.
            self.write_end(&vec![0; (PAGE - end % PAGE) as usize])?;
        }
    }

    fn check_writable(&self) -> io::Result<()> {
        self.refusal.map_or(Ok(()), |refusal| Err(refusal.into()))
    }

    /// One write: two would not be next to each other for certain.
    fn write_end(&self, bytes: &[u8]) -> io::Result<usize> {
        self.check_writable()?;
        loop {
            match write(&self.end, bytes) {
                Err(Errno::INTR) => {}
                written => return Ok(written?),
            }
        }
    }

    /// The header at `position` as it is now; `None` if there is none.
    fn header(&self, position: u64) -> io::Result<Option<Extent>> {
        let mut copies = [0; 2 * SECTOR];
        read_up_to(&self.file, &mut copies, position)?;
        Ok(Extent::decode_copies(&copies, self.id, position))
    }

    /// Writes a header: first one copy, then the other, so that one is always whole.
    fn put_header(&self, extent: &mut Extent) -> io::Result<()> {
        extent.generation += 1;
        let copy = extent.encode(self.id);
        self.write_at(&copy, extent.position)?;
        self.write_at(&copy, extent.position + SECTOR as u64)
    }

    fn write_at(&self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        self.check_writable()?;
        while !bytes.is_empty() {
            match pwrite(&self.file, bytes, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes = &bytes[written..];
                    offset += written as u64;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Gives an extent's space back to the file system.
    fn release(&self, mut extent: Extent) -> io::Result<()> {
        extent.usage = Use::Free;
        (extent.offset, extent.len) = (0, 0);
        self.put_header(&mut extent)?;
        self.punch(extent.content(), extent.room)?;
        let mut taken = self.taken();
        if extent.room >= MIN_REUSED && taken.positions.contains(&extent.position) {
            taken.unused.push(extent);
        }
        Ok(())
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fs::fallocate(&self.file, flags, offset, len) {
            // A file system without holes keeps the space; nothing else depends on them.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Storage for Container {
    fn list(&self) -> io::Result<Vec<String>> {
        let extents = self.inner.scan()?.into_iter();
        Ok(extents
            .filter_map(|extent| match extent.usage {
                // A process may have died over a candidate: the name is in use until it is removed.
                Use::First(name) | Use::Candidate(name) => Some(name),
                Use::Further { .. } | Use::Free => None,
            })
            .collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        let extents = self.inner.scan()?;
        let first = extents.iter().find(|extent| extent.is_first(name));
        let first = first.ok_or(io::ErrorKind::NotFound)?.clone();
        let further = extents.iter().filter(|extent| extent.continues(&first));
        let mut parts: Vec<Extent> = further.cloned().collect();
        parts.sort_by_key(|extent| extent.offset);
        parts.insert(0, first);
        Ok(Box::new(ContainerFile::new(Arc::clone(&self.inner), parts)?))
    }

    /// Several processes may create one name at once. Each writes its candidate, then looks for
    /// others: so of two that do not see each other, one has not written yet. Whoever sees
    /// another steps back.
    fn create(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        if !Extent::is_valid_name(name) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a possible name"));
        }
        let mut extent = self.inner.take(&[])?;
        extent.serial = extent.generation + 1;
        (extent.offset, extent.len) = (0, 0);
        extent.usage = Use::Candidate(name.to_owned());
        self.inner.put_header(&mut extent)?;
        // The header is written before others are looked for.
        fence(Ordering::SeqCst);
        let position = extent.position;
        let is_other = |other: &Extent| other.position != position && other.is_named(name);
        if self.inner.scan()?.iter().any(is_other) {
            self.inner.release(extent)?;
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        extent.usage = Use::First(name.to_owned());
        self.inner.put_header(&mut extent)?;
        Ok(Box::new(ContainerFile::new(Arc::clone(&self.inner), vec![extent])?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        if !Extent::is_valid_name(to) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a possible name"));
        }
        let extents = self.inner.scan()?;
        if extents.iter().any(|extent| extent.is_named(to)) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let mut extents = extents.into_iter();
        let mut extent =
            extents.find(|extent| extent.is_first(from)).ok_or(io::ErrorKind::NotFound)?;
        extent.usage = Use::First(to.to_owned());
        self.inner.put_header(&mut extent)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let (named, others): (Vec<_>, Vec<_>) =
            self.inner.scan()?.into_iter().partition(|extent| extent.is_named(name));
        if named.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        // First the names, then the rest: a file without a name is gone.
        for first in &named {
            self.inner.release(first.clone())?;
        }
        for extent in others {
            if named.iter().any(|first| extent.continues(first)) {
                self.inner.release(extent)?;
            }
        }
        // Whoever removed a claim goes on to read what its holder has written.
        fence(Ordering::SeqCst);
        Ok(())
    }

    /// Joins the free space that older incarnations have left. Newer ones have taken nothing
    /// before our own first extent: the claim of the first of them came after ours.
    fn tidy(&self) -> io::Result<()> {
        let ours = self.inner.taken().positions.first().copied().unwrap_or(0);
        let extents = self.inner.scan()?;
        let is_free = |extent: &Extent| match &extent.usage {
            Use::Free => true,
            Use::Further { .. } => !extents.iter().any(|first| extent.continues(first)),
            Use::Candidate(_) | Use::First(_) => false,
        };
        let mut rest = extents.as_slice();
        while let Some((first, further)) = rest.split_first() {
            rest = further;
            if !is_free(first) {
                continue;
            }
            let run = further.iter().take_while(|extent| extent.end() <= ours && is_free(extent));
            let run = run.count();
            rest = &further[run..];
            let end = rest.first().map_or(ours, |next| next.position.min(ours));
            if first.position < ours && end > first.end() {
                let room = end - first.content();
                self.inner.release(Extent { room, ..first.clone() })?;
            }
        }
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        Ok(fs::fdatasync(&self.inner.file)?)
    }

    fn sync_own_name(&self) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        sync_above(fs::open(&self.inner.parent, flags, Mode::empty()), &self.inner.file)
    }
}

#[cfg(test)]
mod tests;
