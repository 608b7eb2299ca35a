//! What is meant: the command line, validated, with every file opened that the run will write.

mod usage;

use std::path::{Path, PathBuf};

use persistent_actor::Durability;
use serde::Serialize;

use crate::chain;
use crate::chaos::ChaosPlan;
use crate::cli::{EngineName, RunArgs, Workload};
use crate::export::OutputFile;
use crate::export::csv::CsvFile;
use crate::faults::{self, KillPlan};
use crate::parallel;
use crate::ray::settings::RaySettings;
use crate::run_file::RunParameters;
use crate::state_dir::StateDir;

pub use usage::UsageError;

/// The systems that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum System {
    /// Actors whose state is in memory alone: a killed actor starts again from 1.
    #[serde(rename = "default")]
    Default,
    /// Actors with a safe state.
    #[serde(rename = "safe_actor")]
    SafeActor,
    /// Actors on Ray whose state is saved as the prototype did.
    #[serde(rename = "prototype")]
    Prototype,
}

impl System {
    /// The name in CSV files: `default`, `safe_actor` or `prototype`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::SafeActor => "safe_actor",
            Self::Prototype => "prototype",
        }
    }
}

/// Which actors are killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kills {
    /// None.
    None,
    /// This many different actors, spread evenly over actors and time (`--failure`).
    Spread(usize),
    /// The actor that is being called, at this many random calls.
    Busy(u64),
    /// The actor that is being called, after its commit and before its reply, in this many
    /// random calls.
    AfterCommit(u64),
}

/// What runs the actors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Engine {
    /// This program.
    Local,
    /// Ray.
    Ray(RaySettings),
}

impl Engine {
    /// Which it is.
    pub fn name(&self) -> EngineName {
        match self {
            Self::Local => EngineName::Local,
            Self::Ray(_) => EngineName::Ray,
        }
    }
}

/// One run of the benchmark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// What runs the actors.
    pub engine: Engine,
    /// Whether the state is kept safe, and how.
    pub system: System,
    /// What the state survives; [`Durability::None`] for [`System::Default`], and
    /// [`Durability::Process`] for [`System::Prototype`].
    pub durability: Durability,
    /// 10 MiB of state instead of an integer.
    pub large: bool,
    /// How long each call takes in the actor, in milliseconds.
    pub delay_ms: u64,
    /// How many actors, at least one.
    pub num_actors: usize,
    /// How many rounds.
    pub num_rounds: u64,
    /// Who is called when.
    pub workload: Workload,
    /// How many calls each actor has before it at once, when all are called at once.
    pub in_flight: u64,
    /// Who is killed.
    pub kills: Kills,
    /// Seed of all that is random.
    pub seed: u64,
    /// Whether a run that was interrupted goes on.
    pub resume: bool,
    /// Whether committed calls are answered from the ledger; off only to test the verification.
    pub dedup: bool,
}

impl Scenario {
    /// How many calls the run makes.
    pub fn num_calls(&self) -> u64 {
        match self.workload {
            Workload::Chain => chain::num_calls(self.num_actors, self.num_rounds),
            Workload::Parallel => self.num_actors as u64 * self.num_rounds,
        }
    }

    /// The time that so many calls take if only the delays take time. Seconds.
    pub fn floor_s(&self, calls: u64) -> f64 {
        let in_turn = match self.workload {
            Workload::Chain => calls,
            Workload::Parallel => self.num_rounds,
        };
        in_turn as f64 * self.delay_ms as f64 / 1000.0
    }

    /// What tells this run from others.
    pub fn parameters(&self) -> RunParameters {
        let &Self { large, num_actors, num_rounds, durability, .. } = self;
        RunParameters { large, num_actors, num_rounds, durability: Some(durability) }
    }

    /// Whether actors are killed.
    pub fn failure(&self) -> bool {
        self.kills != Kills::None
    }

    /// The kills of the run.
    pub fn kill_plan(&self) -> KillPlan {
        match self.kills {
            Kills::None => Vec::new(),
            Kills::Spread(n) => faults::spread(self.num_calls(), self.num_actors, n, self.seed),
            Kills::Busy(n) => faults::busy(&self.callees(), n, self.seed),
            Kills::AfterCommit(n) => faults::after_commit(&self.callees(), n, self.seed),
        }
    }

    /// The actors that are called, call by call.
    fn callees(&self) -> Vec<usize> {
        match self.workload {
            Workload::Chain => chain::callees(self.num_actors, self.num_rounds).collect(),
            Workload::Parallel => parallel::callees(self.num_actors, self.num_rounds).collect(),
        }
    }
}

/// Where the results go; all of it is open and writable.
#[derive(Debug)]
pub struct Outputs {
    /// `--output`
    pub csv: Option<CsvFile>,
    /// `--json`
    pub json: Option<OutputFile>,
    /// `--timeline`
    pub timeline: Option<OutputFile>,
    /// `--quiet`
    pub quiet: bool,
}

/// The run that the flags ask for; nothing on disk is touched.
///
/// # Errors
/// [`UsageError::TooManyKills`], [`UsageError::StateDirWithoutSafeState`],
/// [`UsageError::InFlightInAChain`], [`UsageError::ResumeInParallel`], [`UsageError::OnlyOnRay`],
/// [`UsageError::NotOnRay`], [`UsageError::Ray`], [`UsageError::NotRepeatable`].
pub fn scenario(args: &RunArgs) -> Result<Scenario, UsageError> {
    if args.failure && args.num_actors_kill > args.num_actors {
        return Err(UsageError::TooManyKills {
            kills: args.num_actors_kill,
            num_actors: args.num_actors,
        });
    }
    let engine = engine(args)?;
    if let (Some(path), false) = (&args.state_dir, args.safe_state || args.prototype) {
        return Err(UsageError::StateDirWithoutSafeState { path: path.clone() });
    }
    if args.workload == Workload::Chain && args.in_flight != 1 {
        return Err(UsageError::InFlightInAChain { calls: args.in_flight });
    }
    if args.workload == Workload::Parallel && args.resume {
        return Err(UsageError::ResumeInParallel);
    }
    refuse_repeat(args)?;
    let (system, durability) = match (args.safe_state, args.prototype) {
        (true, _) => (System::SafeActor, args.durability.into()),
        (false, true) => (System::Prototype, Durability::Process),
        (false, false) => (System::Default, Durability::None),
    };
    Ok(Scenario {
        engine,
        system,
        durability,
        large: args.large,
        delay_ms: args.delay_ms.unwrap_or_default(),
        num_actors: args.num_actors as usize,
        num_rounds: args.num_rounds,
        workload: args.workload,
        in_flight: args.in_flight,
        kills: match (args.kill_busy, args.kill_after_commit) {
            (Some(kills), _) => Kills::Busy(kills),
            (_, Some(kills)) => Kills::AfterCommit(kills),
            _ if args.failure => Kills::Spread(args.num_actors_kill as usize),
            _ => Kills::None,
        },
        seed: args.seed,
        resume: args.resume,
        dedup: !args.without_dedup,
    })
}

fn engine(args: &RunArgs) -> Result<Engine, UsageError> {
    let given = |flags: &[(&'static str, bool)]| {
        flags.iter().find(|(_, given)| *given).map(|(flag, _)| *flag)
    };
    if args.engine == EngineName::Local {
        let ours = [
            ("--prototype", args.prototype),
            ("--ray-address", args.ray_address.is_some()),
            ("--python", args.python.is_some()),
        ];
        return match given(&ours) {
            Some(flag) => Err(UsageError::OnlyOnRay { flag }),
            None => Ok(Engine::Local),
        };
    }
    let refused = [
        ("--resume", args.resume, "the position of a run on Ray is not kept"),
        ("--all-processors", args.all_processors, "Ray's processes always spread over all"),
        ("--without-dedup", args.without_dedup, "only the local engine has this switch"),
        (
            "--kill-after-commit",
            args.kill_after_commit.is_some() && args.in_flight > 1,
            "Ray may retry calls in flight in any order, so --in-flight must be 1",
        ),
    ];
    if let Some(&(flag, _, reason)) = refused.iter().find(|(_, given, _)| *given) {
        return Err(UsageError::NotOnRay { flag, reason });
    }
    Ok(Engine::Ray(RaySettings::of(args)?))
}

/// Refuses what cannot be shared by several runs.
fn refuse_repeat(args: &RunArgs) -> Result<(), UsageError> {
    let refused = match args {
        RunArgs { repeat: 1, .. } => return Ok(()),
        RunArgs { resume: true, .. } => {
            ("--resume", "one run goes on where it stood; leave one of the two out")
        }
        RunArgs { state_dir: Some(_), .. } => (
            "--state-dir",
            "every run begins with fresh states in a temporary directory (under TMPDIR); leave one \
             of the two out",
        ),
        RunArgs { timeline: Some(_), .. } => {
            ("--timeline", "a timeline shows one run; leave one of the two out")
        }
        _ => return Ok(()),
    };
    let (flag, why) = refused;
    Err(UsageError::NotRepeatable { flag, runs: args.repeat, why })
}

/// Opens all that the run will write, so that nothing is found out too late.
///
/// # Errors
/// See [`UsageError`]. Files that exist are unharmed.
pub fn outputs(args: &RunArgs) -> Result<Outputs, UsageError> {
    refuse_same_file("--output and --json", &args.output, &args.json)?;
    refuse_same_file("--output and --timeline", &args.output, &args.timeline)?;
    refuse_same_file("--json and --timeline", &args.json, &args.timeline)?;
    let csv = args.output.as_deref().map(|path| open_csv(path, args.engine)).transpose()?;
    let json = args.json.as_deref().map(|path| open_output("--json", path)).transpose()?;
    let timeline =
        args.timeline.as_deref().map(|path| open_output("--timeline", path)).transpose()?;
    Ok(Outputs { csv, json, timeline, quiet: args.quiet })
}

/// Refuses a file that two outputs would overwrite for each other.
///
/// # Errors
/// [`UsageError::SameFile`]
pub(crate) fn refuse_same_file(
    flags: &'static str,
    a: &Option<PathBuf>,
    b: &Option<PathBuf>,
) -> Result<(), UsageError> {
    match a {
        Some(path) if a == b => Err(UsageError::SameFile { flags, path: path.clone() }),
        _ => Ok(()),
    }
}

fn open_csv(path: &Path, engine: EngineName) -> Result<CsvFile, UsageError> {
    CsvFile::open_for(path, engine)
        .map_err(|source| UsageError::Csv { path: path.to_owned(), source })
}

fn open_output(flag: &'static str, path: &Path) -> Result<OutputFile, UsageError> {
    OutputFile::open(path).map_err(|source| UsageError::Output {
        flag,
        path: path.to_owned(),
        source,
    })
}

/// The directory for the actors' states.
///
/// # Errors
/// [`UsageError::StateDir`]
pub fn state_dir(args: &RunArgs, scenario: &Scenario) -> Result<StateDir, UsageError> {
    if scenario.workload == Workload::Parallel || scenario.engine != Engine::Local {
        // Without a file that says which run it is: such a run is not gone on with.
        return empty_state_dir(args);
    }
    let Some(path) = &args.state_dir else { return temporary_state_dir() };
    let open = if scenario.resume { StateDir::resume } else { StateDir::keep };
    open(path, scenario.parameters()).map_err(|source| UsageError::StateDir {
        flag: "--state-dir",
        path: path.clone(),
        source,
    })
}

/// What a chaos run with this seed is to do.
///
/// # Errors
/// [`UsageError::TooFewActors`]
pub fn chaos_plan(seed: u64, args: &RunArgs) -> Result<ChaosPlan, UsageError> {
    match args.num_actors {
        num_actors @ 0..2 => Err(UsageError::TooFewActors { num_actors }),
        _ => Ok(ChaosPlan::new(seed, args)),
    }
}

/// A new or empty directory for states, or a temporary one.
///
/// # Errors
/// [`UsageError::StateDir`]
pub fn empty_state_dir(args: &RunArgs) -> Result<StateDir, UsageError> {
    let Some(path) = &args.state_dir else { return temporary_state_dir() };
    StateDir::empty(path).map_err(|source| UsageError::StateDir {
        flag: "--state-dir",
        path: path.clone(),
        source,
    })
}

/// A directory for states that is removed at the end.
///
/// # Errors
/// [`UsageError::StateDir`]
pub fn temporary_state_dir() -> Result<StateDir, UsageError> {
    temporary_dir("--state-dir", None)
}

/// The same in the directory that this flag names, if it names one.
///
/// # Errors
/// [`UsageError::StateDir`]
pub(crate) fn temporary_dir(
    flag: &'static str,
    root: Option<&Path>,
) -> Result<StateDir, UsageError> {
    let (flag, path) = match root {
        Some(root) => (flag, root.to_owned()),
        None => ("TMPDIR", std::env::temp_dir()),
    };
    StateDir::temporary(&path).map_err(|source| UsageError::StateDir { flag, path, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::Parser;

    fn parse(flags: &str) -> Result<Scenario, UsageError> {
        let flags = std::iter::once("bench").chain(flags.split_whitespace());
        scenario(&Cli::parse_from(flags).run)
    }

    #[test]
    fn the_default_system_has_no_durability() {
        let scenario = parse("--delay-ms=10 --durability process").unwrap();
        assert_eq!((scenario.system, scenario.durability), (System::Default, Durability::None));
        let scenario = parse("--delay-ms=10 --safe-state").unwrap();
        assert_eq!((scenario.system, scenario.durability), (System::SafeActor, Durability::Power));
    }

    #[test]
    fn the_floor_counts_the_calls_alone() {
        let scenario = parse("--delay-ms=10").unwrap();
        assert_eq!(scenario.floor_s(scenario.num_calls()), 3.8);
    }

    #[test]
    fn kills_are_limited_by_the_actors_only_when_there_is_failure() {
        assert!(parse("--delay-ms=0 --num-actors=2").is_ok());
        let error = parse("--delay-ms=0 --num-actors=2 --failure").unwrap_err().to_string();
        assert!(error.contains("--num-actors-kill=3") && error.contains("0 to 2"), "{error}");
    }
}
