//! `floors`: what the product needs beside what bare programs need, with a target for each.
//!
//! Absolute times vary from machine to machine and from hour to hour. So floor and product are
//! measured in the same run, in turn, on the same processors and in memory of the same kind, and
//! what counts is their ratio. A floor is what a program would need that did nothing but the
//! unavoidable: a bare process that answers, a bare file that is written and synced, a bare loop
//! that adds. It is written as one commonly would; for some rows the best that is known is measured,
//! too.

mod bare;
mod change;
mod crew;
mod journal;
mod large;
mod many;
mod memory;
mod million;
mod place;
mod probe;
mod recovery;
mod report;
pub mod scaling;
mod shared_sync;
mod small;
mod start;
mod what;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use persistent_actor_runtime::Error;
use serde::Serialize;
use tokio::runtime::Runtime;

use crate::cli::FloorsArgs;
use crate::export::{OutputError, OutputFile};
use crate::machine_load::LoadWatch;
use crate::notes::{self, Notes};
use crate::plot::PlotError;
use crate::processor::OneProcessor;
use crate::scenario::{self, UsageError};
use crate::warnings::{self, Warning};

use report::Report;
use what::{Found, Limit, Row};

pub use bare::bare_process;

/// The floors cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum FloorsError {
    /// The system refused something.
    #[error("cannot {0}: {1}")]
    System(&'static str, #[source] io::Error),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] Error),
    /// There is no place for files, or two outputs share one.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// What was measured did not do what it was to do.
    #[error("the measurement is void: {0}")]
    Wrong(&'static str),
    /// There is no such row.
    #[error("--only={0}: there is no such row; expected a part of one of: {1}")]
    NoSuchRow(String, String),
    /// An output file cannot be written.
    #[error("{flag}={}: {source}", path.display())]
    Output {
        /// The flag.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: OutputError,
    },
    /// A plot cannot be drawn.
    #[error(transparent)]
    Plot(Box<PlotError>),
    /// An output file could not be written at the end.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl FloorsError {
    /// Whether what was typed is wrong.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Usage(_) | Self::NoSuchRow(..) | Self::Output { .. })
    }
}

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Effort {
    /// Few samples; nothing that takes seconds by itself.
    Quick,
    Normal,
    /// The long run is as long as its name says.
    Full,
}

/// What is measured together, since it shares actors or floors.
struct Group {
    name: &'static str,
    rows: &'static [Row],
    measure: fn(&Context<'_>) -> Result<Vec<Found>, FloorsError>,
}

/// All groups, in the order of the table.
const GROUPS: [Group; 8] = [
    Group { name: "small calls", rows: small::ROWS, measure: small::measure },
    Group { name: "10 MiB calls", rows: large::ROWS, measure: large::measure },
    Group { name: "small changes", rows: change::ROWS, measure: change::measure },
    Group { name: "recovery", rows: recovery::ROWS, measure: recovery::measure },
    Group { name: "start", rows: start::ROWS, measure: start::measure },
    Group { name: "many actors", rows: many::ROWS, measure: many::measure },
    Group { name: "many writers", rows: journal::ROWS, measure: journal::measure },
    Group { name: "many calls", rows: million::ROWS, measure: million::measure },
];

/// What no program is known to do better, for the rows whose floors are not that: it may put their
/// targets out of reach.
const LIMITS: [&[Limit]; 4] = [small::LIMITS, large::LIMITS, start::LIMITS, many::LIMITS];

/// Where and how a group measures.
struct Context<'a> {
    runtime: &'a Rc<Runtime>,
    /// An empty directory of its own.
    dir: &'a Path,
    effort: Effort,
    only: &'a [String],
    /// Whether what is started is to show no progress of its own.
    quiet: bool,
}

impl Context<'_> {
    /// Whether a row is to be measured.
    fn wants(&self, row: &str) -> bool {
        is_wanted(self.only, row)
    }

    /// Keeps this program and what it starts on one processor for as long as the value lives.
    fn on_one_processor(&self) -> Option<OneProcessor> {
        match OneProcessor::enter() {
            Ok(one) => Some(one),
            Err(error) => {
                notes::print(&format!("warning: cannot stay on one processor: {error}"));
                None
            }
        }
    }
}

fn is_wanted(only: &[String], row: &str) -> bool {
    only.is_empty() || only.iter().any(|part| row.contains(part.as_str()))
}

fn system(what: &'static str) -> impl Fn(io::Error) -> FloorsError {
    move |error| FloorsError::System(what, error)
}

/// A store or state failed that no engine is around.
fn wrong_store(error: impl std::fmt::Display) -> FloorsError {
    FloorsError::System("use a state", io::Error::other(error.to_string()))
}

/// Measures and prints.
///
/// # Errors
/// See [`FloorsError`].
pub fn main(args: &FloorsArgs) -> Result<(), FloorsError> {
    refuse_unknown_rows(&args.only)?;
    scenario::refuse_same_file("--json and --csv", &args.json, &args.csv)?;
    // Before any file: where this fails, nothing is left.
    let dir = scenario::temporary_dir("--dir", args.dir.as_deref())?;
    let json = args.json.as_deref().map(|path| open("--json", path)).transpose()?;
    let csv = args.csv.as_deref().map(|path| open("--csv", path)).transpose()?;
    std::fs::create_dir(dir.path()).map_err(system("make a directory"))?;
    if dir.is_in_memory() {
        notes::print("warning: the directory is in memory: its syncs cost nothing; use --dir");
    }
    if cfg!(debug_assertions) {
        notes::print("note: this is a debug build; its times mean little (use --release)");
    }
    let report = measure(args, dir.path())?;
    if let Some(file) = json {
        write(file, format!("{:#}\n", report.json()).as_bytes())?;
    }
    if let Some(file) = csv {
        let text = report.csv().map_err(|error| FloorsError::System("write CSV", error.into()))?;
        write(file, &text)?;
    }
    for warning in report.warnings.iter().filter(|warning| **warning != Warning::DebugBuild) {
        notes::print(&format!("warning: {warning}"));
    }
    match io::stdout().write_all(report.text().as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(FloorsError::System("write to standard output", error))
        }
        _ => Ok(()),
    }
}

fn refuse_unknown_rows(only: &[String]) -> Result<(), FloorsError> {
    let rows = || GROUPS.iter().flat_map(|group| group.rows).map(|row| row.key);
    match only.iter().find(|part| !rows().any(|row| row.contains(part.as_str()))) {
        None => Ok(()),
        Some(part) => {
            Err(FloorsError::NoSuchRow(part.clone(), rows().collect::<Vec<_>>().join(", ")))
        }
    }
}

fn open(flag: &'static str, path: &Path) -> Result<OutputFile, FloorsError> {
    let file = OutputFile::open(path);
    file.map_err(|source| FloorsError::Output { flag, path: path.to_owned(), source })
}

fn write(file: OutputFile, text: &[u8]) -> Result<(), FloorsError> {
    let path = file.path().to_owned();
    let written = file.begin().and_then(|mut file| file.write_all(text));
    written.map_err(|source| FloorsError::Write { path, source })
}

fn effort(args: &FloorsArgs) -> Effort {
    match (args.quick, args.full) {
        (true, _) => Effort::Quick,
        (_, true) => Effort::Full,
        _ => Effort::Normal,
    }
}

fn measure(args: &FloorsArgs, dir: &Path) -> Result<Report, FloorsError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(system("start the runtime"))?;
    let runtime = Rc::new(runtime);
    let effort = effort(args);
    let is_wanted = |row: &&Row| is_wanted(&args.only, row.key);
    let groups: Vec<&Group> =
        GROUPS.iter().filter(|group| group.rows.iter().any(|row| is_wanted(&row))).collect();
    let notes = Notes::new(args.repeat * groups.len() as u64, "measurements", args.quiet);
    let watch = LoadWatch::begin();
    let mut runs = Vec::new();
    for run in 1..=args.repeat {
        let mut found = Vec::new();
        for group in &groups {
            let name = format!("{run}-{}", group.name.replace(' ', "-"));
            let place = place::make_apart(dir, &name).map_err(system("make a directory"))?;
            let context = Context {
                runtime: &runtime,
                dir: &place,
                effort,
                only: &args.only,
                quiet: args.quiet,
            };
            let measured = (group.measure)(&context);
            if measured.is_err() {
                notes.end();
            }
            found.extend(measured?);
            std::fs::remove_dir_all(&place).map_err(system("remove a directory"))?;
            notes.step_done();
        }
        runs.push(found);
    }
    notes.end();
    let machine = watch.end();
    let rows = GROUPS.iter().flat_map(|group| group.rows).filter(is_wanted).copied().collect();
    let limits = LIMITS.concat();
    let warnings = warnings::of_machine(&machine);
    Ok(Report { effort, rows, limits, runs, machine, warnings })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_row_has_a_name_of_its_own() {
        let rows: Vec<&Row> = GROUPS.iter().flat_map(|group| group.rows).collect();
        let keys: HashSet<&str> = rows.iter().map(|row| row.key).collect();
        assert_eq!(keys.len(), rows.len());
        let works: HashSet<&str> = rows.iter().map(|row| row.work).collect();
        assert_eq!(works.len(), rows.len());
    }

    #[test]
    fn every_limit_belongs_to_a_row() {
        let is_row = |key| GROUPS.iter().flat_map(|group| group.rows).any(|row| row.key == key);
        assert!(LIMITS.concat().iter().all(|limit| is_row(limit.row)));
    }

    #[test]
    fn rows_are_wanted_by_a_part_of_their_name() {
        let only = vec!["small".to_owned()];
        assert!(is_wanted(&only, "small-power") && !is_wanted(&only, "large-power"));
        assert!(is_wanted(&[], "large-power"));
        assert!(refuse_unknown_rows(&only).is_ok());
        let error = refuse_unknown_rows(&["x".to_owned()]).unwrap_err();
        assert!(error.is_usage() && error.to_string().contains("small-none, "), "{error}");
    }
}
