//! The numbers on the command line, and what is accepted.

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

pub(super) fn calls(text: &str) -> Result<u64, String> {
    whole(text, "calls", LONG_RUN_CALLS.0, LONG_RUN_CALLS.1)
}

pub(super) fn repeat(text: &str) -> Result<u64, String> {
    whole(text, "runs", 1, MAX_REPEAT)
}

pub(super) fn milliseconds(text: &str) -> Result<u64, String> {
    whole(text, "milliseconds", 0, MAX_DELAY_MS)
}

pub(super) fn actors(text: &str) -> Result<u64, String> {
    whole(text, "actors", 1, MAX_ACTORS)
}

pub(super) fn kills(text: &str) -> Result<u64, String> {
    whole(text, "actors", 0, MAX_ACTORS)
}

pub(super) fn rounds(text: &str) -> Result<u64, String> {
    whole(text, "rounds", 0, MAX_ROUNDS)
}

pub(super) fn faults(text: &str) -> Result<u64, String> {
    whole(text, "faults", 0, MAX_FAULTS)
}

pub(super) fn in_flight(text: &str) -> Result<u64, String> {
    whole(text, "calls", 1, MAX_IN_FLIGHT)
}

pub(super) fn seed(text: &str) -> Result<u64, String> {
    whole(text, "no unit", 0, u64::MAX).map_err(|error| error.replace(" of no unit", ""))
}

fn whole(text: &str, unit: &str, min: u64, max: u64) -> Result<u64, String> {
    text.parse()
        .ok()
        .filter(|value| (min..=max).contains(value))
        .ok_or_else(|| format!("expected a whole number of {unit} from {min} to {max}"))
}
