//! Which actors are killed, and when.
//!
//! Moments are given as progress (the number of the call at which the kill is set off) and a
//! random part of a call's time, so that a plan means the same for every delay, 0 included, and
//! the kill lands anywhere in a call.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// One actor to be killed at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kill {
    /// The kill is set off when this call (counted from 0) is made.
    pub at_call: u64,
    /// When, from then on.
    pub moment: Moment,
    /// Whom to kill.
    pub actor: usize,
}

/// When in a call a kill happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Moment {
    /// From outside, when this part (0 to 1) of the time of one call has passed.
    Part(f64),
    /// In the call itself, after its commit and before its reply.
    AfterCommit,
}

/// All kills of a run, in the order of their moments.
pub type KillPlan = Vec<Kill>;

/// `kills` of `num_actors` actors, each in the centre of one of `kills` equal parts: 3 of 20 are
/// `--x------x------x---`.
///
/// The `k`-th victim is `⌊((2k + 1) · num_actors / kills − 1) / 2⌋`. No two are the same while
/// `kills ≤ num_actors`.
pub fn victims(num_actors: usize, kills: usize) -> Vec<usize> {
    (0..kills).map(|k| ((2 * k + 1) * num_actors - kills) / (2 * kills)).collect()
}

/// `kills` different actors, one after the other: the first at half of the run, the others
/// spread evenly over the rest.
pub fn spread(calls: u64, num_actors: usize, kills: usize, seed: u64) -> KillPlan {
    let mut random = StdRng::seed_from_u64(seed);
    let half = calls / 2;
    let victims = victims(num_actors, kills);
    let moments = (0..kills as u64).map(|k| half + k * (calls - half) / kills as u64);
    moments
        .zip(victims)
        .map(|(at_call, actor)| Kill { at_call, moment: Moment::Part(random.random()), actor })
        .collect()
}

/// `kills` random calls; each kills the very actor that is being called.
pub fn busy(callees: &[usize], kills: u64, seed: u64) -> KillPlan {
    let mut random = StdRng::seed_from_u64(seed);
    if callees.is_empty() {
        return Vec::new();
    }
    let mut plan: Vec<(usize, f64)> =
        (0..kills).map(|_| (random.random_range(0..callees.len()), random.random())).collect();
    plan.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let kill = |(call, part)| Kill {
        at_call: call as u64,
        moment: Moment::Part(part),
        actor: callees[call],
    };
    plan.into_iter().map(kill).collect()
}

/// `kills` different random calls (all of them, if there are fewer); each is killed after its
/// commit and before its reply.
pub fn after_commit(callees: &[usize], kills: u64, seed: u64) -> KillPlan {
    let mut random = StdRng::seed_from_u64(seed);
    let amount = usize::try_from(kills).unwrap_or(usize::MAX).min(callees.len());
    let mut calls = rand::seq::index::sample(&mut random, callees.len(), amount).into_vec();
    calls.sort_unstable();
    let kill =
        |call| Kill { at_call: call as u64, moment: Moment::AfterCommit, actor: callees[call] };
    calls.into_iter().map(kill).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain;

    fn callees(num_actors: usize, num_rounds: u64) -> Vec<usize> {
        chain::callees(num_actors, num_rounds).collect()
    }

    fn picture(num_actors: usize, kills: usize) -> String {
        let victims = victims(num_actors, kills);
        (0..num_actors).map(|actor| if victims.contains(&actor) { 'x' } else { '-' }).collect()
    }

    #[test]
    fn victims_are_spread_evenly_and_rather_in_the_middle() {
        assert_eq!(picture(20, 3), "--x------x------x---");
        assert_eq!(picture(20, 1), "---------x----------");
        assert_eq!(picture(20, 2), "----x---------x-----");
        assert_eq!(picture(7, 3), "x--x-x-");
        assert_eq!(picture(4, 4), "xxxx");
    }

    #[test]
    fn exactly_as_many_different_actors_are_killed_as_were_asked_for() {
        for num_actors in 1..=40 {
            for kills in 0..=num_actors {
                let mut victims = victims(num_actors, kills);
                victims.dedup();
                assert_eq!(victims.len(), kills, "{kills} of {num_actors}");
                assert!(victims.iter().all(|&victim| victim < num_actors));
            }
        }
    }

    #[test]
    fn the_first_kill_comes_at_half_time_and_the_others_before_the_end() {
        let plan = spread(380, 20, 3, 0);
        let moments: Vec<u64> = plan.iter().map(|kill| kill.at_call).collect();
        assert_eq!(moments, [190, 253, 316]);
        for (actors, rounds, kills) in [(2, 1, 2), (1, 20, 1), (5, 0, 5), (9, 3, 9)] {
            let calls = chain::num_calls(actors, rounds);
            let plan = spread(calls, actors, kills, 0);
            assert_eq!(plan.len(), kills);
            assert!(plan.iter().all(|kill| kill.at_call < calls.max(1)));
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_plan() {
        assert_eq!(spread(380, 20, 3, 5), spread(380, 20, 3, 5));
        assert_ne!(spread(380, 20, 3, 5), spread(380, 20, 3, 6));
        assert_eq!(busy(&callees(20, 20), 9, 5), busy(&callees(20, 20), 9, 5));
    }

    #[test]
    fn no_call_is_killed_twice_after_its_commit() {
        let mut calls: Vec<u64> =
            after_commit(&callees(7, 9), 40, 1).iter().map(|k| k.at_call).collect();
        calls.dedup();
        assert_eq!(calls.len(), 40);
        assert_eq!(after_commit(&callees(7, 9), 1000, 1).len() as u64, chain::num_calls(7, 9));
    }

    #[test]
    fn a_busy_plan_kills_whom_the_call_goes_to() {
        let callees: Vec<usize> = chain::callees(7, 9).collect();
        let plan = busy(&callees, 100, 1);
        assert_eq!(plan.len(), 100);
        assert!(plan.iter().all(|kill| callees[kill.at_call as usize] == kill.actor));
        assert!(plan.is_sorted_by_key(|kill| kill.at_call));
    }
}
