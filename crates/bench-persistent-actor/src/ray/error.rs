//! Why a run on Ray could not be made.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::ray::message::Message;
use crate::state_dir::StateDirError;

/// A run on Ray could not be completed.
#[derive(Debug, thiserror::Error)]
pub enum RayError {
    /// There is no such interpreter.
    #[error(
        "--engine=ray: cannot start Python ({}): {source}; in the project's directory, \
         `scripts/python-env.sh` makes an environment with everything; --python or \
         PERSISTENT_ACTOR_PYTHON names another interpreter",
        python.display()
    )]
    NoPython {
        /// What was tried.
        python: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The interpreter is too old.
    #[error(
        "--engine=ray: {} is Python {version}; expected Python 3.11 or newer, named with --python or \
         PERSISTENT_ACTOR_PYTHON, or in the project's directory the environment that \
         `scripts/python-env.sh` makes",
        python.display()
    )]
    OldPython {
        /// The interpreter.
        python: PathBuf,
        /// Its version.
        version: String,
    },
    /// The interpreter lacks packages.
    #[error(
        "--engine=ray: {} lacks {packages}; in the project's directory, `{}` installs what is \
         missing and `scripts/python-env.sh` makes an environment with everything; --python or \
         PERSISTENT_ACTOR_PYTHON names another interpreter",
        python.display(),
        install(python, packages)
    )]
    NoPackage {
        /// The interpreter.
        python: PathBuf,
        /// What it lacks, separated by spaces.
        packages: String,
    },
    /// There is no cluster at `--ray-address`.
    #[error(
        "--ray-address={address}: cannot join this cluster: {message}; expected the address of a \
         cluster that runs on this machine, HOST:PORT or \"auto\"; for one with token \
         authentication, set RAY_AUTH_MODE=token"
    )]
    Connect {
        /// What was asked for.
        address: String,
        /// What Ray said.
        message: String,
    },
    /// Ray did not start, or an actor failed.
    #[error("the run on Ray failed: {message}{log}")]
    Failed {
        /// What Python said.
        message: String,
        /// The end of the driver's log, on lines of its own.
        log: String,
    },
    /// The driver is gone.
    #[error("the run on Ray failed: its Python driver ended with {status}{log}")]
    Died {
        /// How.
        status: String,
        /// The end of its log, on lines of its own.
        log: String,
    },
    /// The driver says nothing.
    #[error("the run on Ray failed: nothing was heard of it for {after:?}{log}")]
    Silent {
        /// How long it was waited for.
        after: Duration,
        /// The end of its log, on lines of its own.
        log: String,
    },
    /// The driver did something else than it was told to.
    #[error("the run on Ray proves nothing: its driver was wrong: {problem}")]
    Protocol {
        /// What was wrong.
        problem: String,
    },
    /// The temporary directory cannot be made.
    #[error("cannot make a temporary directory for Ray in {}: {source}", root.display())]
    Directory {
        /// Where.
        root: PathBuf,
        /// Why.
        source: StateDirError,
    },
    /// The system refused something.
    #[error("cannot {what}: {source}")]
    System {
        /// What.
        what: &'static str,
        /// What it said.
        source: io::Error,
    },
}

impl RayError {
    /// Whether what was asked for cannot be done here; otherwise the run failed.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::NoPython { .. }
                | Self::OldPython { .. }
                | Self::NoPackage { .. }
                | Self::Connect { .. }
        )
    }

    pub(crate) fn unexpected(message: &Message) -> Self {
        let mut problem = format!("unexpected message {message:?}");
        problem.truncate(problem.floor_char_boundary(200));
        Self::Protocol { problem }
    }
}

/// The command that installs packages for this interpreter.
fn install(python: &Path, packages: &str) -> String {
    let sources = packages.split_whitespace().map(|package| match package {
        "ray" => "'ray>=2.40'",
        "persistent_actor" => "./python",
        other => other,
    });
    let sources: Vec<&str> = sources.collect();
    format!("{} -m pip install {}", python.display(), sources.join(" "))
}
