//! `floors`: what the machine allows, measured side by side with what a call costs.
//!
//! Absolute times vary from machine to machine and from hour to hour. So everything is measured
//! in the same run, in turn, several times over, and a call is judged by its ratio to the sum of
//! the floors that it cannot avoid.

mod machine;
mod product;
mod table;

use std::io::{self, Write};
use std::path::Path;

use persistent_actor::Durability;
use persistent_actor_runtime::Error;
use serde::Serialize;
use tokio::runtime::Runtime;

use crate::cli::FloorsArgs;
use crate::measurement::median;
use crate::notes;
use crate::processor;
use crate::state_dir::{StateDir, StateDirError};

pub use machine::echo;

/// The floors cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum FloorsError {
    /// The system refused something.
    #[error("cannot {0}: {1}")]
    System(&'static str, #[source] io::Error),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] Error),
    /// There is no place for files.
    #[error("--dir: {0}")]
    Dir(#[from] StateDirError),
}

/// Something that is timed.
trait Probe {
    /// Does it once, or a few times, and gives the time of each. Microseconds.
    fn sample(&mut self, runtime: &Runtime) -> Result<Vec<f64>, FloorsError>;
}

/// What is measured; the names of the JSON output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum What {
    /// 64 bytes to another process and back.
    Socket,
    /// The same with tokio on this side.
    SocketTokio,
    /// 64 bytes written and synced, in a file that was written before.
    Fdatasync,
    /// A round trip, then a sync.
    SocketFdatasync,
    /// A call of a small actor.
    SmallNone,
    SmallProcess,
    SmallPower,
    /// 10 MiB added out of place, not in cache.
    Add,
    /// 10 MiB written and synced, in a file that was written before.
    WriteLarge,
    /// A call of a large actor.
    LargeNone,
    LargeProcess,
    LargePower,
}

impl What {
    fn text(self) -> &'static str {
        match self {
            Self::Socket => "socket round trip, 64 bytes",
            Self::SocketTokio => "the same, tokio on one side",
            Self::Fdatasync => "write of 64 bytes + fdatasync",
            Self::SocketFdatasync => "socket round trip + write + fdatasync",
            Self::SmallNone => "small call, none",
            Self::SmallProcess => "small call, process",
            Self::SmallPower => "small call, power",
            Self::Add => "10 MiB added out of place, cold",
            Self::WriteLarge => "write of 10 MiB + fdatasync",
            Self::LargeNone => "large call, none",
            Self::LargeProcess => "large call, process",
            Self::LargePower => "large call, power",
        }
    }
}

/// What was found of one thing.
#[derive(Clone, Debug, Serialize)]
struct Found {
    what: What,
    /// The median of all samples.
    median_us: f64,
    /// The lowest median of a repeat.
    low_us: f64,
    /// The highest median of a repeat.
    high_us: f64,
}

/// Measures and prints.
///
/// # Errors
/// See [`FloorsError`].
pub fn main(args: &FloorsArgs) -> Result<(), FloorsError> {
    let root = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let dir = StateDir::temporary(&root)?;
    if dir.is_in_memory() {
        notes::print("warning: the directory is in memory: its syncs cost nothing; use --dir");
    }
    if cfg!(debug_assertions) {
        notes::print("note: this is a debug build; its times mean little (use --release)");
    }
    std::fs::create_dir(dir.path())
        .map_err(|error| FloorsError::System("make a directory", error))?;
    // As a run does: floors and calls alike.
    if let Err(error) = processor::stay_on_one() {
        notes::print(&format!("warning: cannot stay on one processor: {error}"));
    }
    let found = measure(args.repeats, dir.path())?;
    let text = if args.json { table::json(&found) } else { table::text(&found) };
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(FloorsError::System("write to standard output", error))
        }
        _ => Ok(()),
    }
}

fn measure(repeats: u64, dir: &Path) -> Result<Vec<Found>, FloorsError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| FloorsError::System("start the runtime", error))?;
    let mut probes = probes(&runtime, dir)?;
    let mut samples: Vec<Vec<Vec<f64>>> = vec![Vec::new(); probes.len()];
    // The first time is slow: caches, files and buffers are cold.
    for (_, probe) in &mut probes {
        probe.sample(&runtime)?;
    }
    for _ in 0..repeats {
        for ((_, probe), samples) in probes.iter_mut().zip(&mut samples) {
            samples.push(probe.sample(&runtime)?);
        }
    }
    Ok(probes
        .iter()
        .zip(samples)
        .filter_map(|((what, _), samples)| found(*what, samples))
        .collect())
}

/// All that is measured, in the order of the table.
type Probes = Vec<(What, Box<dyn Probe>)>;

fn probes(runtime: &Runtime, dir: &Path) -> Result<Probes, FloorsError> {
    let small = |durability| product::Small::start(runtime, dir, durability);
    let large = |durability| product::Large::start(runtime, dir, durability);
    Ok(vec![
        (What::Socket, Box::new(machine::Socket::start()?)),
        (What::SocketTokio, Box::new(machine::SocketTokio::start(runtime)?)),
        (What::SmallNone, Box::new(small(Durability::None)?)),
        (What::SmallProcess, Box::new(small(Durability::Process)?)),
        (What::Fdatasync, Box::new(machine::SmallSync::start(dir)?)),
        (What::SocketFdatasync, Box::new(machine::SocketSync::start(dir)?)),
        (What::SmallPower, Box::new(small(Durability::Power)?)),
        (What::Add, Box::new(machine::Add::start())),
        (What::LargeNone, Box::new(large(Durability::None)?)),
        (What::LargeProcess, Box::new(large(Durability::Process)?)),
        (What::WriteLarge, Box::new(machine::LargeSync::start(dir)?)),
        (What::LargePower, Box::new(large(Durability::Power)?)),
    ])
}

fn found(what: What, samples: Vec<Vec<f64>>) -> Option<Found> {
    let medians: Vec<f64> = samples.iter().filter_map(|repeat| median(repeat.clone())).collect();
    Some(Found {
        what,
        median_us: median(samples.concat())?,
        low_us: medians.iter().copied().min_by(f64::total_cmp)?,
        high_us: medians.iter().copied().max_by(f64::total_cmp)?,
    })
}

/// The time that something took, in microseconds.
fn micros(begin: std::time::Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1e6
}
