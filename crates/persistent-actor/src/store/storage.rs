//! [`Storage`]: the one way to a state's files, and [`DirStorage`], a directory.
//!
//! Everything that the store does to a disk goes through these two small traits, so that tests
//! can put every fault there.

#![expect(clippy::disallowed_methods, reason = "the one file that may touch the file system")]

use std::fs::{DirBuilder, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, RenameFlags};

use super::container::Container;
use super::mapped::MappedFile;
use crate::error::OpenError;

/// The files of one state.
pub trait Storage: Send {
    /// The names of all files.
    ///
    /// # Errors
    /// What the system says; so for all other methods.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens a file for reading.
    fn open(&self, name: &str) -> io::Result<Box<dyn StorageFile>>;

    /// Opens a file to write it: one that nobody uses any more, to write it anew, or an older claim,
    /// to mark it. A storage need not be able to if none of its files can be [mapped](StorageFile::map).
    fn open_for_writing(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        let _ = name;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Makes a file, readable and writable by its owner only; an error if it exists.
    fn create(&self, name: &str) -> io::Result<Box<dyn StorageFile>>;

    /// Gives a file a new name; an error if that exists.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes all creations, renames and removals so far survive power loss.
    fn sync_names(&self) -> io::Result<()>;

    /// Makes the name of the directory itself survive power loss, for storages that have one.
    fn sync_own_name(&self) -> io::Result<()> {
        Ok(())
    }

    /// Puts in order what older incarnations have left. Only called by the holder of the highest
    /// claim, after it has removed their files.
    fn tidy(&self) -> io::Result<()> {
        Ok(())
    }

    /// The files of the directory `name` beside that of these files; `None` if there is none.
    fn beside(&self, name: &str) -> io::Result<Option<Box<dyn Storage>>> {
        let _ = name;
        Ok(None)
    }
}

/// A directory of state directories, with the group journal of their commits
/// ([`GroupJournal`](super::GroupJournal)).
pub trait StateRoot: Send + Sync {
    /// The names of all state directories, and of what else may be one.
    ///
    /// # Errors
    /// What the system says.
    fn states(&self) -> io::Result<Vec<String>>;

    /// Opens the directory `name`, of a state or of the group journal.
    ///
    /// # Errors
    /// As for [`DirStorage::open`].
    fn open(&self, name: &str, create: bool) -> Result<Box<dyn Storage>, OpenError>;

    /// What errors call the directory `name`.
    fn path(&self, name: &str) -> PathBuf;
}

/// A [`StateRoot`] that is a directory.
pub(crate) struct DirRoot(pub(crate) PathBuf);

impl StateRoot for DirRoot {
    fn states(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::Dir::read_from(&open_dir(&self.0)?)? {
            let entry = entry?;
            let may_be = matches!(entry.file_type(), FileType::Directory | FileType::Unknown);
            // A state's name is text, and has no dot in front.
            match entry.file_name().to_str() {
                Ok(name) if may_be && !name.starts_with('.') => names.push(name.to_owned()),
                _ => {}
            }
        }
        Ok(names)
    }

    fn open(&self, name: &str, create: bool) -> Result<Box<dyn Storage>, OpenError> {
        Ok(Box::new(DirStorage::open(&self.path(name), create, true)?))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// Opens the files of the state at `path`: a [`Container`] if it is a regular file, else a
/// directory, which is made if there is none and `create` is set.
///
/// # Errors
/// As for [`DirStorage::open`] and [`Container::open`].
pub fn open_storage(path: &Path, create: bool, sync: bool) -> Result<Box<dyn Storage>, OpenError> {
    match fs::lstat(path).map(|stat| FileType::from_raw_mode(stat.st_mode)) {
        Ok(FileType::RegularFile) => Ok(Box::new(Container::open(path, create, sync)?)),
        _ => Ok(Box::new(DirStorage::open(path, create, sync)?)),
    }
}

/// An open file of a [`Storage`].
pub trait StorageFile: Send {
    /// Its length in bytes.
    ///
    /// # Errors
    /// What the system says; so for all other methods.
    fn size(&self) -> io::Result<u64>;

    /// Fills `buffer` from `offset` on; an error if the file is shorter.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Lets a range that was written start on its way to the disk, so that a later
    /// [`sync`](Self::sync) has less to wait for. Promises nothing.
    fn start_writing(&self, offset: u64, len: u64) -> io::Result<()> {
        let _ = (offset, len);
        Ok(())
    }

    /// A descriptor of the file if it can be mapped, so that its memory is its content and writing
    /// what was written before takes no more space.
    fn to_map(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Told that `bytes`, memory of this file, has become what the file holds at `offset`.
    fn written_in_place(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let _ = (bytes, offset);
        Ok(())
    }

    /// Makes all that was written survive power loss.
    fn sync(&self) -> io::Result<()>;

    /// Whether the file still has a name.
    fn is_linked(&self) -> io::Result<bool>;

    /// The first `len` bytes, to be written without a system call; `None` if the storage cannot.
    /// What is written so is as safe from the death of the process as with
    /// [`write_at`](Self::write_at), and not synced.
    fn map(&self, len: u64) -> Option<MappedFile> {
        let _ = len;
        None
    }
}

/// The file systems that overwrite a file's content where it is, as `statfs` tells them: ext4 (and
/// 2 and 3), XFS, tmpfs. Others, such as Btrfs, write elsewhere, and a full disk would end a
/// process that writes to a mapped file.
const IN_PLACE_FILE_SYSTEMS: [fs::FsWord; 3] = [0xef53, 0x5846_5342, 0x0102_1994];

/// A directory. Names are resolved relative to its descriptor and links are not followed, so
/// nothing leads out of it.
pub struct DirStorage {
    dir: OwnedFd,
}

impl DirStorage {
    /// Opens the directory `path`; with `create`, makes it (and what lies above) if it is not
    /// there. With `sync`, what lies above survives power loss before this returns; its own name
    /// is left to [`Storage::sync_own_name`], so that it can share its sync with what is in it.
    ///
    /// # Errors
    /// [`OpenError::NotFound`] if there is no directory and none is to be made,
    /// [`OpenError::NotPrivate`] if others may write to it, [`OpenError::Unreadable`] else.
    pub fn open(path: &Path, create: bool, sync: bool) -> Result<Self, OpenError> {
        let dir = match open_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if !create {
                    return Err(OpenError::NotFound { path: path.to_owned() });
                }
                make_dir(path, sync)?;
                open_dir(path)
            }
            other => other,
        };
        let dir = dir.map_err(|source| unreadable("open", path, source))?;
        check_private(&dir, path)?;
        Ok(Self { dir })
    }
}

impl DirStorage {
    fn open_regular(&self, name: &str, access: OFlags) -> io::Result<Box<dyn StorageFile>> {
        // NONBLOCK: opening must not wait for the other end of a pipe somebody put there.
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = fs::openat(&self.dir, name, flags, Mode::empty())?;
        let stat = fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        Ok(Box::new(File::from(file)))
    }
}

fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(fs::open(path, flags, Mode::empty())?)
}

fn make_dir(path: &Path, sync: bool) -> Result<(), OpenError> {
    let missing: Vec<&Path> = path.ancestors().take_while(|dir| !dir.exists()).collect();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| unreadable("create", path, source))?;
    if !sync {
        return Ok(());
    }
    for made in missing.into_iter().skip(1) {
        let parent = match made.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let synced = File::open(parent).and_then(|dir| dir.sync_all());
        synced.map_err(|source| unreadable("sync", parent, source))?;
    }
    Ok(())
}

fn check_private(dir: &OwnedFd, path: &Path) -> Result<(), OpenError> {
    let stat = fs::fstat(dir).map_err(|error| unreadable("open", path, error.into()))?;
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

fn unreadable(operation: &'static str, path: &Path, source: io::Error) -> OpenError {
    OpenError::Unreadable { operation, path: PathBuf::from(path), source }
}

/// Syncs the directory above, which was opened with this result, and so the name of what is in it.
pub(super) fn sync_above(above: rustix::io::Result<OwnedFd>, inside: impl AsFd) -> io::Result<()> {
    match above {
        Ok(above) => Ok(fs::fsync(&above)?),
        // Somebody else made what is inside, in a directory that its user may not read.
        Err(rustix::io::Errno::ACCESS) => Ok(fs::syncfs(inside)?),
        Err(error) => Err(error.into()),
    }
}

impl Storage for DirStorage {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::Dir::read_from(&self.dir)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        self.open_regular(name, OFlags::RDONLY)
    }

    fn open_for_writing(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        self.open_regular(name, OFlags::RDWR)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(&self.dir, name, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(Box::new(File::from(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(fs::renameat_with(&self.dir, from, &self.dir, to, RenameFlags::NOREPLACE)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        Ok(fs::unlinkat(&self.dir, name, AtFlags::empty())?)
    }

    fn sync_names(&self) -> io::Result<()> {
        Ok(fs::fsync(&self.dir)?)
    }

    fn sync_own_name(&self) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        sync_above(fs::openat(&self.dir, "..", flags, Mode::empty()), &self.dir)
    }

    fn beside(&self, name: &str) -> io::Result<Option<Box<dyn Storage>>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let path = Path::new("..").join(name);
        let dir = match fs::openat(&self.dir, &path, flags, Mode::empty()) {
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            other => other?,
        };
        check_private(&dir, &path).map_err(io::Error::other)?;
        Ok(Some(Box::new(Self { dir })))
    }
}

impl StorageFile for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn start_writing(&self, offset: u64, len: u64) -> io::Result<()> {
        let (Ok(offset), Ok(len)) = (i64::try_from(offset), i64::try_from(len)) else {
            return Ok(());
        };
        let how = libc::SYNC_FILE_RANGE_WRITE;
        // SAFETY: the descriptor is open as long as `self` is borrowed, and the call touches no
        // memory of this process.
        let started = unsafe { libc::sync_file_range(self.as_raw_fd(), offset, len, how) };
        if started == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        // Some file systems cannot: then the sync has it all to do.
        match error.raw_os_error() {
            Some(libc::ENOSYS | libc::EINVAL | libc::ESPIPE) => Ok(()),
            _ => Err(error),
        }
    }

    fn to_map(&self) -> Option<BorrowedFd<'_>> {
        let kind = fs::fstatfs(self).ok()?.f_type;
        IN_PLACE_FILE_SYSTEMS.contains(&kind).then(|| self.as_fd())
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn is_linked(&self) -> io::Result<bool> {
        Ok(fs::fstat(self)?.st_nlink != 0)
    }

    fn map(&self, len: u64) -> Option<MappedFile> {
        MappedFile::new(self, usize::try_from(len).ok()?).ok()
    }
}

/// Says which process holds a claim: its id and, because ids are used again, when it started.
pub(crate) fn describe_holder() -> String {
    let pid = std::process::id();
    // The line is shorter; `read_to_string` would ask for it in seven pieces.
    let mut line = [0; 1024];
    let len = File::open("/proc/self/stat").and_then(|mut file| file.read(&mut line));
    let stat = String::from_utf8_lossy(&line[..len.unwrap_or(0)]);
    // The second field, the program's name, may contain anything; the last ')' ends it.
    let start = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(19));
    format!("pid {pid}\nstart {}\n", start.unwrap_or("unknown"))
}
