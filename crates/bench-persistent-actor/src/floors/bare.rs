//! The bare process: this same executable, on an exit so early that nothing of the engine runs.
//!
//! It answers messages of 64 bytes on its standard input, a socket, until that is closed. On the
//! way to an answer it can do what a floor needs: write a record and sync it, or load a file
//! first. So a floor with a process in it pays for the same executable as the product does.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::memory::Region;

/// The size of a message and of a small record. Bytes.
pub(super) const MESSAGE_BYTES: usize = 64;

/// The size of the file that records are written to in a ring. Bytes.
const RING_BYTES: usize = 64 * 1024;

/// The size of a file that is made before the first answer. Bytes.
const MADE_BYTES: usize = 16 * 1024;

/// The first argument of a bare process.
const ARGUMENT: &str = "bare-process";
const POLL: &str = "--poll";
const LOAD: &str = "--load";
const SYNC: &str = "--sync";
const MAKE: &str = "--make";

/// Runs the bare process, if this is one. To be called first thing in `main`.
pub fn bare_process() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != ARGUMENT {
        return None;
    }
    Some(match answer(args.next(), args.next()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    })
}

fn answer(what: Option<OsString>, file: Option<OsString>) -> io::Result<()> {
    let mut socket = UnixStream::from(rustix::io::dup(io::stdin())?);
    let mut message = [0; MESSAGE_BYTES];
    let mut ring = None;
    let mut loaded = None;
    let mut to_make = None;
    let polls = what.as_ref().is_some_and(|what| what == POLL);
    match (what, file) {
        (Some(what), Some(file)) if what == SYNC => ring = Some(Ring::open(Path::new(&file))?),
        (Some(what), Some(file)) if what == LOAD => loaded = Some(load(Path::new(&file))?),
        (Some(what), Some(dir)) if what == MAKE => to_make = Some(PathBuf::from(dir)),
        _ => {}
    }
    loop {
        if polls {
            poll(&mut [PollFd::new(&socket, PollFlags::IN)], None)?;
        }
        if socket.read_exact(&mut message).is_err() {
            break;
        }
        if let Some(ring) = &mut ring {
            ring.commit()?;
        }
        if let Some(dir) = to_make.take() {
            make_durable(&dir)?;
        }
        socket.write_all(&message)?;
    }
    drop(loaded);
    Ok(())
}

/// Reads a whole file into memory as good as there is.
fn load(path: &Path) -> io::Result<Region> {
    let mut file = File::open(path)?;
    let len = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let mut memory = Region::map(len)?;
    file.read_exact(memory.as_mut_slice())?;
    Ok(memory)
}

/// A file that small records are written to, each synced.
pub(super) struct Ring {
    file: File,
    next: usize,
}

impl Ring {
    /// Makes the file: written and synced once, so that writing to it again changes nothing but
    /// its content.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        Ok(Self { file: prewritten(path, RING_BYTES)?, next: 0 })
    }

    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: OpenOptions::new().write(true).open(path)?, next: 0 })
    }

    /// Writes a record and syncs it.
    pub(super) fn commit(&mut self) -> io::Result<()> {
        let record = [self.next as u8; MESSAGE_BYTES];
        self.file.write_all_at(&record, self.next as u64)?;
        self.next = (self.next + MESSAGE_BYTES) % RING_BYTES;
        self.file.sync_data()
    }
}

/// A file of this size that was written and synced once.
pub(super) fn prewritten(path: &Path, len: usize) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.create_new(true).read(true).write(true).mode(0o600).open(path)?;
    let zeros = vec![0; len.min(1 << 20)];
    let mut at = 0;
    while at < len {
        let part = zeros.len().min(len - at);
        file.write_all_at(&zeros[..part], at as u64)?;
        at += part;
    }
    file.sync_all()?;
    Ok(file)
}

/// Makes a directory with a file in it, so that both survive power loss.
fn make_durable(dir: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(dir)?;
    let mut options = OpenOptions::new();
    let path = dir.join("file");
    let file = options.create_new(true).write(true).mode(0o600).open(path)?;
    file.write_all_at(&[0; MADE_BYTES], 0)?;
    file.sync_data()?;
    let parent = dir.parent().ok_or(io::ErrorKind::NotFound)?;
    File::open(parent)?.sync_all()?;
    File::open(dir)?.sync_all()
}

/// What a bare process does besides answering.
#[derive(Clone, Copy, Debug)]
pub(super) enum Duty<'a> {
    Nothing,
    /// Sleeps in `poll`, not in the read, where it is also woken when its last answer is taken.
    Poll,
    /// Writes and syncs a record in this file, made by [`Ring::create`], before each answer.
    Sync(&'a Path),
    /// Reads this file into memory before the first answer.
    Load(&'a Path),
    /// Makes this directory, with a file in it, both synced, before the first answer.
    Make(&'a Path),
}

/// The parent's side of a bare process; it ends with this value.
pub(super) struct Bare {
    child: Child,
    socket: Option<UnixStream>,
}

impl Bare {
    pub(super) fn start(duty: Duty<'_>) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut command = Command::new("/proc/self/exe");
        command.arg(ARGUMENT).stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null());
        match duty {
            Duty::Nothing => {}
            Duty::Poll => drop(command.arg(POLL)),
            Duty::Sync(file) => drop(command.arg(SYNC).arg(file)),
            Duty::Load(file) => drop(command.arg(LOAD).arg(file)),
            Duty::Make(dir) => drop(command.arg(MAKE).arg(dir)),
        }
        Ok(Self { child: command.spawn()?, socket: Some(ours) })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn socket(&mut self) -> io::Result<&mut UnixStream> {
        self.socket.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    pub(super) fn send(&mut self) -> io::Result<()> {
        self.socket()?.write_all(&[7; MESSAGE_BYTES])
    }

    pub(super) fn receive(&mut self) -> io::Result<()> {
        self.socket()?.read_exact(&mut [0; MESSAGE_BYTES])
    }

    /// Kills the process and waits until that is noticed and it is reaped.
    pub(super) fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        let end = self.socket()?.read(&mut [0; MESSAGE_BYTES])?;
        if end != 0 {
            return Err(io::Error::other("a killed process answered"));
        }
        self.child.wait().map(|_| ())
    }

    /// The same process with tokio on this side; inside a runtime.
    pub(super) fn with_tokio(mut self) -> io::Result<BareTokio> {
        let socket = self.socket.take().ok_or(io::ErrorKind::NotConnected)?;
        socket.set_nonblocking(true)?;
        Ok(BareTokio { socket: tokio::net::UnixStream::from_std(socket)?, _bare: self })
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.socket = None;
        // It is gone already, or ends now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A bare process with tokio on the caller's side.
pub(super) struct BareTokio {
    socket: tokio::net::UnixStream,
    _bare: Bare,
}

impl BareTokio {
    /// A message and its answer.
    pub(super) async fn round_trip(&mut self) -> io::Result<()> {
        let mut message = [7; MESSAGE_BYTES];
        self.socket.write_all(&message).await?;
        self.socket.read_exact(&mut message).await.map(|_| ())
    }
}
