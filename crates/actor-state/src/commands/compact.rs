//! `compact`: a fresh checkpoint, and what it makes superfluous removed.

use std::time::Duration;

use persistent_actor::{ActorState, Durability, LedgerLimits};

use crate::cli::CompactArgs;
use crate::error::Error;
use crate::output::{Output, show_name};
use crate::reading::{Reading, refuse_if_held};
use crate::units::show_bytes;

/// Bounds that forget nothing: what is remembered is for the actor's program to say.
const REMEMBER_ALL: LedgerLimits = LedgerLimits {
    max_bytes: u64::MAX,
    max_calls: usize::MAX,
    max_sessions: usize::MAX,
    max_age: Duration::MAX,
};

pub(crate) fn run(args: &CompactArgs) -> Result<u8, Error> {
    let before = Reading::named(&args.state, &args.root)?;
    if !args.take_over {
        let what_to_do = "stop it, or take the state over from it with --take-over";
        refuse_if_held(&before.path, what_to_do)?;
    }
    let options = ActorState::options().create(false).durability(Durability::Power);
    let state = options.ledger_limits(REMEMBER_ALL).open(&before.path)?;
    let epoch = state.epoch();
    drop(state);
    let after = Reading::of(&before.path)?;
    let mut out = Output::new();
    out.line(&format!(
        "{}: {} -> {}, epoch {epoch}",
        show_name(&before.path.to_string_lossy()),
        show_bytes(before.disk_bytes()),
        show_bytes(after.disk_bytes()),
    ))?;
    out.finish()?;
    Ok(0)
}
