//! Which tables there are, and their rows taking turns.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::catalogue::{self, CHANGE, Entry, Level, Role};
use crate::cli::{Mode, RunArgs, Workload};
use crate::memory;
use crate::pattern::Pattern;
use crate::progress::Progress;
use crate::row::{Row, Table};
use crate::stats::Spread;
use crate::workload::commit::{self, Change};
use crate::workload::{Effort, reopen, writers};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// The lengths of states that change wholly. Bytes.
const WHOLE_LENGTHS: [usize; 4] = [16, 4 * KIB, MIB, 10 * MIB];

/// From this length on, a quick run does not rewrite states to change 4 KiB of them, and no run
/// does beyond [`REWRITE_AT_MOST`]. Bytes.
const QUICK_REWRITE_BELOW: usize = 64 * MIB;
const REWRITE_AT_MOST: usize = 64 * MIB;

/// The names of all rows of all tables.
pub(crate) fn names() -> Vec<&'static str> {
    let commits = catalogue::entries().into_iter().chain(catalogue::change_entries());
    let mut names: Vec<&str> = commits.map(|entry| entry.name).collect();
    names.extend(writers::rows().iter().map(|row| row.name));
    names.sort_unstable();
    names.dedup();
    names
}

/// What a run does, and with what.
pub(crate) struct Run<'a> {
    args: &'a RunArgs,
    dir: &'a Path,
    effort: Effort,
    random: StdRng,
    progress: Progress,
}

impl<'a> Run<'a> {
    pub(crate) fn new(args: &'a RunArgs, dir: &'a Path, seed: u64) -> Self {
        let mut effort = match args.mode {
            Mode::Quick => {
                Effort { rounds: 3, budget: Duration::from_millis(50), min_commits: 5, kills: 3 }
            }
            Mode::Full => {
                Effort { rounds: 5, budget: Duration::from_millis(500), min_commits: 10, kills: 7 }
            }
        };
        if let Some(rounds) = args.rounds {
            effort.rounds = usize::try_from(rounds).unwrap_or(effort.rounds);
            effort.kills = effort.rounds;
        }
        let progress = Progress::new(args.quiet);
        Self { args, dir, effort, random: StdRng::seed_from_u64(seed), progress }
    }

    pub(crate) fn effort(&self) -> Effort {
        self.effort
    }

    /// Measures one workload, giving each table to `finished` as soon as it is complete.
    pub(crate) fn workload(
        &mut self,
        workload: Workload,
        finished: &mut dyn FnMut(Table) -> Result<()>,
    ) -> Result<()> {
        match workload {
            Workload::Commit => {
                for len in WHOLE_LENGTHS {
                    for level in [Level::Process, Level::Power] {
                        finished(self.whole(len, level)?)?;
                    }
                }
            }
            Workload::Change => {
                let gib = self.args.gib.then_some(1024 * MIB);
                for len in [MIB, 64 * MIB].into_iter().chain(gib) {
                    finished(self.change(len)?)?;
                }
            }
            Workload::Writers => {
                for count in [1, 16, 256] {
                    finished(self.writers(count)?)?;
                }
            }
            Workload::Reopen => {
                for len in [16, 10 * MIB] {
                    for level in [Level::Process, Level::Power] {
                        finished(self.reopen(len, level)?)?;
                    }
                }
            }
        }
        self.progress.clear();
        Ok(())
    }

    /// Whether the user wants to see a row.
    fn is_wanted(&self, name: &str, role: Role) -> bool {
        let words = &self.args.engines;
        let of_the_floor = matches!(role, Role::Part | Role::Floor);
        of_the_floor || words.is_empty() || words.iter().any(|word| name.contains(word.as_str()))
    }

    fn whole(&mut self, len: usize, level: Level) -> Result<Table> {
        let mut entries = catalogue::entries();
        entries.retain(|entry| entry.level == level && entry.from <= len);
        self.commits(entries, len, level, Change::Whole)
    }

    fn change(&mut self, len: usize) -> Result<Table> {
        let rewritten = match self.args.mode {
            Mode::Quick => len < QUICK_REWRITE_BELOW,
            Mode::Full => len <= REWRITE_AT_MOST,
        };
        let mut entries = catalogue::change_entries();
        entries.retain(|entry| rewritten || !catalogue::rewrites(entry));
        self.commits(entries, len, Level::Power, Change::Part)
    }

    fn commits(
        &mut self,
        mut entries: Vec<Entry>,
        len: usize,
        level: Level,
        change: Change,
    ) -> Result<Table> {
        entries.retain(|entry| self.is_wanted(entry.name, entry.role));
        let workload = if change == Change::Whole { "commit" } else { "change" };
        let pattern = Pattern::new(len);
        let mut turns: Vec<Vec<commit::Turn>> = entries.iter().map(|_| Vec::new()).collect();
        for round in 0..self.effort.rounds {
            for index in self.order(entries.len()) {
                let entry = &entries[index];
                self.progress.show(&format!("{workload} {len} B, round {round}: {}", entry.name));
                let place = (self.dir, &mut self.random);
                turns[index].push(commit::turn(entry, &pattern, len, change, self.effort, place)?);
            }
        }
        memory::release();
        let rows: Option<Vec<Row>> =
            entries.iter().zip(&turns).map(|(entry, turns)| commit_row(entry, turns)).collect();
        let changed_bytes = if change == Change::Whole { len } else { CHANGE };
        let rows = rows.context("a row without turns")?;
        Ok(table(workload, level, (len, changed_bytes), 1, rows))
    }

    fn writers(&mut self, count: usize) -> Result<Table> {
        let mut entries = writers::rows();
        entries.retain(|row| self.is_wanted(row.name, row.role));
        let mut effort = self.effort;
        // Threads take a while to find their rhythm.
        effort.budget *= 4;
        let mut turns: Vec<Vec<writers::Turn>> = entries.iter().map(|_| Vec::new()).collect();
        for round in 0..effort.rounds {
            for index in self.order(entries.len()) {
                let row = &entries[index];
                self.progress.show(&format!("{count} writers, round {round}: {}", row.name));
                turns[index].push(writers::turn(row, count, effort, self.dir)?);
            }
        }
        let rows: Option<Vec<Row>> =
            entries.iter().zip(&turns).map(|(row, turns)| writers_row(row, turns)).collect();
        let rows = rows.context("a row without turns")?;
        Ok(table("writers", Level::Power, (64, 64), count, rows))
    }

    fn reopen(&mut self, len: usize, level: Level) -> Result<Table> {
        let mut entries = catalogue::entries();
        entries.retain(|entry| {
            let fits = entry.level == level && entry.from <= len && entry.role != Role::Part;
            fits && self.is_wanted(entry.name, entry.role)
        });
        let mut turns: Vec<Vec<reopen::Turn>> = entries.iter().map(|_| Vec::new()).collect();
        for round in 0..self.effort.kills {
            for index in self.order(entries.len()) {
                let entry = &entries[index];
                self.progress.show(&format!("reopen {len} B, round {round}: {}", entry.name));
                turns[index].push(reopen::turn(entry, len, self.dir, &mut self.random)?);
            }
        }
        let rows: Option<Vec<Row>> =
            entries.iter().zip(&turns).map(|(entry, turns)| reopen_row(entry, turns)).collect();
        Ok(table("reopen", level, (len, len), 1, rows.context("a row without turns")?))
    }

    /// The rows of a table in a new order.
    fn order(&mut self, rows: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..rows).collect();
        order.shuffle(&mut self.random);
        order
    }
}

fn table(
    workload: &'static str,
    level: Level,
    (value_bytes, changed_bytes): (usize, usize),
    writers: usize,
    rows: Vec<Row>,
) -> Table {
    let floor = None;
    let mut table = Table { workload, level, value_bytes, changed_bytes, writers, floor, rows };
    table.relate();
    table
}

/// A row of which only the latency is known.
fn bare_row(entry: &Entry, rounds: usize, count: u64, p50_us: Spread) -> Row {
    Row {
        engine: entry.name,
        role: entry.role,
        survives: entry.survives,
        about: entry.about,
        rounds,
        count,
        p50_us,
        p99_us: None,
        max_us: None,
        mean_with_upkeep_us: None,
        commits_per_second: None,
        commits_per_batch: None,
        open_us: None,
        load_us: None,
        lost_commits: None,
        ratio_to_floor: None,
    }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    Spread::of(values).map(|spread| spread.median)
}

fn commit_row(entry: &Entry, turns: &[commit::Turn]) -> Option<Row> {
    let p50 = Spread::of(turns.iter().map(|turn| turn.round.p50_us))?;
    let count = turns.iter().map(|turn| turn.round.commits).sum();
    let mut row = bare_row(entry, turns.len(), count, p50);
    row.p99_us = median(turns.iter().map(|turn| turn.round.p99_us));
    row.max_us = Spread::of(turns.iter().map(|turn| turn.round.max_us)).map(|spread| spread.max);
    row.mean_with_upkeep_us = median(turns.iter().map(|turn| turn.mean_us));
    Some(row)
}

fn writers_row(row: &writers::Row, turns: &[writers::Turn]) -> Option<Row> {
    let p50 = Spread::of(turns.iter().map(|turn| turn.round.p50_us))?;
    let count = turns.iter().map(|turn| turn.round.commits).sum();
    let mut new = Row {
        engine: row.name,
        role: row.role,
        survives: "power",
        about: row.about,
        ..bare_row(&catalogue::entries()[0], turns.len(), count, p50)
    };
    new.p99_us = median(turns.iter().map(|turn| turn.round.p99_us));
    new.max_us = Spread::of(turns.iter().map(|turn| turn.round.max_us)).map(|spread| spread.max);
    new.commits_per_second = Spread::of(turns.iter().map(|turn| turn.per_second));
    new.commits_per_batch = median(turns.iter().filter_map(|turn| turn.batch));
    Some(new)
}

fn reopen_row(entry: &Entry, turns: &[reopen::Turn]) -> Option<Row> {
    let total = |turn: &reopen::Turn| turn.loaded.open_us + turn.loaded.load_us;
    let sum = Spread::of(turns.iter().map(total))?;
    let mut row = bare_row(entry, turns.len(), turns.len() as u64, sum);
    row.open_us = median(turns.iter().map(|turn| turn.loaded.open_us));
    row.load_us = median(turns.iter().map(|turn| turn.loaded.load_us));
    row.lost_commits = turns.iter().map(|turn| turn.lost).max();
    Some(row)
}
