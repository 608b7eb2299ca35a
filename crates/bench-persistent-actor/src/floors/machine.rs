//! What the machine allows: sockets, disk, memory.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;

use super::{FloorsError, Probe, micros};
use crate::actors::LARGE_BYTES;

/// The size of a small message and a small record. Bytes.
const SMALL_BYTES: usize = 64;

/// How often the small things are done per sample.
const SMALL_TIMES: usize = 500;

/// How often the large things are done per sample.
const LARGE_TIMES: usize = 10;

/// How many arrays take turns, so that none is in the cache.
const ARRAYS: usize = 10;

/// The size of the file that small records are written to in a ring. Bytes.
const RING_BYTES: usize = 64 * 1024;

fn system(what: &'static str) -> impl Fn(io::Error) -> FloorsError {
    move |error| FloorsError::System(what, error)
}

/// Sends back what comes in on standard input, a socket, until it is closed.
///
/// # Errors
/// [`FloorsError::System`]
pub fn echo() -> Result<(), FloorsError> {
    let input = io::stdin();
    let descriptor = rustix::io::dup(&input).map_err(|e| system("use standard input")(e.into()))?;
    let mut socket = UnixStream::from(descriptor);
    let mut message = [0; SMALL_BYTES];
    while socket.read_exact(&mut message).is_ok() {
        socket.write_all(&message).map_err(system("answer"))?;
    }
    Ok(())
}

/// Another process that echoes; it ends when the socket is closed.
struct Echo {
    child: Child,
    socket: Option<UnixStream>,
}

impl Echo {
    fn start() -> Result<Self, FloorsError> {
        let (ours, theirs) = UnixStream::pair().map_err(system("make a socket pair"))?;
        let program = std::env::current_exe().map_err(system("find this program"))?;
        let child = Command::new(program)
            .arg("echo")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()
            .map_err(system("start the other process"))?;
        Ok(Self { child, socket: Some(ours) })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.socket = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A blocking round trip.
pub(super) struct Socket {
    echo: Echo,
}

impl Socket {
    pub(super) fn start() -> Result<Self, FloorsError> {
        Ok(Self { echo: Echo::start()? })
    }

    fn round_trip(&mut self) -> Result<(), FloorsError> {
        let Some(socket) = &mut self.echo.socket else { return Ok(()) };
        let mut message = [7; SMALL_BYTES];
        socket.write_all(&message).map_err(system("send"))?;
        socket.read_exact(&mut message).map_err(system("receive"))
    }
}

impl Probe for Socket {
    fn sample(&mut self, _: &Runtime) -> Result<Vec<f64>, FloorsError> {
        (0..SMALL_TIMES)
            .map(|_| {
                let begin = Instant::now();
                self.round_trip()?;
                Ok(micros(begin))
            })
            .collect()
    }
}

/// A round trip with tokio on this side.
pub(super) struct SocketTokio {
    socket: tokio::net::UnixStream,
    _echo: Echo,
}

impl SocketTokio {
    pub(super) fn start(runtime: &Runtime) -> Result<Self, FloorsError> {
        let mut echo = Echo::start()?;
        let socket = echo.socket.take().ok_or(io::ErrorKind::NotConnected.into());
        let socket = socket.map_err(system("connect"))?;
        socket.set_nonblocking(true).map_err(system("connect"))?;
        let _inside = runtime.enter();
        let socket = tokio::net::UnixStream::from_std(socket).map_err(system("connect"))?;
        Ok(Self { socket, _echo: echo })
    }
}

impl Probe for SocketTokio {
    fn sample(&mut self, runtime: &Runtime) -> Result<Vec<f64>, FloorsError> {
        runtime.block_on(async {
            let mut times = Vec::with_capacity(SMALL_TIMES);
            let mut message = [7; SMALL_BYTES];
            for _ in 0..SMALL_TIMES {
                let begin = Instant::now();
                self.socket.write_all(&message).await.map_err(system("send"))?;
                self.socket.read_exact(&mut message).await.map_err(system("receive"))?;
                times.push(micros(begin));
            }
            Ok(times)
        })
    }
}

/// A file of this size that was written and synced once, so that writing to it again changes
/// nothing but its content.
fn prewritten(path: &Path, len: usize) -> Result<File, FloorsError> {
    let file = OpenOptions::new()
        .create_new(true)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(system("make a file"))?;
    file.write_all_at(&vec![0; len], 0).map_err(system("write a file"))?;
    file.sync_all().map_err(system("sync a file"))?;
    Ok(file)
}

/// A small record written and synced.
pub(super) struct SmallSync {
    file: File,
    next: usize,
}

impl SmallSync {
    pub(super) fn start(dir: &Path) -> Result<Self, FloorsError> {
        Self::at(&dir.join("floor-small"))
    }

    fn at(path: &Path) -> Result<Self, FloorsError> {
        Ok(Self { file: prewritten(path, RING_BYTES)?, next: 0 })
    }

    fn commit(&mut self) -> Result<(), FloorsError> {
        let record = [self.next as u8; SMALL_BYTES];
        self.file.write_all_at(&record, self.next as u64).map_err(system("write a file"))?;
        self.next = (self.next + SMALL_BYTES) % RING_BYTES;
        self.file.sync_data().map_err(system("sync a file"))
    }
}

impl Probe for SmallSync {
    fn sample(&mut self, _: &Runtime) -> Result<Vec<f64>, FloorsError> {
        (0..SMALL_TIMES)
            .map(|_| {
                let begin = Instant::now();
                self.commit()?;
                Ok(micros(begin))
            })
            .collect()
    }
}

/// A round trip, then a small record written and synced: the floor of a durable call.
pub(super) struct SocketSync {
    socket: Socket,
    disk: SmallSync,
}

impl SocketSync {
    pub(super) fn start(dir: &Path) -> Result<Self, FloorsError> {
        let disk = SmallSync::at(&dir.join("floor-socket"))?;
        Ok(Self { socket: Socket::start()?, disk })
    }
}

impl Probe for SocketSync {
    fn sample(&mut self, _: &Runtime) -> Result<Vec<f64>, FloorsError> {
        (0..SMALL_TIMES)
            .map(|_| {
                let begin = Instant::now();
                self.socket.round_trip()?;
                self.disk.commit()?;
                Ok(micros(begin))
            })
            .collect()
    }
}

/// Large arrays added out of place; so many take turns that none is in the cache.
pub(super) struct Add {
    states: Vec<Vec<u8>>,
    sums: Vec<Vec<u8>>,
}

impl Add {
    pub(super) fn start() -> Self {
        let arrays = |byte| (0..ARRAYS).map(|_| vec![byte; LARGE_BYTES]).collect();
        Self { states: arrays(1), sums: arrays(2) }
    }
}

impl Probe for Add {
    fn sample(&mut self, _: &Runtime) -> Result<Vec<f64>, FloorsError> {
        let mut times = Vec::with_capacity(LARGE_TIMES);
        for index in 0..LARGE_TIMES {
            let index = index % ARRAYS;
            // The argument is the sum of the array before, as in the workload.
            let mut sum = std::mem::take(&mut self.sums[index]);
            let argument = &self.sums[(index + ARRAYS - 1) % ARRAYS];
            let begin = Instant::now();
            for ((sum, a), b) in sum.iter_mut().zip(&self.states[index]).zip(argument) {
                *sum = a.wrapping_add(*b);
            }
            times.push(micros(begin));
            self.sums[index] = sum;
        }
        std::hint::black_box(&self.sums);
        Ok(times)
    }
}

/// A large array written and synced, alternately to one of two places.
pub(super) struct LargeSync {
    file: File,
    content: Vec<u8>,
    second: bool,
}

impl LargeSync {
    pub(super) fn start(dir: &Path) -> Result<Self, FloorsError> {
        let file = prewritten(&dir.join("floor-large"), 2 * LARGE_BYTES)?;
        Ok(Self { file, content: vec![0; LARGE_BYTES], second: false })
    }
}

impl Probe for LargeSync {
    fn sample(&mut self, _: &Runtime) -> Result<Vec<f64>, FloorsError> {
        (0..LARGE_TIMES)
            .map(|_| {
                self.content.iter_mut().for_each(|byte| *byte = byte.wrapping_add(1));
                let offset = if self.second { LARGE_BYTES as u64 } else { 0 };
                self.second = !self.second;
                let begin = Instant::now();
                self.file.write_all_at(&self.content, offset).map_err(system("write a file"))?;
                self.file.sync_data().map_err(system("sync a file"))?;
                Ok(micros(begin))
            })
            .collect()
    }
}
