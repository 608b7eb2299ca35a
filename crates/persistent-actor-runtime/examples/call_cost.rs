//! What a call costs, beside the floors of this machine, measured in the same run.
//!
//! `cargo run --release --example call_cost [recovery]`
//!
//! - small call: a counter; its floor is the round trip of 64 bytes between two processes over a
//!   Unix socket pair, both ends blocking; with `power`, that and one `fdatasync` of a
//!   prewritten file;
//! - large call: 10 MiB are added to the state of one actor after the other and returned; its
//!   floor is the same addition into other memory, cold in the cache, in one process, and reading
//!   the result once;
//! - kill to next reply: SIGKILL from outside, then a call (`recovery`: only this).
//!
//! Medians of each; the ratio is to the floor in the same block.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use persistent_actor_runtime::{Bytes, Durability, Error, Node, Result, actor, init, safe_state};
use serde::{Deserialize, Serialize};

const LARGE: usize = 10 << 20;
const LARGE_ACTORS: usize = 20;
const SMALL_CALLS: usize = 20_000;
const LARGE_CALLS: usize = 400;
const KILLS: usize = 50;

#[derive(Default, Serialize, Deserialize)]
struct Counter {
    counter: u64,
}

#[actor]
impl Counter {
    #[safe_state("counter")]
    fn increment(&mut self, by: u64) -> u64 {
        self.counter += by;
        self.counter
    }
}

#[derive(Serialize, Deserialize)]
struct Block {
    data: Bytes,
}

impl Default for Block {
    fn default() -> Self {
        Self { data: Bytes::build(LARGE, |out| out.fill(1)) }
    }
}

#[actor]
impl Block {
    #[safe_state("data")]
    fn add(&mut self, other: Bytes) -> Bytes {
        self.data = Bytes::build(self.data.len(), |out| add(out, &self.data, &other));
        self.data.clone()
    }
}

fn add(out: &mut [u8], a: &[u8], b: &[u8]) {
    for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
        *out = a.wrapping_add(*b);
    }
}

/// Reads all of it.
fn sum(bytes: &[u8]) -> u64 {
    let (words, _) = bytes.as_chunks::<8>();
    words.iter().fold(0, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)))
}

fn main() -> Result<()> {
    init();
    if std::env::args().nth(1).as_deref() == Some("echo") {
        return echo();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if std::env::args().nth(1).as_deref() != Some("recovery") {
        runtime.block_on(small())?;
        runtime.block_on(large())?;
    }
    runtime.block_on(recovery())
}

async fn small() -> Result<()> {
    let round_trip = raw_round_trip()?;
    report("64 bytes over a socket pair and back (floor)", round_trip, None);
    let sync = raw_sync()?;
    report("fdatasync of a prewritten file (floor)", sync, None);
    for durability in [Durability::None, Durability::Process, Durability::Power] {
        let root = tempfile::tempdir()?;
        let node = Node::builder().durability(durability).open(root.path())?;
        let counter = node.actor::<Counter>("counter").spawn().await?;
        let mut times = Vec::new();
        let calls = if durability == Durability::Power { SMALL_CALLS / 10 } else { SMALL_CALLS };
        for _ in 0..calls {
            let start = Instant::now();
            counter.increment(1).await?;
            times.push(start.elapsed());
        }
        let power = if durability == Durability::Power { sync } else { Duration::ZERO };
        let name = format!("small call, {durability}");
        report(&name, median(&mut times), Some(round_trip + power));
    }
    Ok(())
}

async fn large() -> Result<()> {
    let floor = raw_cold_add();
    report("10 MiB added into other memory, cold, and read (floor)", floor, None);
    for durability in [Durability::None, Durability::Process, Durability::Power] {
        let root = tempfile::tempdir()?;
        let node = Node::builder().durability(durability).open(root.path())?;
        let mut actors = Vec::new();
        for index in 0..LARGE_ACTORS {
            actors.push(node.actor::<Block>(format!("block-{index}")).spawn().await?);
        }
        let mut current = Bytes::build(LARGE, |out| out.fill(1));
        let mut times = Vec::new();
        for call in 0..LARGE_CALLS {
            let start = Instant::now();
            current = actors[call % LARGE_ACTORS].add(current).await?;
            // Each actor's first calls touch memory that was never used.
            if call >= LARGE_CALLS / 2 {
                times.push(start.elapsed());
            }
        }
        report(&format!("large call, {durability}"), median(&mut times), Some(floor));
    }
    Ok(())
}

async fn recovery() -> Result<()> {
    for durability in [Durability::Process, Durability::Power] {
        let root = tempfile::tempdir()?;
        let node = Node::builder().durability(durability).open(root.path())?;
        let counter = node.actor::<Counter>("counter").spawn().await?;
        let block = node.actor::<Block>("block").spawn().await?;
        let ones = Bytes::build(LARGE, |out| out.fill(1));
        let (mut small, mut large) = (Vec::new(), Vec::new());
        for _ in 0..KILLS {
            let start = Instant::now();
            counter.kill().await?;
            counter.increment(1).await?;
            small.push(start.elapsed());
            block.add(ones.clone()).await?;
            let start = Instant::now();
            block.kill().await?;
            block.add(ones.clone()).await?;
            large.push(start.elapsed());
        }
        report(&format!("kill to next reply, small, {durability}"), median(&mut small), None);
        report(&format!("kill to next reply, 10 MiB, {durability}"), median(&mut large), None);
    }
    Ok(())
}

/// The other end of the round trip.
fn echo() -> Result<()> {
    let mut socket = File::from(rustix::io::dup(rustix::stdio::stdin()).map_err(io_error)?);
    let mut message = [0; 64];
    while socket.read_exact(&mut message).is_ok() {
        socket.write_all(&message)?;
    }
    Ok(())
}

fn io_error(error: rustix::io::Errno) -> Error {
    Error::Io(error.into())
}

fn raw_round_trip() -> Result<Duration> {
    let (mut ours, theirs) = UnixStream::pair()?;
    let mut child = Command::new("/proc/self/exe")
        .arg("echo")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()?;
    let mut message = [7; 64];
    let mut times = Vec::new();
    for _ in 0..SMALL_CALLS {
        let start = Instant::now();
        ours.write_all(&message)?;
        ours.read_exact(&mut message)?;
        times.push(start.elapsed());
    }
    drop(ours);
    child.wait()?;
    Ok(median(&mut times))
}

fn raw_sync() -> Result<Duration> {
    let file = tempfile::tempfile()?;
    file.write_all_at(&vec![0; 1 << 20], 0)?;
    file.sync_all()?;
    let mut times = Vec::new();
    for n in 0..SMALL_CALLS / 10 {
        let start = Instant::now();
        file.write_all_at(&[n as u8; 64], (n as u64 * 64) % (1 << 20))?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    Ok(median(&mut times))
}

fn raw_cold_add() -> Duration {
    let mut blocks: Vec<_> = (0..LARGE_ACTORS).map(|_| (vec![1; LARGE], vec![1; LARGE])).collect();
    let other = vec![1u8; LARGE];
    let mut times = Vec::new();
    for call in 0..LARGE_CALLS {
        let (state, next) = &mut blocks[call % LARGE_ACTORS];
        let start = Instant::now();
        add(next, state, &other);
        std::hint::black_box(sum(next));
        times.push(start.elapsed());
        std::mem::swap(state, next);
    }
    median(&mut times)
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn report(what: &str, time: Duration, floor: Option<Duration>) {
    let micros = time.as_nanos() as f64 / 1000.0;
    match floor {
        Some(floor) => {
            let ratio = time.as_secs_f64() / floor.as_secs_f64();
            println!("{what:<56} {micros:>10.1} µs  {ratio:.2} x floor");
        }
        None => println!("{what:<56} {micros:>10.1} µs"),
    }
}
