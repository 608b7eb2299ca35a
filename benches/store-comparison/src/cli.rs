//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::catalogue::Level;

/// The core store side by side with other stores and with what the disk allows.
///
/// Every row of a table keeps the same promise (level process: a commit survives the death of
/// processes; level power: it survives power loss), unless the row says otherwise. The rows of a
/// table take turns, so that drift of the machine meets all of them; a figure is the median over
/// the turns.
#[derive(Debug, Parser)]
#[command(
    name = "store-comparison",
    version,
    term_width = 100,
    args_conflicts_with_subcommands = true,
    after_help = "The tables go to standard output. Exit codes: 0 done; 1 a measurement failed; \
                  2 wrong usage."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) child: Option<Role>,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// What to measure, and where the results go.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// How much effort to make: on an idle machine, quick takes about two
    /// minutes and full a quarter of an hour.
    #[arg(long, value_enum, default_value_t = Mode::Quick)]
    pub(crate) mode: Mode,

    /// How often each row takes its turn [default: 3 quick, 5 full].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) rounds: Option<u64>,

    /// The workloads to run, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST",
          default_values_t = Workload::value_variants().to_vec())]
    pub(crate) workloads: Vec<Workload>,

    /// Only rows whose name contains one of these words; floors are always measured.
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub(crate) engines: Vec<String>,

    /// Also change 4 KiB of a state of 1 GiB; takes 4 GiB of memory and 8 GiB of disk.
    #[arg(long)]
    pub(crate) gib: bool,

    /// An existing directory on the disk to measure [default: the directory for temporary files].
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,

    /// Also write all figures as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Also write all figures as CSV, one line for each row of each table.
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,

    /// Describe the machine in these words instead of what is found out about it.
    #[arg(long, value_name = "TEXT")]
    pub(crate) machine: Option<String>,

    /// The seed of the order of turns, of the places that change, and of the moments of kills
    /// [default: random; printed with the results].
    #[arg(long)]
    pub(crate) seed: Option<u64>,

    /// No progress on standard error.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// How much effort to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// About two minutes; large states only where that is quick.
    Quick,
    /// All rows, longer turns.
    Full,
}

impl Mode {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Full => "full",
        }
    }
}

/// A kind of table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// Commit latency of one writer whose value changes wholly: 16 B to 10 MiB.
    Commit,
    /// Commit latency when 4 KiB of 1 MiB, of 64 MiB, of 1 GiB (--gib) change.
    Change,
    /// Throughput and latency of 1, 16 and 256 writers of 64-byte records.
    Writers,
    /// Opening and loading after the writer was killed, and what was lost.
    Reopen,
}

/// This program as a process that is killed, or that looks at what is left.
#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// Commit for ever.
    #[command(hide = true)]
    ChildCommit(ChildArgs),
    /// Open and load.
    #[command(hide = true)]
    ChildLoad(ChildArgs),
}

/// What a child works on.
#[derive(Debug, Args)]
pub(crate) struct ChildArgs {
    #[arg(long)]
    pub(crate) engine: String,
    #[arg(long, value_enum)]
    pub(crate) level: Level,
    #[arg(long)]
    pub(crate) dir: PathBuf,
    #[arg(long)]
    pub(crate) len: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn without_flags_every_workload_runs_quickly() {
        let cli = Cli::parse_from(["store-comparison"]);
        assert_eq!(cli.run.mode, Mode::Quick);
        assert_eq!(cli.run.workloads, Workload::value_variants());
    }
}
