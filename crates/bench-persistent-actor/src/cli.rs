//! What was typed: the command line as clap parses it. What it means is [`crate::scenario`].

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use persistent_actor::Durability;
use serde::Serialize;

/// The longest delay of a call: one day, in milliseconds.
pub const MAX_DELAY_MS: u64 = 24 * 60 * 60 * 1000;

/// The most actors of one run; each is a process of its own.
pub const MAX_ACTORS: u64 = 10_000;

/// The most calls that one actor has before it at once: the engine sends 1024 without waiting, and
/// kills read the state, too.
pub const MAX_IN_FLIGHT: u64 = 1000;

/// The most rounds of one run.
pub const MAX_ROUNDS: u64 = 1_000_000;

/// The most runs of one workload.
pub const MAX_REPEAT: u64 = 10_000;

/// The most calls of a long run, and the least: one for each row.
const LONG_RUN_CALLS: (u64, u64) = (10, 10_000_000_000);

/// The most faults of one kind in a chaos run.
pub const MAX_FAULTS: u64 = 10_000_000;

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

/// The flags of `plot`.
#[derive(Debug, Args)]
pub struct PlotArgs {
    /// CSV files with at least the columns system, large, delay_ms, duration, failure, or of
    /// scaling.
    #[arg(required = true, value_name = "CSV")]
    pub csv: Vec<PathBuf>,

    /// Where to put the plots [default: beside each CSV file].
    #[arg(long, value_name = "DIR")]
    pub output_dir: Option<PathBuf>,

    /// A line under each title, such as the machine [default: none].
    #[arg(long, value_name = "TEXT")]
    pub subtitle: Option<String>,
}

/// The flags of `table`.
#[derive(Debug, Args)]
pub struct TableArgs {
    /// A CSV file with at least the columns system, large, delay_ms, duration, failure.
    #[arg(value_name = "CSV")]
    pub csv: PathBuf,
}

/// The flags of `engines`.
#[derive(Debug, Args)]
pub struct EnginesArgs {
    /// A CSV file that this program has written.
    #[arg(value_name = "CSV")]
    pub csv: PathBuf,
}

/// The flags of `floors`.
#[derive(Debug, Args)]
pub struct FloorsArgs {
    /// How often the whole table is measured.
    #[arg(
        long,
        visible_alias = "repeats",
        value_name = "RUNS",
        default_value = "3",
        allow_negative_numbers = true,
        value_parser = repeat
    )]
    pub repeat: u64,

    /// Measure only rows whose name contains this; may be given several times [default: all].
    #[arg(long, value_name = "ROW")]
    pub only: Vec<String>,

    /// Measure little: half a minute for one run instead of one and a half; nothing of 1 GiB, no
    /// 1000 actors [default: false].
    #[arg(long, conflicts_with = "full")]
    pub quick: bool,

    /// Make the long run as long as it is called: 1000000 calls instead of 100000 [default:
    /// false].
    #[arg(long)]
    pub full: bool,

    /// Write all figures to this JSON file [default: none].
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write a line for each row and run to this CSV file [default: none].
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,

    /// A directory on the disk to be measured [default: the temporary directory].
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,

    /// No progress on standard error [default: false].
    #[arg(long)]
    pub quiet: bool,
}

/// What `scaling` measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Figure {
    /// The cost of a commit against the size of the state, 1 KiB to 1 GiB.
    Size,
    /// Throughput and latency against the number of actors, 1 to 1000.
    Actors,
}

/// The flags of `scaling`.
#[derive(Debug, Args)]
pub struct ScalingArgs {
    /// Measure one of the two alone [default: both].
    #[arg(long, value_enum)]
    pub only: Option<Figure>,

    /// Where to put the files: scaling-size.csv, scaling-actors.csv, and the plots.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub output_dir: PathBuf,

    /// States of at most 16 MiB, at most 64 actors [default: false].
    #[arg(long)]
    pub quick: bool,

    /// A line under each title, such as the machine [default: none].
    #[arg(long, value_name = "TEXT")]
    pub subtitle: Option<String>,

    /// A directory on the disk to be measured [default: the temporary directory].
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// The flags of `long-run`.
#[derive(Debug, Args)]
pub struct LongRunArgs {
    /// Number of calls.
    #[arg(
        long,
        default_value = "1000000",
        allow_negative_numbers = true,
        value_parser = calls
    )]
    pub calls: u64,

    /// What the safe state survives.
    #[arg(long, value_enum, default_value_t = Level::Process)]
    pub durability: Level,

    /// A directory on the disk to be measured [default: the temporary directory].
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

fn calls(text: &str) -> Result<u64, String> {
    whole(text, "calls", LONG_RUN_CALLS.0, LONG_RUN_CALLS.1)
}

fn repeat(text: &str) -> Result<u64, String> {
    whole(text, "runs", 1, MAX_REPEAT)
}

fn milliseconds(text: &str) -> Result<u64, String> {
    whole(text, "milliseconds", 0, MAX_DELAY_MS)
}

fn actors(text: &str) -> Result<u64, String> {
    whole(text, "actors", 1, MAX_ACTORS)
}

fn kills(text: &str) -> Result<u64, String> {
    whole(text, "actors", 0, MAX_ACTORS)
}

fn rounds(text: &str) -> Result<u64, String> {
    whole(text, "rounds", 0, MAX_ROUNDS)
}

fn faults(text: &str) -> Result<u64, String> {
    whole(text, "faults", 0, MAX_FAULTS)
}

fn in_flight(text: &str) -> Result<u64, String> {
    whole(text, "calls", 1, MAX_IN_FLIGHT)
}

fn seed(text: &str) -> Result<u64, String> {
    whole(text, "no unit", 0, u64::MAX).map_err(|error| error.replace(" of no unit", ""))
}

fn whole(text: &str, unit: &str, min: u64, max: u64) -> Result<u64, String> {
    text.parse()
        .ok()
        .filter(|value| (min..=max).contains(value))
        .ok_or_else(|| format!("expected a whole number of {unit} from {min} to {max}"))
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
