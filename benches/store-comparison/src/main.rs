//! The core store side by side with other stores and with what the disk allows.
//!
//! `catalogue` says what is compared, `workload` how, `run` lets the rows of a table take turns,
//! `report` prints. See `README.md` for what the numbers mean.

mod catalogue;
mod cli;
mod engine;
mod group_commit;
mod machine;
mod memory;
mod pattern;
mod progress;
mod report;
mod row;
mod run;
mod stats;
mod targets;
mod workload;

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Seek, Write, stderr, stdout};
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, Result};
use clap::{CommandFactory, Parser};

use crate::cli::{ChildArgs, Cli, Role, RunArgs};
use crate::engine::Setup;
use crate::machine::Crowding;
use crate::pattern::MIN_LEN;
use crate::report::Report;
use crate::run::Run;

fn main() -> ExitCode {
    let cli = Cli::parse();
    memory::install();
    let result = match &cli.child {
        Some(role) => child(role),
        None => compare(&cli.run),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // There is nobody else to tell.
            let _ = writeln!(stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn child(role: &Role) -> Result<()> {
    let (Role::ChildCommit(args) | Role::ChildLoad(args)) = role;
    let ChildArgs { engine, level, dir, len } = args;
    anyhow::ensure!(*len >= MIN_LEN, "--len {len}: expected at least {MIN_LEN}");
    let setup = Setup { dir, len: *len };
    match role {
        Role::ChildCommit(_) => workload::reopen::child_commit(engine, *level, &setup),
        Role::ChildLoad(_) => workload::reopen::child_load(engine, *level, &setup),
    }
}

/// Ends with exit code 2 and a message as clap gives it.
fn wrong_usage(message: impl std::fmt::Display) -> ! {
    Cli::command().error(clap::error::ErrorKind::ValueValidation, message).exit()
}

/// Opens a result file before anything is measured; what is in it stays until there is something to
/// take its place.
fn open_output(flag: &str, path: Option<&Path>) -> Option<File> {
    let path = path?;
    match OpenOptions::new().write(true).create(true).truncate(false).open(path) {
        Ok(file) => Some(file),
        Err(error) => wrong_usage(format!("{flag} {}: {error}", path.display())),
    }
}

/// Refuses what cannot be done before any file is opened.
fn check_flags(args: &RunArgs, dir: &Path) {
    if !dir.is_dir() {
        wrong_usage(format!("--dir {}: expected a directory that exists", dir.display()));
    }
    let names = run::names();
    if let Some(word) = args.engines.iter().find(|word| !names.iter().any(|n| n.contains(*word))) {
        let expected = names.join(", ");
        wrong_usage(format!("--engines {word}: expected a part of one of these names: {expected}"));
    }
    if let Some(path) = args.json.as_ref().filter(|_| args.json == args.csv) {
        wrong_usage(format!(
            "--json and --csv {}: two outputs cannot share a file",
            path.display()
        ));
    }
}

fn compare(args: &RunArgs) -> Result<()> {
    let dir = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    check_flags(args, &dir);
    let mut json = open_output("--json", args.json.as_deref());
    let mut csv = open_output("--csv", args.csv.as_deref());
    let seed = args.seed.unwrap_or_else(rand::random);
    let mut run = Run::new(args, &dir, seed);
    let mode = args.mode.name();
    let mut report = Report {
        version: env!("CARGO_PKG_VERSION"),
        started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        machine: machine::look(&dir, args.machine.clone())?,
        mode,
        seed,
        rounds: run.effort().rounds,
        budget_ms: run.effort().budget.as_millis(),
        tables: Vec::new(),
        targets: Vec::new(),
        warnings_after: Vec::new(),
    };
    let crowding = Crowding::start();
    print(&report.head())?;
    for workload in &args.workloads {
        run.workload(*workload, &mut |table| {
            print(&report::text(&table))?;
            report.push(table);
            report.warnings_after = crowding.warnings();
            save(json.as_mut(), |to| report.write_json(to)).context("write the JSON file")?;
            save(csv.as_mut(), |to| report.write_csv(to)).context("write the CSV file")
        })?;
    }
    print(&report.tail())
}

fn print(text: &str) -> Result<()> {
    let mut output = stdout().lock();
    writeln!(output, "{text}")?;
    Ok(output.flush()?)
}

/// Writes a result file anew, after each table.
fn save(file: Option<&mut File>, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let Some(file) = file else { return Ok(()) };
    // A pipe or a device cannot be cut to a length, and need not be.
    if file.metadata()?.is_file() {
        file.rewind()?;
        file.set_len(0)?;
    }
    let mut buffered = BufWriter::new(file);
    write(&mut buffered)?;
    Ok(buffered.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_file_keeps_what_is_in_it_until_there_is_a_result() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.json");
        std::fs::write(&path, "the results of yesterday").unwrap();
        let mut file = open_output("--json", Some(&path)).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "the results of yesterday");
        save(Some(&mut file), |to| Ok(to.write_all(b"today")?)).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "today");
    }
}
