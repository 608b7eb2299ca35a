//! How long it takes from a kill to the next reply, where the time goes, and what starting many
//! actors costs, beside the floors of this machine, measured in the same run.
//!
//! `cargo run --release --example recovery [kills [LEVEL] | starts [LEVEL]]`
//!
//! - `kills`: SIGKILL to an actor without and with 10 MiB of state, then a call. The floor is a
//!   bare process (this executable, a socket, nothing else) that is killed, noticed to be dead by
//!   the end of its socket, and started again until its first answer; for 10 MiB, that process had
//!   touched as much shared memory, and reading the file of the state comes on top.
//! - `starts`: the first reply from 20 and from 1 000 actors, started all at once; the floor is as
//!   many bare processes. And the memory (PSS) of an idle actor.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use persistent_actor_runtime::{
    Bytes, Durability, EventKind, Node, Result, actor, init, now_ns, safe_state,
};
use serde::{Deserialize, Serialize};

const LARGE: usize = 10 << 20;
const KILLS: usize = 40;

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
        self.data = Bytes::build(self.data.len(), |out| {
            for ((out, a), b) in out.iter_mut().zip(&self.data[..]).zip(&other[..]) {
                *out = a.wrapping_add(*b);
            }
        });
        self.data.clone()
    }

    fn len(&self) -> u64 {
        self.data.len() as u64
    }
}

fn main() -> Result<()> {
    init();
    let mut args = std::env::args().skip(1);
    let what = args.next();
    if what.as_deref() == Some("bare") {
        return bare(args.next().is_some());
    }
    let mut levels = vec![Durability::None, Durability::Process, Durability::Power];
    if let Some(only) = args.next() {
        levels.retain(|level| level.to_string() == only);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if what.as_deref() != Some("starts") {
        runtime.block_on(kills(&levels))?;
    }
    if what.as_deref() != Some("kills") {
        runtime.block_on(starts(&levels))?;
    }
    Ok(())
}

/// A bare process: answers each byte with a byte.
fn bare(large: bool) -> Result<()> {
    let mut socket =
        File::from(rustix::io::dup(rustix::stdio::stdin()).map_err(std::io::Error::from)?);
    let memory = large.then(|| vec![1u8; 2 * LARGE]);
    let mut message = [0; 1];
    while socket.read_exact(&mut message).is_ok() {
        socket.write_all(&message)?;
    }
    drop(memory);
    Ok(())
}

struct Bare {
    child: Child,
    socket: UnixStream,
}

impl Bare {
    fn start(large: bool) -> Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        let mut command = Command::new("/proc/self/exe");
        command.arg("bare").args(large.then_some("large"));
        let child = command.stdin(Stdio::from(OwnedFd::from(theirs))).spawn()?;
        Ok(Self { child, socket })
    }

    fn ask(&mut self) -> Result<()> {
        self.socket.write_all(&[1])?;
        self.socket.read_exact(&mut [0])?;
        Ok(())
    }

    /// Kills it and waits until that is noticed.
    fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        let end = self.socket.read(&mut [0])?;
        assert_eq!(end, 0, "a process that was killed answers");
        self.child.wait()?;
        Ok(())
    }
}

/// From the kill of a bare process to the answer of the next.
fn bare_recovery(large: bool) -> Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..KILLS {
        let mut process = Bare::start(large)?;
        process.ask()?;
        let start = Instant::now();
        process.kill()?;
        let mut next = Bare::start(false)?;
        next.ask()?;
        times.push(start.elapsed());
        next.kill()?;
    }
    Ok(median(&mut times))
}

/// Reading 10 MiB from a file into memory that is there.
fn raw_load() -> Result<Duration> {
    let mut file = tempfile::tempfile()?;
    file.write_all(&vec![1; LARGE])?;
    let mut memory = vec![0u8; LARGE + 4096];
    let aligned = memory.as_ptr().align_offset(4096);
    let mut times = Vec::new();
    for _ in 0..KILLS {
        let start = Instant::now();
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut memory[aligned..][..LARGE], 0)?;
        times.push(start.elapsed());
    }
    Ok(median(&mut times))
}

const STAGES: [&str; 5] =
    ["kill to dead and reaped", "to the start", "to started", "to ready", "to the reply"];

/// When the last of each kind of event came.
#[derive(Clone, Default)]
struct Clock(Arc<Mutex<[u64; 5]>>);

impl Clock {
    fn note(&self, kind: &EventKind, at_ns: u64) {
        let stage = match kind {
            EventKind::Died { .. } => 0,
            EventKind::Restarting { .. } => 1,
            EventKind::Spawned => 2,
            EventKind::Ready { .. } => 3,
            EventKind::CallFinished { .. } => 4,
            _ => return,
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner)[stage] = at_ns;
    }

    /// The time of each stage since the one before, the first since `start`.
    fn stages(&self, start: u64) -> [u64; 5] {
        let at = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = start;
        at.map(|at| at.saturating_sub(std::mem::replace(&mut before, at)))
    }
}

async fn kills(levels: &[Durability]) -> Result<()> {
    let (small, large, load) = (bare_recovery(false)?, bare_recovery(true)?, raw_load()?);
    println!("{:<54}{}", "floor, small", millis(small));
    println!("{:<54}{} (of it reading: {})", "floor, 10 MiB", millis(large + load), millis(load));
    for &durability in levels {
        let root = tempfile::tempdir()?;
        let clock = Clock::default();
        let events = clock.clone();
        let builder = Node::builder().durability(durability);
        let node = builder.on_event(move |event| events.note(&event.kind, event.at_ns));
        let node = node.open(root.path())?;
        let counter = node.actor::<Counter>("counter").spawn().await?;
        let mut times = Vec::new();
        for _ in 0..KILLS {
            for _ in 0..10 {
                counter.increment(1).await?;
            }
            let (start, begin) = (now_ns(), Instant::now());
            counter.kill().await?;
            counter.increment(1).await?;
            times.push((begin.elapsed(), clock.stages(start)));
        }
        report(&format!("small, {durability}"), times, small);
        counter.stop().await?;
        let block = node.actor::<Block>("block").spawn().await?;
        let ones = Bytes::build(LARGE, |out| out.fill(1));
        let (mut times, mut read, mut write) = (Vec::new(), Vec::new(), Vec::new());
        for kill in 0..2 * KILLS {
            for _ in 0..3 {
                let begin = Instant::now();
                block.add(ones.clone()).await?;
                write.push(begin.elapsed());
            }
            let (start, begin) = (now_ns(), Instant::now());
            block.kill().await?;
            if kill % 2 == 0 {
                block.len().await?;
                read.push((begin.elapsed(), clock.stages(start)));
            } else {
                block.add(ones.clone()).await?;
                times.push((begin.elapsed(), clock.stages(start)));
            }
        }
        report(&format!("10 MiB, {durability}, a call that reads"), read, large + load);
        let call = median(&mut write);
        println!("{:<54}{}", "an addition", millis(call));
        report(&format!("10 MiB, {durability}, an addition"), times, large + load + call);
    }
    Ok(())
}

async fn starts(levels: &[Durability]) -> Result<()> {
    for count in [20, 1000] {
        let begin = Instant::now();
        let mut processes = Vec::new();
        for _ in 0..count {
            processes.push(Bare::start(false)?);
        }
        for process in &mut processes {
            process.socket.write_all(&[1])?;
        }
        for process in &mut processes {
            process.socket.read_exact(&mut [0])?;
        }
        let floor = begin.elapsed();
        println!("first answers of {count:>4} bare processes   {}", millis(floor));
        for process in processes {
            process.kill()?;
        }
        for &durability in levels {
            let root = tempfile::tempdir()?;
            let node = Node::builder().durability(durability).open(root.path())?;
            let begin = Instant::now();
            let mut starting = tokio::task::JoinSet::new();
            for index in 0..count {
                let node = node.clone();
                starting.spawn(async move {
                    let counter = node.actor::<Counter>(format!("counter-{index}")).spawn().await?;
                    counter.increment(1).await?;
                    Ok::<_, persistent_actor_runtime::Error>(counter)
                });
            }
            let mut counters = Vec::new();
            while let Some(counter) = starting.join_next().await {
                counters.push(counter.map_err(std::io::Error::other)??);
            }
            let time = begin.elapsed();
            let mut pss = 0;
            for counter in &counters {
                pss += memory(counter.pid())?;
            }
            println!(
                "first replies of {count:>4} actors, {durability:<10}{}  {:.2} x floor; PSS {} KiB each",
                millis(time),
                time.as_secs_f64() / floor.as_secs_f64(),
                pss / count
            );
            node.shutdown().await;
        }
    }
    Ok(())
}

/// The memory of a process, in KiB, what it shares with others counted in part.
fn memory(pid: u32) -> Result<u64> {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    Ok(line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0))
}

fn median<T: Ord + Copy>(times: &mut [T]) -> T {
    times.sort_unstable();
    times[times.len() / 2]
}

fn millis(time: Duration) -> String {
    format!("{:>8.3} ms", time.as_secs_f64() * 1000.0)
}

fn report(what: &str, times: Vec<(Duration, [u64; 5])>, floor: Duration) {
    let mut all: Vec<Duration> = times.iter().map(|(time, _)| *time).collect();
    let all = median(&mut all);
    let ratio = all.as_secs_f64() / floor.as_secs_f64();
    println!("{:<54}{}  {ratio:.2} x floor", format!("kill to next reply, {what}"), millis(all));
    for (stage, name) in STAGES.iter().enumerate() {
        let mut part: Vec<u64> = times.iter().map(|(_, stages)| stages[stage]).collect();
        println!("    {name:<50}{}", millis(Duration::from_nanos(median(&mut part))));
    }
}
