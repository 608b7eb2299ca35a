//! What a chaos run found, as documented fields.

use std::io::{self, Write};

use persistent_actor::Durability;
use serde::Serialize;

use crate::chaos::ChaosPlan;
use crate::verification::Tally;

/// All figures of a chaos run; `--json` writes exactly these fields.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The version of this program.
    pub version: &'static str,
    /// The seed, which repeats the plan.
    pub seed: u64,
    /// What a call's effect survives.
    pub durability: Durability,
    /// How long it all took. Seconds.
    pub duration_s: f64,
    /// Workers that were to be killed.
    pub kills_planned: u64,
    /// Workers that died of SIGKILL, by when they were killed.
    pub kills: Kills,
    /// Workers that were to be stopped and superseded.
    pub zombies_planned: u64,
    /// What became of them.
    pub zombies: Zombies,
    /// How often the whole program was to be killed.
    pub program_kills_planned: u64,
    /// How often it was.
    pub program_kills: u64,
    /// Runs that were interrupted in this way and came to their end.
    pub programs_completed: u64,
    /// Calls that were made and answered.
    pub calls: u64,
    /// Calls that were sent again after a worker's death.
    pub retries: u64,
    /// Of those, calls that had been committed and were answered from the record.
    pub replays: u64,
    /// Updates that did not take effect exactly once.
    pub updates: Tally,
    /// Actors whose final state is not the right one.
    pub diverged: u64,
    /// What went wrong beside that, in words.
    pub failures: Vec<String>,
    /// Whether all faults took place, every zombie was fenced, and every update took effect
    /// exactly once.
    pub exact: bool,
}

/// Workers that were killed, by when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Kills {
    /// At a random instant of a call or just after it.
    pub in_call: u64,
    /// At an exact point of a call: before it runs, before its commit, between commit and reply.
    pub at_point: u64,
    /// Of those, between commit and reply.
    pub between_commit_and_reply: u64,
    /// While the next incarnation started: after another kill.
    pub while_starting: u64,
}

impl Kills {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.in_call + self.at_point + self.while_starting
    }
}

/// What became of workers that were stopped, superseded and woken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Zombies {
    /// They tried to commit, found that they were fenced, and ended.
    pub fenced: u64,
    /// They answered a call: an acknowledged update that is lost.
    pub not_fenced: u64,
}

impl Report {
    /// A report without findings yet.
    pub fn new(plan: &ChaosPlan) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            seed: plan.seed,
            durability: plan.durability,
            duration_s: 0.0,
            kills_planned: plan.kills,
            kills: Kills::default(),
            zombies_planned: plan.zombies,
            zombies: Zombies::default(),
            program_kills_planned: plan.restarts,
            program_kills: 0,
            programs_completed: 0,
            calls: 0,
            retries: 0,
            replays: 0,
            updates: Tally::default(),
            diverged: 0,
            failures: Vec::new(),
            exact: false,
        }
    }

    /// Passes judgement when all is done.
    pub fn judge(&mut self) {
        let carried_out = self.kills.total() >= self.kills_planned
            && self.zombies.fenced >= self.zombies_planned
            && self.program_kills >= self.program_kills_planned;
        self.exact = carried_out
            && self.zombies.not_fenced == 0
            && self.updates.is_clean()
            && self.diverged == 0
            && self.failures.is_empty();
    }
}

/// Prints the report; with `quiet` its verdict alone.
///
/// # Errors
/// What the system said.
pub fn print(out: &mut impl Write, r: &Report, quiet: bool) -> io::Result<()> {
    if !quiet {
        write!(out, "{}", findings(r))?;
    }
    let Tally { lost, doubled, unexplained } = r.updates;
    let unexplained = match unexplained {
        0 => String::new(),
        n => format!(", {n} unexplained"),
    };
    writeln!(out, "updates: {lost} lost, {doubled} doubled{unexplained}")?;
    for failure in &r.failures {
        writeln!(out, "failure: {failure}")?;
    }
    match (r.exact, r.diverged) {
        (true, _) => writeln!(out, "state: exact")?,
        (false, 0) => writeln!(out, "state: FAILURE: the promises were not kept")?,
        (false, n) => writeln!(out, "state: FAILURE: {n} actors diverge")?,
    }
    out.flush()
}

fn findings(r: &Report) -> String {
    let k = &r.kills;
    format!(
        "chaos: seed {}, durability {}, {:.1} s\n\
         kills: {} workers by SIGKILL: {} at random instants of calls, {} while starting, {} at \
         exact points ({} of them between commit and reply)\n\
         zombies: {} stopped, superseded and woken: {} fenced, {} not fenced\n\
         program: killed {} times by SIGKILL, {} interrupted runs resumed to their end\n\
         calls: {}, {} sent again, {} of these answered from their record\n",
        r.seed,
        r.durability,
        r.duration_s,
        k.total(),
        k.in_call,
        k.while_starting,
        k.at_point,
        k.between_commit_and_reply,
        r.zombies.fenced + r.zombies.not_fenced,
        r.zombies.fenced,
        r.zombies.not_fenced,
        r.program_kills,
        r.programs_completed,
        r.calls,
        r.retries,
        r.replays,
    )
}
