//! The program: from the command line to the exit code.

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use persistent_actor::Durability;
use persistent_actor_runtime::now_ns;

use crate::cli::{Cli, Command, RunArgs};
use crate::export::csv::CsvError;
use crate::export::json;
use crate::export::timeline::Timeline;
use crate::measurement::Measurement;
use crate::notes::{self, Notes};
use crate::recorder::Recorder;
use crate::scenario::{self, Outputs, Scenario, System, UsageError};
use crate::state_dir::StateDir;
use crate::workload::RunError;
use crate::{floors, output, plot, processor, signals, workload};

/// The state is wrong, or the run failed.
const FAILED: u8 = 1;

/// What was asked for cannot be done.
const USAGE: u8 = 2;

/// Why the program ends without having done what was asked for.
#[derive(Debug, thiserror::Error)]
enum AppError {
    #[error(transparent)]
    Usage(#[from] UsageError),
    #[error(transparent)]
    Plot(#[from] plot::PlotError),
    #[error(transparent)]
    Floors(#[from] floors::FloorsError),
    #[error("the run failed: {0}")]
    Run(#[source] RunError),
    #[error("cannot append to {}: {source}", path.display())]
    Csv { path: PathBuf, source: CsvError },
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot {0}: {1}")]
    System(&'static str, #[source] io::Error),
    /// Told to stop by a signal; everything is cleaned up.
    #[error("stopped by a signal; nothing was written to --output{}", if *resumable {
        "; the same command with --resume goes on from here"
    } else {
        ""
    })]
    Stopped { code: u8, resumable: bool },
}

impl AppError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Plot(_) => USAGE,
            Self::Stopped { code, .. } => *code,
            _ => FAILED,
        }
    }
}

/// Runs the program. The caller has called [`persistent_actor_runtime::init`] first.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        None => run(&cli.run),
        Some(Command::Plot(args)) => plot::draw_all(args).map(|()| 0).map_err(AppError::from),
        Some(Command::Table(args)) => plot::print_table(args).map(|()| 0).map_err(AppError::from),
        Some(Command::Floors(args)) => floors::main(args).map(|()| 0).map_err(AppError::from),
        Some(Command::Echo) => floors::echo().map(|()| 0).map_err(AppError::from),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            notes::print(&format!("error: {}", with_causes(&error)));
            ExitCode::from(error.exit_code())
        }
    }
}

/// The message with those causes that it does not contain already.
fn with_causes(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            let _ = write!(text, "\n  caused by: {message}");
        }
        cause = error.source();
    }
    text
}

/// Runs the benchmark once.
fn run(args: &RunArgs) -> Result<u8, AppError> {
    let scenario = scenario::scenario(args)?;
    let mut outputs = scenario::outputs(args)?;
    let state_dir = scenario::state_dir(args, &scenario)?;
    let notes = Notes::new(scenario.num_calls(), outputs.quiet);
    warn(&scenario, args, &state_dir, &notes);
    if !args.all_processors
        && let Err(error) = processor::stay_on_one()
    {
        notes.note(&format!("warning: cannot stay on one processor: {error}"));
    }
    let timeline = begin_timeline(&mut outputs)?;
    let recorder = Recorder::new(timeline.as_ref().map(Timeline::events));
    let measured = run_until_stopped(&scenario, &state_dir, &recorder, &notes);
    notes.end();
    recorder.close();
    let measurement = measured?;
    if let (Some(timeline), Some(path)) = (timeline, &args.timeline) {
        timeline.end().map_err(|source| AppError::Write { path: path.clone(), source })?;
    }
    report(&measurement, outputs, args)?;
    Ok(if output::is_as_promised(&measurement) { 0 } else { FAILED })
}

/// Says what may surprise.
fn warn(scenario: &Scenario, args: &RunArgs, state_dir: &StateDir, notes: &Notes) {
    if cfg!(debug_assertions) {
        notes.note("note: this is a debug build; its times mean little (use --release)");
    }
    if scenario.durability == Durability::Power && state_dir.is_in_memory() {
        notes.note(&format!(
            "warning: {} is in memory: nothing there survives a power loss, and its times are not \
             those of a disk; use --state-dir",
            state_dir.path().display()
        ));
    }
    if scenario.system == System::Default && args.durability != crate::cli::Level::Power {
        notes.note("note: --durability means nothing without --safe-state");
    }
}

fn begin_timeline(outputs: &mut Outputs) -> Result<Option<Timeline>, AppError> {
    let Some(file) = outputs.timeline.take() else { return Ok(None) };
    let path = file.path().to_owned();
    let begun = file.begin().and_then(|file| Timeline::begin(file, now_ns()));
    begun.map(Some).map_err(|source| AppError::Write { path, source })
}

/// Runs the workload; on Ctrl-C and SIGTERM all that was started is ended.
fn run_until_stopped(
    scenario: &Scenario,
    state_dir: &StateDir,
    recorder: &Recorder,
    notes: &Notes,
) -> Result<Measurement, AppError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| AppError::System("start the runtime", error))?;
    runtime.block_on(async {
        tokio::select! {
            biased;
            code = signals::stop_requested() => match code {
                Ok(code) => Err(AppError::Stopped { code, resumable: state_dir.is_kept() }),
                Err(error) => Err(AppError::System("listen for signals", error)),
            },
            measured = workload::run(scenario, state_dir, recorder, notes) => {
                measured.map_err(AppError::Run)
            }
        }
    })
}

/// Writes and prints what was measured.
fn report(measurement: &Measurement, outputs: Outputs, args: &RunArgs) -> Result<(), AppError> {
    if let (Some(csv), Some(path)) = (&outputs.csv, &args.output) {
        csv.append(measurement).map_err(|source| AppError::Csv { path: path.clone(), source })?;
    }
    if let Some(file) = outputs.json {
        let path = file.path().to_owned();
        json::write(file, measurement).map_err(|source| AppError::Write { path, source })?;
    }
    match output::print(&mut io::stdout().lock(), measurement, outputs.quiet) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(AppError::System("write to standard output", error))
        }
        _ => Ok(()),
    }
}
