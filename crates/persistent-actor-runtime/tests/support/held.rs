//! A large actor, whose memory is held, and who holds it.
#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses its part")]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use persistent_actor_runtime::{Bytes, actor, safe_state};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

pub(crate) const LEN: usize = 6 << 20;
/// How long a test waits for something before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// An array whose bytes are all the same.
#[derive(Serialize, Deserialize)]
pub(crate) struct Block {
    data: Bytes,
}

impl Default for Block {
    fn default() -> Self {
        Self { data: Bytes::build(LEN, |out| out.fill(0)) }
    }
}

#[actor]
impl Block {
    /// Adds to every byte.
    #[safe_state("data")]
    pub(crate) fn add(&mut self, other: Bytes) -> Bytes {
        self.data = Bytes::build(LEN, |out| {
            let sums = self.data.iter().zip(&other[..]).map(|(a, b)| a.wrapping_add(*b));
            out.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum);
        });
        self.data.clone()
    }

    pub(crate) fn data(&self) -> Bytes {
        self.data.clone()
    }

    pub(crate) fn process(&self) -> u32 {
        std::process::id()
    }

    /// Starts a program that has nothing to do with this one.
    pub(crate) fn start_program(&self) -> u32 {
        Command::new("sleep").arg("100").stdin(Stdio::null()).spawn().unwrap().id()
    }
}

pub(crate) fn filled(value: u8) -> Bytes {
    Bytes::build(LEN, |out| out.fill(value))
}

pub(crate) fn filled_with(bytes: &Bytes) -> Option<u8> {
    let first = *bytes.first()?;
    (bytes.len() == LEN && bytes.iter().all(|byte| *byte == first)).then_some(first)
}

pub(crate) fn id(pid: u32) -> Pid {
    Pid::from_raw(pid.try_into().unwrap()).unwrap()
}

pub(crate) fn kill(pid: u32) {
    kill_process(id(pid), Signal::KILL).unwrap();
}

/// This worker and what it has started, also what is dead and not waited for: they are in its
/// process group. Ids and names.
pub(crate) fn group_of(worker: u32) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap() {
        let Ok(pid) = entry.unwrap().file_name().to_string_lossy().parse::<u32>() else { continue };
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let Some((start, rest)) = stat.rsplit_once(") ") else { continue };
        let group = rest.split(' ').nth(2).unwrap();
        if group.parse() == Ok(worker) {
            let (_, name) = start.split_once('(').unwrap();
            found.push((pid, name.to_owned()));
        }
    }
    found
}

/// The holders of the memory of this worker, also dead ones.
pub(crate) fn holders_of(worker: u32) -> Vec<u32> {
    let group = group_of(worker).into_iter();
    group.filter(|(_, name)| name == "actor-memory").map(|(pid, _)| pid).collect()
}

/// Like [`holder_of`]; nothing else of this program runs on this thread meanwhile.
pub(crate) fn holder_of_while_busy(worker: u32) -> u32 {
    let begin = Instant::now();
    loop {
        if let [holder] = holders_of(worker)[..] {
            return holder;
        }
        assert!(begin.elapsed() < PATIENCE, "nobody holds the memory");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The holder of the memory of an actor that has answered a large call.
pub(crate) async fn holder_of(worker: u32) -> u32 {
    let begin = Instant::now();
    loop {
        if let [holder] = holders_of(worker)[..] {
            return holder;
        }
        assert!(begin.elapsed() < PATIENCE, "nobody holds the memory");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub(crate) async fn wait_until_gone(holder: u32) {
    let begin = Instant::now();
    while std::path::Path::new(&format!("/proc/{holder}")).exists() {
        assert!(begin.elapsed() < PATIENCE, "it is still there, if only as a zombie");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A holder closes all that it got from its worker.
pub(crate) async fn wait_until_only_its_program_is_open(holder: u32) {
    let begin = Instant::now();
    loop {
        let entries = std::fs::read_dir(format!("/proc/{holder}/fd")).unwrap();
        let links = entries.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
        let open: Vec<_> = links.map(|link| link.display().to_string()).collect();
        if matches!(&open[..], [one] if one.contains("pidfd")) {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "open: {open:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
