//! Opening a state in order to change it.

use std::path::Path;
use std::time::Duration;

use persistent_actor::{ActorState, Durability, LedgerLimits};

use crate::error::Error;
use crate::reading::refuse_if_held;

/// Bounds that forget nothing: what is remembered is for the actor's program to say.
const REMEMBER_ALL: LedgerLimits = LedgerLimits {
    max_bytes: u64::MAX,
    max_calls: usize::MAX,
    max_sessions: usize::MAX,
    max_age: Duration::MAX,
};

/// Opens a state that nobody holds, or takes it over from who does.
pub(crate) fn open(path: &Path, take_over: bool) -> Result<ActorState, Error> {
    if !take_over {
        refuse_if_held(path, "stop it, or take the state over from it with --take-over")?;
    }
    let options = ActorState::options().create(false).durability(Durability::Power);
    Ok(options.ledger_limits(REMEMBER_ALL).open(path)?)
}
