//! What the numbers were measured on, and what makes them doubtful.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::Serialize;

/// `f_type` of tmpfs (`statfs(2)`).
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// The machine.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    /// In words.
    pub(crate) description: String,
    /// Reasons to distrust the numbers.
    pub(crate) warnings: Vec<String>,
}

/// Looks at the machine; `description` replaces what was found.
pub(crate) fn look(dir: &Path, description: Option<String>) -> Result<Machine> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let description = match description {
        Some(description) => description,
        None => describe(processors, dir),
    };
    let mut warnings = Vec::new();
    if cfg!(debug_assertions) {
        warnings.push("this is a debug build: build with --release".to_owned());
    }
    let load = f64::from(u32::try_from(rustix::system::sysinfo().loads[0])?) / 65536.0;
    if load > 0.5 * processors as f64 {
        let busy = format!("the machine is busy: load {load:.1} on {processors} processors");
        warnings.push(busy);
    }
    let statfs = rustix::fs::statfs(dir).with_context(|| format!("look at {}", dir.display()))?;
    if statfs.f_type == TMPFS_MAGIC {
        let tmpfs = "is in memory (tmpfs): nothing survives power loss there, and rows of level \
                     power mean nothing; name a directory on a disk with --dir";
        warnings.push(format!("{} {tmpfs}", dir.display()));
    }
    Ok(Machine { description, warnings })
}

/// Above this share of the time in which somebody waited for a processor, medians of waits are
/// those of the scheduler.
const BUSY_SHARE: f64 = 0.2;

/// How crowded the processors are while a run lasts; kernels without pressure information say
/// nothing.
pub(crate) struct Crowding {
    start: Instant,
    waited_us: Option<u64>,
}

impl Crowding {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now(), waited_us: waited_us() }
    }

    /// Reasons to distrust what was measured since the start.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let waited = self.waited_us.zip(waited_us()).map(|(then, now)| now.saturating_sub(then));
        let share = waited.map_or(0.0, |us| us as f64 / 1e6 / self.start.elapsed().as_secs_f64());
        if share > BUSY_SHARE {
            warnings.push(format!(
                "others were at work: in {:.0} % of the time some process waited for a \
                 processor. A commit that sleeps until the disk is done then waits its turn, so \
                 rows of level power show the scheduler more than the stores; compare their \
                 lowest rounds at most, and measure again on an idle machine",
                share * 100.0
            ));
        }
        if let Ok(nice @ 1..) = rustix::process::getpriority_process(None) {
            warnings.push(format!("the benchmark ran at low priority (nice {nice})"));
        }
        warnings
    }
}

/// The time in which some process waited for a processor, since the machine started.
/// Microseconds. See `Documentation/accounting/psi.rst` of Linux.
fn waited_us() -> Option<u64> {
    let text = fs::read_to_string("/proc/pressure/cpu").ok()?;
    let line = text.lines().find(|line| line.starts_with("some "))?;
    line.rsplit_once("total=")?.1.parse().ok()
}

fn describe(processors: usize, dir: &Path) -> String {
    let mut text = format!("{processors} × {}", field("/proc/cpuinfo", "model name"));
    let memory = field("/proc/meminfo", "MemTotal");
    if let Some(kib) = memory.split(' ').next().and_then(|kib| kib.parse::<u64>().ok()) {
        let _ = write!(text, ", {:.0} GiB", kib as f64 / f64::from(1 << 20));
    }
    let _ = write!(text, ", {}", file_system(dir).unwrap_or_else(|| "unknown file system".into()));
    let kernel = rustix::system::uname();
    let _ = write!(text, ", Linux {}", kernel.release().to_string_lossy());
    text
}

/// The first `key: value` of a file of `/proc`.
fn field(file: &str, key: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(key));
    let value = line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim());
    value.unwrap_or("unknown").to_owned()
}

/// The type of the file system that `dir` is on.
fn file_system(dir: &Path) -> Option<String> {
    let dir = dir.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let candidates = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (point, kind) = (words.next()?, words.next()?);
        dir.starts_with(point).then(|| (point.len(), kind.to_owned()))
    });
    candidates.max_by_key(|(len, _)| *len).map(|(_, kind)| kind)
}
