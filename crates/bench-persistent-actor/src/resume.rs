//! Where an interrupted run stands, and how it goes on: exactly once over restarts of the whole
//! program.
//!
//! # Why nothing is lost or doubled
//! Within one program, a call that is sent again has the same id, and the ledger answers it. A
//! program that was killed has taken the ids of its calls with it. So the position is kept where
//! it cannot disagree with the effect: each actor counts the calls that it applied, in the same
//! atomic commit as the state they changed.
//!
//! 1. The chain makes call `c + 1` only after the reply of call `c`, and a reply leaves only after
//!    its commit. So the committed calls are always the first `c` of the chain, for some `c`; the
//!    one that was under way is among them or not.
//! 2. [`position`] is read only when *every* actor was opened by the new program. Opening fences
//!    the workers of the old one: should one of them still be alive, its commit either came before
//!    and is seen, or is ignored. From then on the counts change by our calls alone.
//! 3. The counts determine `c`: it is their sum, and they must be exactly those of the chain's
//!    first `c` calls. If they are not, calls were lost or doubled; they are counted, and the run
//!    ends without another call.
//! 4. The value that call `c + 1` carries is the reply of call `c`, which is the state of the
//!    actor that answered it: nobody has changed it since.
//! 5. The states must be the right ones after `c` calls. So every resumption checks all that came
//!    before it.

use crate::chain;
use crate::verification::Tally;

/// How many of the run's calls are committed, from how many each actor has applied.
///
/// # Errors
/// The counts are not those of the chain's first calls, for any number of them: how many calls
/// are lost and doubled, measured against the number of calls that fits best; among equals, the
/// highest.
pub fn position(num_actors: usize, num_rounds: u64, applied: &[u64]) -> Result<u64, Tally> {
    let total = chain::num_calls(num_actors, num_rounds);
    let sum = applied.iter().fold(0u64, |sum, &calls| sum.saturating_add(calls));
    if sum <= total && chain::calls_of_each(num_actors, sum) == applied {
        return Ok(sum);
    }
    // Every actor is called once or twice in any two rounds, so what fits best is near the sum.
    let reach = 2 * num_actors as u64;
    let first = sum.saturating_sub(reach).min(total);
    let last = sum.saturating_add(reach).min(total);
    let mut best: Option<Tally> = None;
    for calls in first..=last {
        let found = compare(&chain::calls_of_each(num_actors, calls), applied);
        let faults = |tally: &Tally| tally.lost.saturating_add(tally.doubled);
        if best.is_none_or(|best| faults(&found) <= faults(&best)) {
            best = Some(found);
        }
    }
    Err(best.unwrap_or_default())
}

/// What each actor lacks or has too much.
fn compare(expected: &[u64], applied: &[u64]) -> Tally {
    let mut tally = Tally::default();
    for (&expected, &applied) in expected.iter().zip(applied) {
        tally.lost += expected.saturating_sub(applied);
        tally.doubled = tally.doubled.saturating_add(applied.saturating_sub(expected));
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_position_is_found_from_the_counts_alone() {
        for (actors, rounds) in [(1, 3), (2, 5), (7, 5), (20, 4)] {
            let mut applied = vec![0; actors];
            for (calls, callee) in chain::callees(actors, rounds).enumerate() {
                assert_eq!(position(actors, rounds, &applied), Ok(calls as u64));
                applied[callee] += 1;
            }
            let total = chain::num_calls(actors, rounds);
            assert_eq!(position(actors, rounds, &applied), Ok(total));
        }
    }

    #[test]
    fn a_call_that_is_missing_or_there_twice_is_counted() {
        for calls in 40..80 {
            let right = chain::calls_of_each(7, calls);
            for actor in 0..7 {
                let last = chain::callees(7, 20).nth(calls as usize - 1);
                let next = chain::callees(7, 20).nth(calls as usize);
                if last != Some(actor) {
                    let mut lost = right.clone();
                    lost[actor] -= 1;
                    let tally = position(7, 20, &lost).unwrap_err();
                    assert_eq!(tally.lost + tally.doubled, 1, "{calls}, actor {actor}");
                }
                if next != Some(actor) {
                    let mut doubled = right.clone();
                    doubled[actor] += 1;
                    let tally = position(7, 20, &doubled).unwrap_err();
                    assert_eq!(tally.lost + tally.doubled, 1, "{calls}, actor {actor}");
                }
            }
        }
    }

    #[test]
    fn more_calls_than_the_run_has_are_doubled() {
        let mut applied = chain::calls_of_each(4, 9);
        applied[2] += 3;
        let tally = position(4, 3, &applied).unwrap_err();
        assert_eq!(tally, Tally { doubled: 3, ..Tally::default() });
        assert_eq!(position(1, 3, &[2]), Err(Tally { doubled: 2, ..Tally::default() }));
    }
}
