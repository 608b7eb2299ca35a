//! One writer: the latency of a commit when the whole value changes, or 4 KiB of it.

use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use persistent_actor::Bytes;
use rand::RngExt;
use rand::rngs::StdRng;

use super::{Effort, Scratch};
use crate::catalogue::{CHANGE, Entry, Role};
use crate::engine::{Engine, Setup, Update};
use crate::pattern::{Pattern, changed};
use crate::stats::Round;

/// At most as many commits are timed in one turn.
const MAX_COMMITS: usize = 20_000;

/// What changes from commit to commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Every byte.
    Whole,
    /// [`CHANGE`] bytes in a random place.
    Part,
}

/// One turn of a row.
pub(crate) struct Turn {
    pub(crate) round: Round,
    /// Commits and upkeep together, for each commit. Microseconds.
    pub(crate) mean_us: f64,
}

/// The values of a turn, one after another.
struct Values<'a> {
    pattern: &'a Pattern,
    change: Change,
    random: &'a mut StdRng,
    generation: u64,
    /// The last value; handed over while its successor is committed, as an actor that changes its
    /// state does not keep the old one.
    value: Bytes,
}

impl Values<'_> {
    fn advance(&mut self) -> Range<usize> {
        self.generation += 1;
        let len = self.value.len();
        let whole = self.change == Change::Whole || self.generation == 1;
        let range = if whole {
            0..len
        } else {
            let start = self.random.random_range(0..=(len - CHANGE) / CHANGE) * CHANGE;
            start..start + CHANGE
        };
        self.value = match self.generation {
            1 => self.pattern.value(1),
            _ if whole => self.pattern.value(self.generation),
            _ => changed(&self.value, range.clone()),
        };
        range
    }
}

/// Opens the engine in a directory of its own and commits until the effort is made.
pub(crate) fn turn(
    entry: &Entry,
    pattern: &Pattern,
    len: usize,
    change: Change,
    effort: Effort,
    (parent, random): (&Path, &mut StdRng),
) -> Result<Turn> {
    let scratch = Scratch::create(parent)?;
    let mut engine = (entry.open)(&Setup { dir: scratch.path(), len })
        .with_context(|| format!("open {}", entry.name))?;
    let empty = Bytes::build(len, |out| out.fill(0));
    let mut values = Values { pattern, change, random, generation: 0, value: empty };
    let turn = measure(&mut *engine, &mut values, effort)
        .with_context(|| format!("commit {len} bytes to {}", entry.name))?;
    if entry.role != Role::Part {
        let found = engine.load()?;
        // What only measures I/O keeps no state to compare.
        let right = found.is_none_or(|found| found == values.value);
        ensure!(right, "{} does not hold the value it was given last", entry.name);
    }
    Ok(turn)
}

fn measure(engine: &mut dyn Engine, values: &mut Values<'_>, effort: Effort) -> Result<Turn> {
    let warm_up_end = Instant::now() + effort.budget / 5;
    for done in 0.. {
        if done >= 4 && (done >= 50 || Instant::now() > warm_up_end) {
            break;
        }
        step(engine, values)?;
    }
    let (mut times, mut busy) = (Vec::with_capacity(MAX_COMMITS), Duration::ZERO);
    let end = Instant::now() + effort.budget;
    while times.len() < MAX_COMMITS
        && (Instant::now() < end || (times.len() as u64) < effort.min_commits)
    {
        let (commit, all) = step(engine, values)?;
        times.push(u64::try_from(commit.as_nanos())?);
        busy += all;
    }
    let mean_us = busy.as_secs_f64() * 1e6 / times.len() as f64;
    Ok(Turn { round: Round::of(times).context("no commit was timed")?, mean_us })
}

/// Makes a value and commits it: the time of the commit, and that of commit and upkeep.
fn step(engine: &mut dyn Engine, values: &mut Values<'_>) -> Result<(Duration, Duration)> {
    let changed = values.advance();
    let start = Instant::now();
    engine.commit(&Update { value: &values.value, changed })?;
    let commit = start.elapsed();
    engine.upkeep()?;
    Ok((commit, start.elapsed()))
}
