//! Many calls to one actor: whether the second half costs more than the first, and how long the
//! upkeep of the store lets a call wait.

use std::process::{Command, Stdio};
use std::time::Instant;

use persistent_actor::{ActorState, CallId, Durability, SessionId};

use super::journal::commit;
use super::probe::micros;
use super::what::{Found, Row, Target, What};
use super::{Context, Effort, FloorsError, system};
use crate::long_run::{self, Part};
use crate::measurement::{median, quantile};

const LATENCY_1: What = What::us("long_latency_first", "median call in the first half");
const LATENCY_2: What = What::us("long_latency_second", "median call in the second half");
const MEMORY_1: What =
    What::mib("long_memory_first", "most memory (PSS) of actor and node in the first half");
const MEMORY_2: What =
    What::mib("long_memory_second", "most memory (PSS) of actor and node in the second half");
const DISK_1: What = What::mib("long_disk_first", "most disk space in the first half");
const DISK_2: What = What::mib("long_disk_second", "most disk space in the second half");
const TAIL: What = What::us("long_p9999", "the call that 9 999 of 10 000 are shorter than");
const POWER_CALL: What = What::us("long_power_median", "median call, `power`");
const PAUSE: What = What::us(
    "long_pause_process",
    "upkeep of the store between two calls (99 % of those with a checkpoint are shorter), `process`",
);
const PAUSE_POWER: What = What::us(
    "long_pause_power",
    "upkeep of the store between two calls (99 % of those with a checkpoint are shorter), `power`",
);

const PAUSES: What =
    What::count("long_pauses_process", "pauses with upkeep of the store, `process`");
const PAUSES_POWER: What =
    What::count("long_pauses_power", "pauses with upkeep of the store, `power`");

pub(super) const ROWS: &[Row] = &[
    Row {
        key: "long-latency",
        work: "a long run: latency stays flat",
        product: &LATENCY_2,
        floors: &[&LATENCY_1],
        target: Target::AtMost(1.1),
    },
    Row {
        key: "long-memory",
        work: "a long run: memory stays flat",
        product: &MEMORY_2,
        floors: &[&MEMORY_1],
        target: Target::AtMost(1.1),
    },
    Row {
        key: "long-disk",
        work: "a long run: disk stays flat",
        product: &DISK_2,
        floors: &[&DISK_1],
        target: Target::AtMost(1.1),
    },
    Row {
        key: "long-pauses-process",
        work: "checkpoint pauses beside the median call, process",
        product: &PAUSE,
        floors: &[&LATENCY_1],
        target: Target::AtMost(10.0),
    },
    Row {
        key: "long-pauses-power",
        work: "checkpoint pauses beside the median call, power",
        product: &PAUSE_POWER,
        floors: &[&POWER_CALL],
        target: Target::AtMost(10.0),
    },
];

/// How many of the calls are made at `power`, too: one in so many.
const POWER_PART: u64 = 10;

/// How many times as many of them are made to look at the pauses: of a hundred pauses with upkeep,
/// the one that 99 % are shorter than is the longest, whatever it met by chance.
const PAUSES_PART: u64 = 6;

/// Upkeep that takes longer than this has done something. Microseconds.
const DID_SOMETHING_US: f64 = 2.0;

pub(super) fn measure(context: &Context<'_>) -> Result<Vec<Found>, FloorsError> {
    let _one = context.on_one_processor();
    let calls = match context.effort {
        Effort::Quick => 20_000,
        Effort::Normal => 100_000,
        Effort::Full => 1_000_000,
    };
    let process = parts(context, Durability::Process, calls)?;
    let power = parts(context, Durability::Power, calls / POWER_PART)?;
    let (first, second) = process.split_at(process.len() / 2);
    let middle = |parts: &[Part]| median(parts.iter().map(|part| part.us.median).collect());
    let most = |parts: &[Part], figure: fn(&Part) -> u64| {
        let most = parts.iter().map(figure).max();
        most.map(|bytes| bytes as f64 / f64::from(1 << 20))
    };
    let memory = |part: &Part| part.worker.pss_bytes + part.node.pss_bytes;
    let (pause, pauses) = upkeep(context, Durability::Process, calls)?;
    let power_calls = calls / POWER_PART * PAUSES_PART;
    let (pause_power, pauses_power) = upkeep(context, Durability::Power, power_calls)?;
    let found = [
        (LATENCY_1, middle(first)),
        (LATENCY_2, middle(second)),
        (MEMORY_1, most(first, memory)),
        (MEMORY_2, most(second, memory)),
        (DISK_1, most(first, |part| part.disk_bytes)),
        (DISK_2, most(second, |part| part.disk_bytes)),
        (TAIL, median(process.iter().map(|part| part.p9999_us).collect())),
        (POWER_CALL, middle(&power)),
        (PAUSE, pause),
        (PAUSES, Some(pauses as f64)),
        (PAUSE_POWER, pause_power),
        (PAUSES_POWER, Some(pauses_power as f64)),
    ];
    Ok(found.into_iter().filter_map(|(what, v)| Some(Found { what, value: v? })).collect())
}

/// A long run in a process of its own: this one's memory holds what was measured before.
fn parts(
    context: &Context<'_>,
    durability: Durability,
    calls: u64,
) -> Result<Vec<Part>, FloorsError> {
    let output = long_run_command(context, durability, calls).output();
    let output = output.map_err(system("start a long run"))?;
    let parts = long_run::read(&String::from_utf8_lossy(&output.stdout));
    match parts {
        Some(parts) if output.status.success() => Ok(parts),
        _ => Err(FloorsError::Wrong("the long run failed")),
    }
}

fn long_run_command(context: &Context<'_>, durability: Durability, calls: u64) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg("long-run").arg(format!("--calls={calls}"));
    command.arg(format!("--durability={durability}")).arg("--dir").arg(context.dir);
    if context.quiet {
        command.arg("--quiet");
    }
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    command
}

/// The time between two commits of the store in which it keeps its files in order: after a reply,
/// but before the next call. Of those times in which it did something, 99 of 100 are shorter; and how
/// many there were.
fn upkeep(
    context: &Context<'_>,
    durability: Durability,
    calls: u64,
) -> Result<(Option<f64>, usize), FloorsError> {
    let options = ActorState::options().durability(durability);
    let state = options.open(context.dir.join(format!("pauses-{durability}")));
    let mut state = state.map_err(super::wrong_store)?;
    let session = SessionId::generate().map_err(system("make an identity"))?;
    let mut pauses = Vec::new();
    for sequence in 0..calls {
        commit(&mut state, CallId { session, sequence })?;
        let begin = Instant::now();
        state.maintain().map_err(super::wrong_store)?;
        pauses.push(micros(begin));
    }
    pauses.retain(|time| *time > DID_SOMETHING_US);
    pauses.sort_by(f64::total_cmp);
    Ok((quantile(&pauses, 0.99), pauses.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::rc::Rc;

    #[test]
    fn a_long_run_for_a_quiet_table_is_quiet_too() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let runtime = Rc::new(runtime);
        for quiet in [false, true] {
            let (dir, effort) = (Path::new("dir"), Effort::Quick);
            let context = Context { runtime: &runtime, dir, effort, only: &[], quiet };
            let command = long_run_command(&context, Durability::Process, 7);
            assert_eq!(command.get_args().any(|flag| flag == "--quiet"), quiet);
        }
    }
}
