//! What was typed: the command line as clap parses it. What it means is [`crate::scenario`].

mod commands;
mod numbers;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use persistent_actor::Durability;
use serde::Serialize;

pub use commands::{
    EnginesArgs, Figure, FloorsArgs, LongRunArgs, PlotArgs, ScalingArgs, TableArgs,
};
pub use numbers::{MAX_ACTORS, MAX_DELAY_MS, MAX_FAULTS, MAX_IN_FLIGHT, MAX_REPEAT, MAX_ROUNDS};
use numbers::{actors, faults, in_flight, kills, milliseconds, repeat, rounds, seed};

/// What a chaos run decides for itself.
const NOT_WITH_CHAOS: [&str; 19] = [
    "all_processors",
    "delay_ms",
    "failure",
    "large",
    "num_actors_kill",
    "num_rounds",
    "output",
    "timeline",
    "repeat",
    "resume",
    "seed",
    "kill_busy",
    "kill_after_commit",
    "workload",
    "in_flight",
    "engine",
    "prototype",
    "ray_address",
    "python",
];

/// What persistent actors cost, and what a crash does to them.
///
/// Actors pass a value along a chain and back, each adding it to its own state; the time of all
/// rounds is measured and the final states are compared with the right ones. With --failure
/// some actors are killed while they work.
#[derive(Debug, Parser)]
#[command(
    name = "bench-persistent-actor",
    version,
    term_width = 100,
    infer_long_args = true,
    args_override_self = true,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    override_usage = "bench-persistent-actor [OPTIONS] --delay-ms <DELAY_MS>\n       \
                      bench-persistent-actor [OPTIONS] --chaos <SEED>\n       \
                      bench-persistent-actor <COMMAND>",
    after_help = "Exit codes: 0 done; 1 the state is wrong although it was to be kept safe, or the \
                  run failed; 2 wrong usage."
)]
pub struct Cli {
    /// Something else than a run.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What to run.
    #[command(flatten)]
    pub run: RunArgs,
}

/// What can be done besides running the benchmark.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Draw the run time relative to safe_actor without failure, or what scaling has measured, as SVG
    /// and PNG.
    Plot(PlotArgs),
    /// Print the run time relative to safe_actor without failure, per delay.
    Table(TableArgs),
    /// Print engines and systems side by side: time per call, recovery, memory, lost and doubled.
    Engines(EnginesArgs),
    /// Measure what calls, commits, starts and recoveries cost side by side with what the machine
    /// allows, and compare the ratios with their targets.
    Floors(FloorsArgs),
    /// Measure commits against the size of the state, and calls against the number of actors; write
    /// CSV files and draw them, as SVG and PNG.
    Scaling(ScalingArgs),
    /// Make many calls to one actor and print latency, memory and disk of each tenth, as CSV.
    LongRun(LongRunArgs),
}

/// The flags of a run.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Amount of milliseconds to delay actor method execution.
    #[arg(
        long,
        required_unless_present = "chaos",
        allow_negative_numbers = true,
        value_parser = milliseconds
    )]
    pub delay_ms: Option<u64>,

    /// Kill actors during execution [default: false].
    #[arg(long)]
    pub failure: bool,

    /// Enable large actor state: 10 MiB instead of one integer [default: false].
    #[arg(long)]
    pub large: bool,

    /// Number of actors to run.
    #[arg(long, default_value = "20", allow_negative_numbers = true, value_parser = actors)]
    pub num_actors: u64,

    /// Number of actors to kill when --failure is specified.
    #[arg(long, default_value = "3", allow_negative_numbers = true, value_parser = kills)]
    pub num_actors_kill: u64,

    /// Number of rounds to run the code.
    #[arg(long, default_value = "20", allow_negative_numbers = true, value_parser = rounds)]
    pub num_rounds: u64,

    /// Append the result to this CSV file [default: none].
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Keep the actors' state safe: exactly once, whatever is killed [default: false].
    #[arg(long)]
    pub safe_state: bool,

    /// Write a timeline for Perfetto or chrome://tracing to this file [default: none].
    #[arg(long, value_name = "FILE")]
    pub timeline: Option<PathBuf>,

    /// What the safe state survives: the death of processes, or power loss as well.
    #[arg(long, value_enum, default_value_t = Level::Power, help_heading = "Further options")]
    pub durability: Level,

    /// Keep the state in this new or empty directory [default: a temporary one, removed at the
    /// end].
    #[arg(long, value_name = "DIR", help_heading = "Further options")]
    pub state_dir: Option<PathBuf>,

    /// Go on with the run in --state-dir that was interrupted, with the parameters with which it
    /// began [default: false].
    #[arg(
        long,
        requires = "state_dir",
        conflicts_with = "output",
        help_heading = "Further options"
    )]
    pub resume: bool,

    /// Write all figures of the run to this JSON file [default: none].
    #[arg(long, value_name = "FILE", help_heading = "Further options")]
    pub json: Option<PathBuf>,

    /// Print the final state and the duration alone, and no progress [default: false].
    #[arg(long, help_heading = "Further options")]
    pub quiet: bool,

    /// Who is called when: one actor after the other along the chain, or all at once, each
    /// round a call to every actor.
    #[arg(long, value_enum, default_value_t = Workload::Chain, help_heading = "Further options")]
    pub workload: Workload,

    /// Number of calls that each actor has before it at once, with --workload=parallel.
    #[arg(
        long,
        value_name = "CALLS",
        default_value = "1",
        allow_negative_numbers = true,
        value_parser = in_flight,
        help_heading = "Further options"
    )]
    pub in_flight: u64,

    /// Number of runs, each with fresh actors and fresh states; a CSV row for each, and median,
    /// spread and confidence interval of all.
    #[arg(
        long,
        value_name = "RUNS",
        default_value = "1",
        allow_negative_numbers = true,
        value_parser = repeat,
        help_heading = "Further options"
    )]
    pub repeat: u64,

    /// Let the actors spread over all processors, as --workload=parallel always does; otherwise
    /// all stay on one, since only one works at a time [default: false].
    #[arg(long, help_heading = "Further options")]
    pub all_processors: bool,

    /// Seed of the random moments at which actors are killed.
    #[arg(
        long,
        default_value = "0",
        allow_negative_numbers = true,
        value_parser = seed,
        help_heading = "Further options"
    )]
    pub seed: u64,

    /// What runs the actors: this program's own engine, or Ray.
    #[arg(long, value_enum, default_value_t = EngineName::Local, help_heading = "On Ray")]
    pub engine: EngineName,

    /// Save the state as the prototype did, written anew as a baseline: pickled, in SQLite without
    /// syncs; a call that is retried may be applied twice [default: false].
    #[arg(long, conflicts_with = "safe_state", help_heading = "On Ray")]
    pub prototype: bool,

    /// Join the Ray cluster at this address on this machine, HOST:PORT or "auto" [default: start
    /// one and shut it down at the end].
    #[arg(long, value_name = "ADDRESS", help_heading = "On Ray")]
    pub ray_address: Option<String>,

    /// The Python that has Ray [default: that of PERSISTENT_ACTOR_PYTHON, else
    /// target/python-env/bin/python, else python3].
    #[arg(long, value_name = "PATH", help_heading = "On Ray")]
    pub python: Option<PathBuf>,

    /// Instead of a measurement, a run full of faults with this seed: workers are killed or
    /// stopped and superseded, the whole program is killed and resumed, and no update may be lost
    /// or doubled.
    #[arg(
        long,
        value_name = "SEED",
        allow_negative_numbers = true,
        value_parser = seed,
        conflicts_with_all = NOT_WITH_CHAOS,
        help_heading = "Chaos run"
    )]
    pub chaos: Option<u64>,

    /// How many workers are killed (SIGKILL).
    #[arg(
        long,
        default_value = "200",
        requires = "chaos",
        conflicts_with = "delay_ms",
        allow_negative_numbers = true,
        value_parser = faults,
        help_heading = "Chaos run"
    )]
    pub kills: u64,

    /// How many workers are stopped (SIGSTOP), superseded, and woken (SIGCONT) to write again.
    #[arg(
        long,
        default_value = "20",
        requires = "chaos",
        conflicts_with = "delay_ms",
        allow_negative_numbers = true,
        value_parser = faults,
        help_heading = "Chaos run"
    )]
    pub zombies: u64,

    /// How often the whole program is killed (SIGKILL) and resumed.
    #[arg(
        long,
        default_value = "5",
        requires = "chaos",
        conflicts_with = "delay_ms",
        allow_negative_numbers = true,
        value_parser = faults,
        help_heading = "Chaos run"
    )]
    pub restarts: u64,

    /// Kill the actor that is being called, at this many random calls.
    #[arg(long, hide = true, conflicts_with = "failure", value_parser = rounds)]
    pub kill_busy: Option<u64>,

    /// Kill the actor that is being called after its commit and before its reply, in this many
    /// random calls.
    #[arg(long, hide = true, conflicts_with_all = ["failure", "kill_busy"], value_parser = rounds)]
    pub kill_after_commit: Option<u64>,

    /// Run so many chains at once, and say only whether the states are right.
    #[arg(long, hide = true, requires = "safe_state", conflicts_with_all = ["failure", "large"])]
    pub chains: Option<usize>,

    /// End when the process that started this one ends, however it ends.
    #[arg(long, hide = true)]
    pub end_with_parent: bool,

    /// Let superseded workers answer, to show that the verification notices.
    #[arg(long, hide = true, requires = "chaos", conflicts_with = "delay_ms")]
    pub without_fencing: bool,

    /// Run calls again that were committed, to show that the verification notices.
    #[arg(long, hide = true)]
    pub without_dedup: bool,
}

/// The durability levels of a safe state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// Survives the death of processes.
    Process,
    /// Survives power loss.
    Power,
}

impl From<Level> for Durability {
    fn from(level: Level) -> Self {
        match level {
            Level::Process => Self::Process,
            Level::Power => Self::Power,
        }
    }
}

/// What runs the actors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineName {
    /// This program: one process for each actor.
    Local,
    /// Ray, from a Python driver.
    Ray,
}

impl EngineName {
    /// The name in CSV files: `local` or `ray`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Ray => "ray",
        }
    }
}

/// Who is called when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Workload {
    /// One actor after the other, each with what the one before has answered.
    Chain,
    /// All actors at once.
    Parallel,
}

impl Workload {
    /// The name in CSV files: `chain` or `parallel`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chain => "chain",
            Self::Parallel => "parallel",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn an_unambiguous_prefix_of_a_flag_is_accepted() {
        let cli = Cli::parse_from(["bench", "--delay=10", "--safe", "--fail", "--out=a.csv"]);
        assert!(cli.run.safe_state && cli.run.failure);
        assert_eq!(cli.run.output, Some(PathBuf::from("a.csv")));
        assert!(Cli::try_parse_from(["bench", "--delay=10", "--s"]).is_err(), "ambiguous");
    }

    #[test]
    fn a_flag_that_is_the_beginning_of_another_is_still_itself() {
        let cli = Cli::parse_from(["bench", "--delay-ms", "0", "--num-actors", "7"]);
        assert_eq!((cli.run.num_actors, cli.run.num_actors_kill), (7, 3));
    }

    #[test]
    fn the_defaults_are_those_of_the_prototype() {
        let run = Cli::parse_from(["bench", "--delay-ms=10"]).run;
        assert_eq!(run.delay_ms, Some(10));
        assert_eq!((run.num_actors, run.num_actors_kill, run.num_rounds), (20, 3, 20));
        assert!(!run.failure && !run.large && !run.safe_state);
        assert!(run.output.is_none() && run.timeline.is_none());
        assert_eq!(run.durability, Level::Power);
    }

    #[test]
    fn a_chaos_run_needs_a_seed_and_no_delay() {
        let run = Cli::parse_from(["bench", "--chaos=7"]).run;
        assert_eq!((run.chaos, run.kills, run.zombies, run.restarts), (Some(7), 200, 20, 5));
        assert!(Cli::try_parse_from(["bench", "--chaos"]).is_err());
        assert!(Cli::try_parse_from(["bench", "--chaos=7", "--delay-ms=0"]).is_err());
        assert!(Cli::try_parse_from(["bench", "--delay-ms=0", "--kills=5"]).is_err());
    }

    #[test]
    fn a_subcommand_needs_no_delay() {
        let cli = Cli::parse_from(["bench", "plot", "a.csv"]);
        assert!(matches!(cli.command, Some(Command::Plot(_))));
    }
}
