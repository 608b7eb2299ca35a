//! What a run found, as documented fields with units. What is missing is `None`, never 0.

use persistent_actor::Durability;
use serde::Serialize;

use crate::cli::{EngineName, Workload};
use crate::scenario::System;
use crate::verification::Tally;

/// All figures of one run; `--json` writes exactly these fields.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measurement {
    /// The version of this program.
    pub version: &'static str,
    /// When the run began, in seconds of Unix time.
    pub started_at_s: u64,
    /// What ran the actors: `local` or `ray`.
    pub engine: EngineName,
    /// The version of Ray; `None` with another engine.
    pub ray_version: Option<String>,
    /// `default`, `safe_actor` or `prototype`.
    pub system: System,
    /// What a call's effect survives.
    pub durability: Durability,
    /// Whether the state is 10 MiB.
    pub large: bool,
    /// How long each call takes in the actor. Milliseconds.
    pub delay_ms: u64,
    /// How many actors.
    pub num_actors: usize,
    /// How many rounds.
    pub num_rounds: u64,
    /// Who was called when.
    pub workload: Workload,
    /// How many calls each actor had before it at once; `None` in the chain.
    pub in_flight: Option<u64>,
    /// Whether actors were killed.
    pub failure: bool,
    /// Seed of the kills' moments.
    pub seed: u64,
    /// Whether this is an optimised build; the times of others mean little.
    pub optimised: bool,

    /// The time of all rounds, without start-up and the final reading. Seconds.
    pub duration_s: f64,
    /// The time that the delays alone take. Seconds.
    pub floor_s: f64,
    /// The duration beyond the floor. Seconds.
    pub overhead_s: f64,
    /// The time from the first actor's start until all of them answer. Seconds.
    pub startup_s: f64,

    /// How many calls were committed when the run was resumed; `None` if it began anew.
    pub resumed_at_call: Option<u64>,
    /// How many calls of `process` were made.
    pub calls: u64,
    /// The time of a call as the caller sees it, delay included; `None` without calls.
    pub call_us: Option<Distribution>,

    /// How many calls were answered per second of the duration; `None` without calls.
    pub throughput_per_s: Option<f64>,

    /// How often an actor's process was started again.
    pub restarts: u64,
    /// How many calls were sent again after a restart; `None` with Ray, which does not tell.
    pub retries: Option<u64>,
    /// The kills, in order.
    pub kills: Vec<KillReport>,
    /// From a kill to the actor's next reply; `None` without kills. Milliseconds, median.
    pub recovery_ms_median: Option<f64>,
    /// The same, the longest.
    pub recovery_ms_max: Option<f64>,

    /// The memory of an actor's process at the end, what it shares counted in parts (`Pss` of
    /// proc_pid_smaps(5)); `None` where it could not be read. Bytes, median over the actors.
    pub actor_pss_bytes_median: Option<u64>,

    /// The state of each actor at the end; for large states the byte that fills it, or `mixed`.
    pub final_states: Vec<String>,
    /// How many actors ended with another state than the right one.
    pub diverged: usize,
    /// Whether all states are right and every update took effect exactly once.
    pub verified: bool,
    /// Updates that did not take effect exactly once.
    pub updates: Tally,
}

/// One actor killed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KillReport {
    /// Which actor.
    pub actor: usize,
    /// During which call of the run, counted from 0.
    pub at_call: u64,
    /// The actor's state before; `None` when it was not read.
    pub before: Option<String>,
    /// The actor's state after; `None` when it was not read.
    pub after: Option<String>,
    /// From the kill to the actor's next reply; `None` when there was none. Milliseconds.
    pub recovery_ms: Option<f64>,
}

/// A distribution of times, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Distribution {
    /// The shortest.
    pub min: f64,
    /// Half are shorter.
    pub median: f64,
    /// 99 of 100 are shorter.
    pub p99: f64,
    /// 999 of 1000 are shorter.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

impl Distribution {
    /// The distribution of these values; `None` when there are none.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        Some(Self {
            min: *values.first()?,
            median: quantile(&values, 0.5)?,
            p99: quantile(&values, 0.99)?,
            p999: quantile(&values, 0.999)?,
            max: *values.last()?,
        })
    }
}

/// The value below which the part `q` (0 to 1) of the sorted values lies, interpolated.
pub fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let position = q * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (sorted[position.floor() as usize], sorted[position.ceil() as usize]);
    Some(below + (above - below) * position.fract())
}

/// The median; `None` when there are no values.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    quantile(&values, 0.5)
}

/// A run that was not made, for the tests of what is printed and written.
#[cfg(test)]
pub(crate) fn example() -> Measurement {
    Measurement {
        version: "0.1.0",
        started_at_s: 1_800_000_000,
        engine: EngineName::Local,
        ray_version: None,
        system: System::SafeActor,
        durability: Durability::Power,
        large: false,
        delay_ms: 10,
        num_actors: 20,
        num_rounds: 20,
        workload: Workload::Chain,
        in_flight: None,
        failure: true,
        seed: 0,
        optimised: true,
        duration_s: 3.812,
        floor_s: 3.8,
        overhead_s: 0.012,
        startup_s: 0.02,
        resumed_at_call: None,
        calls: 380,
        call_us: Distribution::of(vec![10_000.0, 10_040.0, 10_200.0]),
        throughput_per_s: Some(99.7),
        restarts: 3,
        retries: Some(1),
        kills: [2, 9, 16]
            .map(|actor| KillReport {
                actor,
                at_call: 190,
                before: Some("7".to_owned()),
                after: Some("7".to_owned()),
                recovery_ms: Some(1.5),
            })
            .to_vec(),
        recovery_ms_median: Some(1.5),
        recovery_ms_max: Some(1.5),
        actor_pss_bytes_median: Some(600_000),
        final_states: vec!["1".to_owned(), "2".to_owned()],
        diverged: 0,
        verified: true,
        updates: Tally::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(vec![7.0]), Some(7.0));
        assert_eq!(median(Vec::new()), None);
    }

    #[test]
    fn what_is_missing_is_null_in_json() {
        let mut measurement = example();
        measurement.recovery_ms_median = None;
        let json = serde_json::to_value(&measurement).unwrap();
        assert!(json["recovery_ms_median"].is_null());
        assert_eq!(json["system"], "safe_actor");
        assert_eq!(json["durability"], "power");
    }
}
