//! The flags of what can be done besides a run.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Level;
use super::numbers::{calls, repeat};

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

    /// No progress on standard error [default: false].
    #[arg(long)]
    pub quiet: bool,
}
