//! The program: from the command line to the exit code.

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use persistent_actor::Durability;
use persistent_actor_runtime::now_ns;
use rustix::process::Signal;

use crate::chaos::{self, ChaosError};
use crate::cli::{Cli, Command, RunArgs, Workload};
use crate::export::csv::CsvError;
use crate::export::json;
use crate::export::timeline::Timeline;
use crate::machine_load::LoadWatch;
use crate::measurement::Measurement;
use crate::notes::{self, Notes};
use crate::ray::RayError;
use crate::recorder::Recorder;
use crate::repeat::Repeated;
use crate::scenario::{self, Engine, Outputs, Scenario, System, UsageError};
use crate::state_dir::StateDir;
use crate::warnings::Warning;
use crate::workload::RunError;
use crate::{floors, long_run, output, plot, processor, signals, workload};

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
    #[error(transparent)]
    LongRun(#[from] long_run::LongRunError),
    #[error(transparent)]
    Chaos(#[from] ChaosError),
    #[error("the run failed: {0}")]
    Run(#[source] RunError),
    #[error(transparent)]
    Ray(RayError),
    #[error("cannot append to {}: {source}", path.display())]
    Csv { path: PathBuf, source: CsvError },
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot {0}: {1}")]
    System(&'static str, #[source] io::Error),
    /// Told to stop by a signal; everything is cleaned up.
    #[error("stopped by a signal; nothing of the run under way was written to --output{}", if *resumable {
        "; the same command with --resume goes on from here"
    } else {
        ""
    })]
    Stopped { code: u8, resumable: bool },
}

impl AppError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::Plot(error) if error.is_usage() => USAGE,
            Self::Ray(error) if error.is_usage() => USAGE,
            Self::Floors(error) if error.is_usage() => USAGE,
            Self::LongRun(error) if error.is_usage() => USAGE,
            Self::Stopped { code, .. } => *code,
            _ => FAILED,
        }
    }
}

impl From<RunError> for AppError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Ray(error) => Self::Ray(error),
            error => Self::Run(error),
        }
    }
}

/// Runs the program. The caller has called [`persistent_actor_runtime::init`] first.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        None => match cli.run.chaos {
            None => run(&cli.run),
            Some(seed) => run_chaos(seed, &cli.run),
        },
        Some(Command::Plot(args)) => plot::draw_all(args).map(|()| 0).map_err(AppError::from),
        Some(Command::Table(args)) => plot::print_table(args).map(|()| 0).map_err(AppError::from),
        Some(Command::Engines(args)) => {
            plot::print_engines(args).map(|()| 0).map_err(AppError::from)
        }
        Some(Command::Floors(args)) => floors::main(args).map(|()| 0).map_err(AppError::from),
        Some(Command::Scaling(args)) => {
            floors::scaling::main(args).map(|()| 0).map_err(AppError::from)
        }
        Some(Command::LongRun(args)) => long_run::main(args).map(|()| 0).map_err(AppError::from),
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

/// Kills everything and says what came of it.
fn run_chaos(seed: u64, args: &RunArgs) -> Result<u8, AppError> {
    let plan = scenario::chaos_plan(seed, args)?;
    let mut outputs = scenario::outputs(args)?;
    let state_dir = scenario::empty_state_dir(args)?;
    let notes = Arc::new(Notes::new(plan.faults(), "faults", outputs.quiet));
    warn_of_memory(plan.durability, &state_dir, &notes);
    let done = until_stopped(false, async {
        chaos::run(&plan, state_dir.path(), &notes).await.map_err(AppError::Chaos)
    });
    notes.end();
    let found = done?;
    if let Some(file) = outputs.json.take() {
        let path = file.path().to_owned();
        json::write(file, &found).map_err(|source| AppError::Write { path, source })?;
    }
    printed(chaos::report::print(&mut io::stdout().lock(), &found, outputs.quiet))?;
    Ok(if found.exact { 0 } else { FAILED })
}

/// Runs chains beside each other, as a part of a chaos run.
fn run_chains(
    chains: usize,
    scenario: &Scenario,
    state_dir: &StateDir,
    notes: &Notes,
    outputs: Outputs,
) -> Result<u8, AppError> {
    let found = until_stopped(state_dir.is_kept(), async {
        let found = chaos::chains::run(scenario, chains, state_dir, notes);
        found.await.map_err(AppError::from)
    });
    notes.end();
    let found = found?;
    if let Some(file) = outputs.json {
        let path = file.path().to_owned();
        json::write(file, &found).map_err(|source| AppError::Write { path, source })?;
    }
    Ok(if found.verified { 0 } else { FAILED })
}

/// Runs the benchmark, once or several times.
fn run(args: &RunArgs) -> Result<u8, AppError> {
    if args.end_with_parent {
        let tied = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
        tied.map_err(|error| AppError::System("end with the parent", error.into()))?;
    }
    let scenario = scenario::scenario(args)?;
    let mut outputs = scenario::outputs(args)?;
    let mut state_dir = scenario::state_dir(args, &scenario)?;
    let notes = Notes::new(scenario.num_calls() * args.repeat, "calls", outputs.quiet);
    warn(&scenario, args, &state_dir, &notes);
    if scenario.engine == Engine::Local
        && scenario.workload == Workload::Chain
        && !args.all_processors
        && let Err(error) = processor::stay_on_one()
    {
        notes.note(&format!("warning: cannot stay on one processor: {error}"));
    }
    if let Some(chains) = args.chains {
        return run_chains(chains, &scenario, &state_dir, &notes, outputs);
    }
    let watch = LoadWatch::begin();
    let mut runs = Vec::new();
    for number in 1..=args.repeat {
        if number > 1 {
            // The old directory is removed first.
            drop(state_dir);
            state_dir = scenario::temporary_state_dir()?;
        }
        let run = run_once(&scenario, args, &state_dir, &mut outputs, &notes)?;
        if let (Some(csv), Some(path)) = (&outputs.csv, &args.output) {
            csv.append(&run).map_err(|source| AppError::Csv { path: path.clone(), source })?;
        }
        if args.repeat > 1 {
            notes.note(&format!("run {number} of {}: {:.3} s", args.repeat, run.duration_s));
        }
        runs.push(run);
    }
    notes.end();
    drop(state_dir);
    let mut machine = watch.end();
    if scenario.engine != Engine::Local {
        // Ray's processes are not our children: they cannot be told from others.
        machine.others_s = None;
    }
    report(&Repeated::new(runs, machine), outputs)
}

/// One run on fresh actors.
fn run_once(
    scenario: &Scenario,
    args: &RunArgs,
    state_dir: &StateDir,
    outputs: &mut Outputs,
    notes: &Notes,
) -> Result<Measurement, AppError> {
    let timeline = begin_timeline(outputs)?;
    let recorder = Recorder::new(timeline.as_ref().map(Timeline::events));
    let measured = until_stopped(state_dir.is_kept(), async {
        workload::run(scenario, state_dir, &recorder, notes).await.map_err(AppError::from)
    });
    if measured.is_err() {
        notes.end();
    }
    recorder.close();
    let measurement = measured?;
    if let (Some(timeline), Some(path)) = (timeline, &args.timeline) {
        timeline.end().map_err(|source| AppError::Write { path: path.clone(), source })?;
    }
    Ok(measurement)
}

/// Says what may surprise.
fn warn(scenario: &Scenario, args: &RunArgs, state_dir: &StateDir, notes: &Notes) {
    if cfg!(debug_assertions) {
        notes.note("note: this is a debug build; its times mean little (use --release)");
    }
    warn_of_memory(scenario.durability, state_dir, notes);
    if scenario.system != System::SafeActor && args.durability != crate::cli::Level::Power {
        notes.note("note: --durability means nothing without --safe-state");
    }
}

fn warn_of_memory(durability: Durability, state_dir: &StateDir, notes: &Notes) {
    if durability == Durability::Power && state_dir.is_in_memory() {
        notes.note(&format!(
            "warning: {} is in memory: nothing there survives a power loss, and its times are not \
             those of a disk; use --state-dir",
            state_dir.path().display()
        ));
    }
}

fn begin_timeline(outputs: &mut Outputs) -> Result<Option<Timeline>, AppError> {
    let Some(file) = outputs.timeline.take() else { return Ok(None) };
    let path = file.path().to_owned();
    let begun = file.begin().and_then(|file| Timeline::begin(file, now_ns()));
    begun.map(Some).map_err(|source| AppError::Write { path, source })
}

/// Does the work; on Ctrl-C and SIGTERM all that was started is ended.
fn until_stopped<T>(
    resumable: bool,
    work: impl Future<Output = Result<T, AppError>>,
) -> Result<T, AppError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| AppError::System("start the runtime", error))?;
    runtime.block_on(async {
        tokio::select! {
            biased;
            code = signals::stop_requested() => match code {
                Ok(code) => Err(AppError::Stopped { code, resumable }),
                Err(error) => Err(AppError::System("listen for signals", error)),
            },
            done = work => done,
        }
    })
}

/// Writes and prints what was measured; the exit code.
fn report(found: &Repeated, outputs: Outputs) -> Result<u8, AppError> {
    if let Some(file) = outputs.json {
        let path = file.path().to_owned();
        let written = match &found.runs[..] {
            [run] => json::write(file, run),
            _ => json::write(file, found),
        };
        written.map_err(|source| AppError::Write { path, source })?;
    }
    let mut out = io::stdout().lock();
    printed(match &found.runs[..] {
        [run] => output::print(&mut out, run, outputs.quiet),
        _ => output::print_repeated(&mut out, found, outputs.quiet),
    })?;
    if !outputs.quiet {
        // A debug build was told of at the beginning.
        let told = found.warnings.iter().filter(|warning| **warning != Warning::DebugBuild);
        told.for_each(|warning| notes::print(&format!("warning: {warning}")));
    }
    Ok(if found.runs.iter().all(output::is_as_promised) { 0 } else { FAILED })
}

/// Somebody who stops reading our output is no failure.
fn printed(done: io::Result<()>) -> Result<(), AppError> {
    match done {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(AppError::System("write to standard output", error))
        }
        _ => Ok(()),
    }
}
