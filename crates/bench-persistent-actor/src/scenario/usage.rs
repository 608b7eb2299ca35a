//! [`UsageError`]: what was asked for and cannot be done.

use std::path::PathBuf;

use crate::cli;
use crate::export::OutputError;
use crate::export::csv::CsvError;
use crate::ray::settings::RaySettingsError;
use crate::state_dir::StateDirError;

/// The command line asks for something that cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// More kills than actors.
    #[error(
        "--num-actors-kill={kills}: cannot kill more actors than there are; expected 0 to \
         {num_actors}, the value of --num-actors"
    )]
    TooManyKills {
        /// What was asked for.
        kills: u64,
        /// How many actors there are.
        num_actors: u64,
    },
    /// A chaos run whose actors have nobody to call.
    #[error("--num-actors={num_actors}: a chaos run needs actors that call each other; expected 2 to {max}", max = cli::MAX_ACTORS)]
    TooFewActors {
        /// What was asked for.
        num_actors: u64,
    },
    /// A state directory without a safe state.
    #[error(
        "--state-dir={}: the default system keeps no state; add --safe-state or leave \
         --state-dir out",
        path.display()
    )]
    StateDirWithoutSafeState {
        /// The directory.
        path: PathBuf,
    },
    /// Several calls at once where there is one at a time.
    #[error(
        "--in-flight={calls}: the chain makes one call at a time; add --workload=parallel or leave \
         --in-flight out"
    )]
    InFlightInAChain {
        /// What was asked for.
        calls: u64,
    },
    /// A run without an order of calls cannot be gone on with.
    #[error(
        "--resume with --workload=parallel: only a chain of calls can be resumed; leave --resume \
         out and give a new --state-dir"
    )]
    ResumeInParallel,
    /// Something of Ray without Ray.
    #[error("{flag}: this is for runs on Ray; add --engine=ray or leave {flag} out")]
    OnlyOnRay {
        /// The flag.
        flag: &'static str,
    },
    /// Something that a run on Ray does not do.
    #[error("{flag} with --engine=ray: {reason}; leave {flag} out")]
    NotOnRay {
        /// The flag.
        flag: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// A setting of Ray cannot be used.
    #[error(transparent)]
    Ray(#[from] RaySettingsError),
    /// Something that belongs to one run alone, with several.
    #[error("{flag} with --repeat={runs}: {why}")]
    NotRepeatable {
        /// The flag.
        flag: &'static str,
        /// How many runs were asked for.
        runs: u64,
        /// Why, and what would be accepted.
        why: &'static str,
    },
    /// The same file for two outputs.
    #[error("{flags}={}: two outputs cannot share a file", path.display())]
    SameFile {
        /// The flags.
        flags: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// `--output` cannot be used.
    #[error("--output={}: {source}", path.display())]
    Csv {
        /// The file.
        path: PathBuf,
        /// Why.
        source: CsvError,
    },
    /// `--json` or `--timeline` cannot be written.
    #[error("{flag}={}: {source}", path.display())]
    Output {
        /// The flag.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: OutputError,
    },
    /// The state directory cannot be used.
    #[error("{flag}={}: {source}", path.display())]
    StateDir {
        /// The flag or variable that names it.
        flag: &'static str,
        /// The directory.
        path: PathBuf,
        /// Why.
        source: StateDirError,
    },
}
