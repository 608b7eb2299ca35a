//! The results as text, JSON and CSV.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;

use anyhow::Result;
use serde::Serialize;

use crate::catalogue::Role;
use crate::machine::Machine;
use crate::row::{Row, Table};
use crate::targets::{self, Target};

/// Everything that a run found out.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) version: &'static str,
    /// When the run began, UTC, RFC 3339.
    pub(crate) started: String,
    pub(crate) machine: Machine,
    pub(crate) mode: &'static str,
    pub(crate) seed: u64,
    pub(crate) rounds: usize,
    pub(crate) budget_ms: u128,
    pub(crate) tables: Vec<Table>,
    pub(crate) targets: Vec<Target>,
    /// Reasons to distrust the numbers that showed while they were measured.
    pub(crate) warnings_after: Vec<String>,
}

impl Report {
    /// Adds a table and looks again at the targets.
    pub(crate) fn push(&mut self, table: Table) {
        self.tables.push(table);
        self.targets = targets::check(&self.tables);
    }

    pub(crate) fn write_json(&self, to: &mut dyn Write) -> Result<()> {
        serde_json::to_writer_pretty(&mut *to, self)?;
        Ok(writeln!(to)?)
    }

    pub(crate) fn write_csv(&self, to: &mut dyn Write) -> Result<()> {
        let mut csv = csv::Writer::from_writer(to);
        for table in &self.tables {
            for row in &table.rows {
                csv.serialize(CsvRow::new(table, row))?;
            }
        }
        Ok(csv.flush()?)
    }

    /// What the run was, before its tables.
    pub(crate) fn head(&self) -> String {
        let mut text = String::from("# Store comparison\n\n");
        let _ = writeln!(text, "{}, {}.", self.started, self.machine.description);
        let _ = writeln!(
            text,
            "store-comparison {} --mode {} --seed {}: {} rounds, rows of a table in random order \
             in each; a turn of a row lasts at most {} ms.",
            self.version, self.mode, self.seed, self.rounds, self.budget_ms
        );
        if !cfg!(feature = "rocksdb") {
            text.push_str("RocksDB was left out: built without the feature `rocksdb`.\n");
        }
        for warning in &self.machine.warnings {
            let _ = writeln!(text, "\nWarning: {warning}.");
        }
        text.push_str(
            "\nTimes in µs: the median over the rounds of each round's p50, with the lowest and \
             highest round; p99 is the median of each round's. \"with upkeep\" is the mean of a \
             commit and of what the store does after the reply has left. × floor refers to the \
             best hand-made file that keeps the same promise. † a part of the work, not a store; \
             ‡ keeps less than its table promises.\n",
        );
        text
    }

    /// What the rows are, and the targets, after the tables.
    pub(crate) fn tail(&self) -> String {
        let mut text = String::from("## Rows\n\n");
        let rows =
            self.tables.iter().flat_map(|table| table.rows.iter().map(move |row| (table, row)));
        let about: BTreeMap<(&str, &str), &str> =
            rows.map(|(table, row)| ((row.engine, table.level.name()), row.about)).collect();
        for ((engine, level), about) in about {
            let _ = writeln!(text, "- `{engine}` ({level}): {about}");
        }
        if !self.targets.is_empty() {
            text.push_str("\n## Targets\n\n| ratio | measured | target | |\n|---|---:|---:|---|\n");
        }
        for target in &self.targets {
            let sign = if target.at_least { "≥" } else { "≤" };
            let met = if target.is_met() { "met" } else { "MISSED" };
            let Target { what, measured, bound, .. } = target;
            let _ = writeln!(text, "| {what} | {measured:.2} | {sign} {bound} | {met} |");
        }
        for warning in &self.warnings_after {
            let _ = writeln!(text, "\nWarning: {warning}.");
        }
        text
    }
}

/// A line of the CSV file.
#[derive(Serialize)]
struct CsvRow<'a> {
    workload: &'a str,
    level: &'a str,
    value_bytes: usize,
    changed_bytes: usize,
    writers: usize,
    engine: &'a str,
    role: Role,
    survives: &'a str,
    rounds: usize,
    count: u64,
    p50_us: f64,
    p50_us_min: f64,
    p50_us_max: f64,
    p99_us: Option<f64>,
    max_us: Option<f64>,
    mean_with_upkeep_us: Option<f64>,
    commits_per_second: Option<f64>,
    commits_per_second_min: Option<f64>,
    commits_per_second_max: Option<f64>,
    commits_per_batch: Option<f64>,
    open_us: Option<f64>,
    load_us: Option<f64>,
    lost_commits: Option<u64>,
    floor: Option<&'a str>,
    ratio_to_floor: Option<f64>,
}

impl<'a> CsvRow<'a> {
    fn new(table: &'a Table, row: &'a Row) -> Self {
        Self {
            workload: table.workload,
            level: table.level.name(),
            value_bytes: table.value_bytes,
            changed_bytes: table.changed_bytes,
            writers: table.writers,
            engine: row.engine,
            role: row.role,
            survives: row.survives,
            rounds: row.rounds,
            count: row.count,
            p50_us: row.p50_us.median,
            p50_us_min: row.p50_us.min,
            p50_us_max: row.p50_us.max,
            p99_us: row.p99_us,
            max_us: row.max_us,
            mean_with_upkeep_us: row.mean_with_upkeep_us,
            commits_per_second: row.commits_per_second.map(|rate| rate.median),
            commits_per_second_min: row.commits_per_second.map(|rate| rate.min),
            commits_per_second_max: row.commits_per_second.map(|rate| rate.max),
            commits_per_batch: row.commits_per_batch,
            open_us: row.open_us,
            load_us: row.load_us,
            lost_commits: row.lost_commits,
            floor: table.floor,
            ratio_to_floor: row.ratio_to_floor,
        }
    }
}

/// A table as text that is also Markdown.
pub(crate) fn text(table: &Table) -> String {
    let lines: Vec<Vec<String>> = match table.workload {
        "writers" => writers_lines(table),
        "reopen" => reopen_lines(table),
        _ => commit_lines(table),
    };
    format!("## {}\n\n{}", title(table), aligned(&lines))
}

fn title(table: &Table) -> String {
    let (size, level) = (bytes(table.value_bytes), table.level.name());
    match table.workload {
        "writers" if table.writers == 1 => format!("1 writer of {size} records, {level}"),
        "writers" => format!("{} writers of {size} records, {level}", table.writers),
        "reopen" => format!("Killed, reopened and loaded: {size}, {level}"),
        "change" => format!("Commit of {} changed in {size}, {level}", bytes(table.changed_bytes)),
        _ => format!("Commit of {size}, {level}"),
    }
}

fn name(row: &Row) -> String {
    let mark = match (row.role, row.survives) {
        (Role::Part, _) => " †",
        (_, "nothing") => " ‡",
        _ => "",
    };
    match row.role {
        Role::Product => format!("**{}**", row.engine),
        _ => format!("{}{mark}", row.engine),
    }
}

fn ratio(row: &Row) -> String {
    row.ratio_to_floor.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"))
}

fn optional(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), number)
}

fn headings(words: &[&str]) -> Vec<Vec<String>> {
    vec![words.iter().map(|word| (*word).to_owned()).collect()]
}

fn commit_lines(table: &Table) -> Vec<Vec<String>> {
    let mut lines = headings(&[
        "engine",
        "survives",
        "p50 µs",
        "lowest",
        "highest",
        "p99",
        "with upkeep",
        "× floor",
        "commits",
    ]);
    lines.extend(table.rows.iter().map(|row| {
        vec![
            name(row),
            row.survives.to_owned(),
            number(row.p50_us.median),
            number(row.p50_us.min),
            number(row.p50_us.max),
            optional(row.p99_us),
            optional(row.mean_with_upkeep_us),
            ratio(row),
            row.count.to_string(),
        ]
    }));
    lines
}

fn writers_lines(table: &Table) -> Vec<Vec<String>> {
    let mut lines = headings(&[
        "engine",
        "survives",
        "commits/s",
        "lowest",
        "highest",
        "p50 µs",
        "p99",
        "per batch",
        "× floor",
    ]);
    lines.extend(table.rows.iter().map(|row| {
        let rate = row.commits_per_second;
        vec![
            name(row),
            row.survives.to_owned(),
            optional(rate.map(|rate| rate.median)),
            optional(rate.map(|rate| rate.min)),
            optional(rate.map(|rate| rate.max)),
            number(row.p50_us.median),
            optional(row.p99_us),
            optional(row.commits_per_batch),
            ratio(row),
        ]
    }));
    lines
}

fn reopen_lines(table: &Table) -> Vec<Vec<String>> {
    let mut lines = headings(&[
        "engine",
        "survives",
        "total µs",
        "lowest",
        "highest",
        "open",
        "load",
        "× floor",
        "kills",
        "lost commits",
    ]);
    lines.extend(table.rows.iter().map(|row| {
        vec![
            name(row),
            row.survives.to_owned(),
            number(row.p50_us.median),
            number(row.p50_us.min),
            number(row.p50_us.max),
            optional(row.open_us),
            optional(row.load_us),
            ratio(row),
            row.count.to_string(),
            row.lost_commits.map_or_else(|| "-".to_owned(), |lost| lost.to_string()),
        ]
    }));
    lines
}

/// A Markdown table with columns of even width: the first two to the left, numbers to the right.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let widths = lines.iter().filter_map(|line| line.get(column));
        widths.map(|cell| cell.chars().count()).max().unwrap_or(0).max(3)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let _ = if column < 2 {
                write!(text, "| {cell:<width$} ")
            } else {
                write!(text, "| {cell:>width$} ")
            };
        }
        text.push_str("|\n");
        if index == 0 {
            for (column, width) in widths.iter().enumerate() {
                let (dashes, end) = ("-".repeat(width + 1), if column < 2 { "-" } else { ":" });
                let _ = write!(text, "|{dashes}{end}");
            }
            text.push_str("|\n");
        }
    }
    text
}

/// Three digits, or all that stand before the point; thousands apart.
fn number(value: f64) -> String {
    let decimals = match value.abs() {
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    let plain = format!("{value:.decimals$}");
    let (whole, rest) = plain.split_at(plain.find('.').unwrap_or(plain.len()));
    let mut text = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text + rest
}

/// A length in words.
pub(crate) fn bytes(len: usize) -> String {
    match len {
        _ if len >= 1 << 30 && len.is_multiple_of(1 << 30) => format!("{} GiB", len >> 30),
        _ if len >= 1 << 20 && len.is_multiple_of(1 << 20) => format!("{} MiB", len >> 20),
        _ if len >= 1 << 10 && len.is_multiple_of(1 << 10) => format!("{} KiB", len >> 10),
        _ => format!("{len} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_lengths_their_unit() {
        let shown: Vec<String> = [0.037, 1.026, 99.9, 1234.5, 1_234_567.0].map(number).to_vec();
        assert_eq!(shown, ["0.04", "1.03", "99.9", "1,234", "1,234,567"]);
        let shown: Vec<String> = [16, 4096, 10 << 20, 1 << 30].map(bytes).to_vec();
        assert_eq!(shown, ["16 B", "4 KiB", "10 MiB", "1 GiB"]);
    }

    #[test]
    fn columns_line_up() {
        let lines = [["a", "b", "c"], ["engine", "x", "1.00"]];
        let lines: Vec<Vec<String>> =
            lines.iter().map(|line| line.iter().map(|cell| (*cell).to_owned()).collect()).collect();
        let text = aligned(&lines);
        let lengths: Vec<usize> = text.lines().map(|line| line.chars().count()).collect();
        assert_eq!(lengths, [lengths[0]; 3]);
    }
}
