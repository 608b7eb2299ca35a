//! The chaos run: everything is killed, and the right answer is known.
//!
//! Real processes and real signals, in three scenes:
//! - [`scene`], with small states and again with large ones: chains of actors work while workers
//!   are killed with SIGKILL at random instants of a call, at exact points of it, and while they
//!   start; and while workers are stopped with SIGSTOP, superseded, and woken with SIGCONT when
//!   their successor has served: they must find that they are fenced;
//! - [`program`]: the whole benchmark, started as a child, is killed with SIGKILL at random
//!   instants and resumed, until it ends by itself: with small states, with large ones, and with
//!   many [`chains`] whose actors share syncs.
//!
//! At the end every state is compared with the right one, and every reply has been, on the way;
//! then all actors end, a new node opens what is on disk, and that must be the same.
//! The seed decides who is hit, when and how; what exactly is hit depends on the machine's
//! timing, too.

pub mod chains;
pub mod faults;
pub mod program;
pub mod report;
pub mod scene;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use persistent_actor::Durability;
use persistent_actor::testing::Switches;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::actors::{LargeActorHandle, SmallActorHandle};
use crate::chaos::report::Report;
use crate::chaos::scene::Scene;
use crate::cli::RunArgs;
use crate::notes::Notes;

/// How many chains of small actors work at once.
const SMALL_CHAINS: usize = 4;

/// How many chains of large actors work at once, and how many actors each has at most: a value
/// has 10 MiB.
const LARGE_CHAINS: usize = 2;
const LARGE_ACTORS: usize = 3;

/// Every so many faults, one is for large states.
const ONE_LARGE_IN: u64 = 10;

/// What a chaos run is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChaosPlan {
    /// Seed of all that is random.
    pub seed: u64,
    /// How many workers are killed.
    pub kills: u64,
    /// How many workers are stopped, superseded and woken.
    pub zombies: u64,
    /// How often the whole program is killed.
    pub restarts: u64,
    /// How many actors a chain of small states has.
    pub num_actors: usize,
    /// What a call's effect survives.
    pub durability: Durability,
    /// What is switched off, to test this test.
    pub switches: Switches,
}

impl ChaosPlan {
    /// What the flags ask for; the seed is that of `--chaos`.
    pub fn new(seed: u64, args: &RunArgs) -> Self {
        Self {
            seed,
            kills: args.kills,
            zombies: args.zombies,
            restarts: args.restarts,
            num_actors: args.num_actors as usize,
            durability: args.durability.into(),
            switches: Switches {
                dedup: !args.without_dedup,
                fencing: !args.without_fencing,
                ..Switches::default()
            },
        }
    }

    /// How many faults there will be.
    pub fn faults(&self) -> u64 {
        self.kills + self.zombies + self.restarts
    }

    /// Random numbers for one part of the run; each part has its own.
    fn random(&self, part: u64) -> StdRng {
        StdRng::seed_from_u64(self.seed ^ part.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }
}

/// A chaos run could not be carried out. What it *finds* is no error but part of the [`Report`].
#[derive(Debug, thiserror::Error)]
pub enum ChaosError {
    /// A file or directory of the run itself.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// On what.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The benchmark could not be started as a child.
    #[error("cannot start this program as a child: {0}")]
    Start(#[source] std::io::Error),
}

/// Carries the plan out in `dir`, which is new or empty.
///
/// # Errors
/// See [`ChaosError`].
pub async fn run(plan: &ChaosPlan, dir: &Path, notes: &Arc<Notes>) -> Result<Report, ChaosError> {
    let begin = Instant::now();
    let mut report = Report::new(plan);
    let large_kills = plan.kills / ONE_LARGE_IN;
    let large_zombies = plan.zombies / ONE_LARGE_IN;
    let small = Scene {
        name: "small",
        first_part: 0,
        chains: SMALL_CHAINS,
        num_actors: plan.num_actors,
        kills: plan.kills - large_kills,
        zombies: plan.zombies - large_zombies,
    };
    let large = Scene {
        name: "large",
        first_part: SMALL_CHAINS as u64,
        chains: LARGE_CHAINS,
        num_actors: plan.num_actors.min(LARGE_ACTORS),
        kills: large_kills,
        zombies: large_zombies,
    };
    scene::run::<SmallActorHandle>(plan, &small, dir, notes, &mut report).await;
    scene::run::<LargeActorHandle>(plan, &large, dir, notes, &mut report).await;
    program::run(plan, dir, notes, &mut report).await?;
    report.judge();
    report.duration_s = begin.elapsed().as_secs_f64();
    Ok(report)
}
