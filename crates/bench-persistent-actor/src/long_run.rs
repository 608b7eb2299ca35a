//! `long-run`: whether a long life costs anything, over many calls to one actor through the local
//! engine: latency, memory of both processes, disk.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use persistent_actor::Durability;
use persistent_actor_runtime::{CallError, Error, Handle, Node};

use crate::actors::{SmallActor, SmallActorHandle};
use crate::cli::LongRunArgs;
use crate::machine_load::LoadWatch;
use crate::measurement::{Distribution, quantile};
use crate::member::Member;
use crate::notes::{self, Notes};
use crate::scenario::{self, UsageError};
use crate::{processor, warnings};

/// How many rows a run gives.
pub const PARTS: u64 = 10;

/// How often within a row memory and disk are looked at; the largest counts.
const LOOKS: u64 = 10;

/// The columns of the CSV output. Latencies are those of the calls since the row before; memory
/// and disk the largest seen among them.
const COLUMNS: &str = "calls,level,median_us,p99_us,p999_us,p9999_us,longest_us,worker_pss_bytes,\
                       worker_rss_bytes,node_pss_bytes,node_rss_bytes,disk_bytes";

/// A long run could not be made.
#[derive(Debug, thiserror::Error)]
pub enum LongRunError {
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] Error),
    /// The system refused something.
    #[error("cannot {0}: {1}")]
    System(&'static str, #[source] io::Error),
    /// There is no place for the state.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// The actor has not applied the calls that were answered.
    #[error("{answered} calls were answered, but {applied} applied")]
    Wrong {
        /// How many were answered.
        answered: u64,
        /// How many took effect.
        applied: u64,
    },
}

impl LongRunError {
    /// Whether what was typed is wrong.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Usage(_))
    }
}

impl From<CallError> for LongRunError {
    fn from(error: CallError) -> Self {
        Self::Engine(error.into())
    }
}

/// What one part of the calls gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// How many calls were made up to its end.
    pub calls: u64,
    /// The time of a call. Microseconds.
    pub us: Distribution,
    /// 9 999 of 10 000 are shorter. Microseconds.
    pub p9999_us: f64,
    /// The memory of the actor's process.
    pub worker: Memory,
    /// The memory of this process.
    pub node: Memory,
    /// What the state takes on disk. Bytes.
    pub disk_bytes: u64,
}

/// The memory of a process (`smaps_rollup`, proc(5)). Bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Memory {
    /// Of what is shared with other processes only its part.
    pub pss_bytes: u64,
    /// All that is in memory.
    pub rss_bytes: u64,
}

impl Memory {
    /// The memory of a process.
    ///
    /// # Errors
    /// If the process is gone, or the kernel does not tell.
    pub fn of(pid: u32) -> io::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let bytes = |name: &str| -> Option<u64> {
            let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
            Some(rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
        };
        let both = bytes("Pss:").zip(bytes("Rss:"));
        let (pss_bytes, rss_bytes) = both.ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { pss_bytes, rss_bytes })
    }

    fn max(self, other: Self) -> Self {
        Self {
            pss_bytes: self.pss_bytes.max(other.pss_bytes),
            rss_bytes: self.rss_bytes.max(other.rss_bytes),
        }
    }
}

/// Makes `calls` calls to one actor of a new node with its state in `path`, and gives each part to
/// `seen`.
///
/// # Errors
/// See [`LongRunError`].
pub async fn run(
    path: &Path,
    durability: Durability,
    calls: u64,
    mut seen: impl FnMut(&Part) -> Result<(), LongRunError>,
) -> Result<(), LongRunError> {
    let builder = Node::builder().durability(durability);
    let node = match durability {
        Durability::None => builder.in_memory(),
        _ => builder.open(path),
    };
    let node = node.map_err(Error::from)?;
    let member = SmallActorHandle::spawn(&node, "actor".to_owned()).await.map_err(Error::from)?;
    for part in 0..PARTS {
        let range = calls * part / PARTS..calls * (part + 1) / PARTS;
        seen(&self::part(&member, path, range).await?)?;
    }
    let applied = member.applied().await?;
    if applied != calls {
        return Err(LongRunError::Wrong { answered: calls, applied });
    }
    node.shutdown().await;
    Ok(())
}

async fn part(
    member: &SmallActorHandle,
    path: &Path,
    range: std::ops::Range<u64>,
) -> Result<Part, LongRunError> {
    let calls = range.end;
    let every = (range.end - range.start).div_ceil(LOOKS).max(1);
    let mut times = Vec::with_capacity((range.end - range.start) as usize);
    let (mut worker, mut node, mut disk_bytes) = (Memory::default(), Memory::default(), 0);
    let memory = |pid| Memory::of(pid).map_err(|e| LongRunError::System("read the memory", e));
    for call in range {
        let begin = Instant::now();
        // The same small value each time: the state does not grow by itself.
        member.process(0, SmallActorHandle::value(0)).await?;
        times.push(begin.elapsed().as_secs_f64() * 1e6);
        if (call + 1) % every == 0 {
            worker = worker.max(memory(pid(member))?);
            node = node.max(memory(std::process::id())?);
            let disk = disk_bytes_of(path).map_err(|e| LongRunError::System("look at files", e));
            disk_bytes = disk_bytes.max(disk?);
        }
    }
    times.sort_by(f64::total_cmp);
    let p9999_us = quantile(&times, 0.9999).unwrap_or(f64::NAN);
    let nothing = Distribution { min: 0.0, median: 0.0, p99: 0.0, p999: 0.0, max: 0.0 };
    let us = Distribution::of(times).unwrap_or(nothing);
    Ok(Part { calls, us, p9999_us, worker, node, disk_bytes })
}

fn pid(member: &Handle<SmallActor>) -> u32 {
    member.pid()
}

/// What a directory takes on disk. Bytes.
fn disk_bytes_of(path: &Path) -> io::Result<u64> {
    let mut all = 0;
    let mut directories = vec![path.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            match entry.metadata() {
                Ok(found) if found.is_dir() => directories.push(entry.path()),
                Ok(found) => all += found.blocks() * 512,
                // The actor replaces its files while we look.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(all)
}

/// The subcommand: CSV on standard output.
///
/// # Errors
/// See [`LongRunError`].
pub fn main(args: &LongRunArgs) -> Result<(), LongRunError> {
    let dir = scenario::temporary_dir("--dir", args.dir.as_deref())?;
    if let Err(error) = processor::stay_on_one() {
        notes::print(&format!("warning: cannot stay on one processor: {error}"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| LongRunError::System("start the runtime", error))?;
    let watch = LoadWatch::begin();
    let notes = Notes::new(PARTS, "parts", args.quiet);
    let level: Durability = args.durability.into();
    print(&format!("{COLUMNS}\n"))?;
    let done = runtime.block_on(run(dir.path(), level, args.calls, |part| {
        notes.step_done();
        print(&row(part, level))
    }));
    notes.end();
    done?;
    for warning in warnings::of_machine(&watch.end()) {
        notes::print(&format!("warning: {warning}"));
    }
    Ok(())
}

/// The parts of a run from its output; `None` if it is not whole.
pub fn read(text: &str) -> Option<Vec<Part>> {
    let mut lines = text.lines();
    if lines.next()? != COLUMNS {
        return None;
    }
    let parts: Vec<Part> = lines.map(read_row).collect::<Option<_>>()?;
    (parts.len() as u64 == PARTS).then_some(parts)
}

fn read_row(line: &str) -> Option<Part> {
    let fields: Vec<&str> = line.split(',').collect();
    let [calls, _level, median, p99, p999, p9999, max, memory @ .., disk] = &fields[..] else {
        return None;
    };
    let [worker_pss, worker_rss, node_pss, node_rss] = memory else { return None };
    let time = |text: &str| text.parse::<f64>().ok();
    let bytes = |text: &str| text.parse::<u64>().ok();
    let memory =
        |pss: &str, rss: &str| Some(Memory { pss_bytes: bytes(pss)?, rss_bytes: bytes(rss)? });
    let median = time(median)?;
    Some(Part {
        calls: bytes(calls)?,
        // The shortest is not in the file; no row needs it.
        us: Distribution {
            min: f64::NAN,
            median,
            p99: time(p99)?,
            p999: time(p999)?,
            max: time(max)?,
        },
        p9999_us: time(p9999)?,
        worker: memory(worker_pss, worker_rss)?,
        node: memory(node_pss, node_rss)?,
        disk_bytes: bytes(disk)?,
    })
}

fn print(text: &str) -> Result<(), LongRunError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(LongRunError::System("write to standard output", error))
        }
        _ => Ok(()),
    }
}

fn row(part: &Part, level: Durability) -> String {
    let Part { calls, us, p9999_us, worker, node, disk_bytes } = part;
    format!(
        "{calls},{level},{:.1},{:.1},{:.1},{p9999_us:.1},{:.1},{},{},{},{},{disk_bytes}\n",
        us.median,
        us.p99,
        us.p999,
        us.max,
        worker.pss_bytes,
        worker.rss_bytes,
        node.pss_bytes,
        node.rss_bytes
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_this_process_is_known() {
        let memory = Memory::of(std::process::id()).unwrap();
        assert!(memory.rss_bytes >= memory.pss_bytes && memory.pss_bytes > 0);
        assert!(Memory::of(u32::MAX).is_err());
    }

    #[test]
    fn files_in_all_directories_count() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(disk_bytes_of(&dir.path().join("missing")).unwrap(), 0);
        std::fs::create_dir(dir.path().join("inner")).unwrap();
        std::fs::write(dir.path().join("inner/file"), vec![1; 10_000]).unwrap();
        assert!(disk_bytes_of(dir.path()).unwrap() >= 10_000);
    }

    #[test]
    fn a_row_has_every_column() {
        let us = Distribution { min: 1.0, median: 2.0, p99: 3.0, p999: 4.0, max: 5.0 };
        let (worker, node) = (Memory::default(), Memory::default());
        let part = Part { calls: 7, us, p9999_us: 4.5, worker, node, disk_bytes: 9 };
        let row = row(&part, Durability::Power);
        assert_eq!(row.trim_end().split(',').count(), COLUMNS.split(',').count());
        assert!(row.starts_with("7,power,2.0,3.0,4.0,4.5,5.0,"), "{row}");
        let whole = format!("{COLUMNS}\n{}", row.repeat(PARTS as usize));
        let parts = read(&whole).unwrap();
        assert_eq!((parts.len(), parts[0].us.p99, parts[9].disk_bytes), (10, 3.0, 9));
        assert!(read(&format!("{COLUMNS}\n{row}")).is_none(), "not whole");
        assert!(read("").is_none());
    }
}
