//! [`Assignment`]: what a worker is to run, as its node tells it.

use std::time::Duration;

use persistent_actor::testing::Switches;
use persistent_actor::{ActorState, Durability, LedgerLimits, Options, SessionId};
use serde::{Deserialize, Serialize};

/// What a worker is to run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Assignment {
    /// The name of the actor's type, by which it is registered.
    pub(crate) type_name: String,
    /// The actor's name.
    pub(crate) actor: String,
    /// Stands for this run of the node's program; see [`persistent_actor::Attempt`].
    pub(crate) run: SessionId,
    /// The bytes of the path of its state; unused without durability.
    pub(crate) path: Vec<u8>,
    pub(crate) durability: Durability,
    pub(crate) switches: Switches,
    pub(crate) limits: Limits,
    /// The run of the node's group journal.
    pub(crate) group_run: Option<u128>,
    /// Whether a process may be started that [holds](crate::memory_holder) its memory.
    pub(crate) holds_memory: bool,
    /// The epochs of earlier incarnations that this node has waited for; see [`Options::ended`].
    pub(crate) ended: Vec<u64>,
}

/// How many epochs of earlier incarnations are remembered.
const MAX_ENDED: usize = 16;

/// [`LedgerLimits`], to be sent.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Limits {
    max_bytes: u64,
    max_calls: usize,
    max_sessions: usize,
    max_age: Duration,
}

impl From<&LedgerLimits> for Limits {
    fn from(limits: &LedgerLimits) -> Self {
        let &LedgerLimits { max_bytes, max_calls, max_sessions, max_age } = limits;
        Self { max_bytes, max_calls, max_sessions, max_age }
    }
}

impl Assignment {
    /// Takes note of an incarnation whose process is gone; 0 is none.
    pub(crate) fn note_ended(&mut self, epoch: u64) {
        if epoch != 0 {
            self.ended.truncate(MAX_ENDED - 1);
            self.ended.insert(0, epoch);
        }
    }

    /// How the worker opens its state.
    pub(crate) fn options(&self) -> Options {
        let Limits { max_bytes, max_calls, max_sessions, max_age } = self.limits;
        ActorState::options()
            .durability(self.durability)
            .switches(self.switches)
            .group_run(self.group_run)
            .session(Some(self.run))
            .ended(self.ended.iter().copied())
            .ledger_limits(LedgerLimits { max_bytes, max_calls, max_sessions, max_age })
    }
}
