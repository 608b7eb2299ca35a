//! The workload's order of calls and its right answer, computed without any actor.
//!
//! In round `i` a value travels along the actors: in even rounds from the *last* actor's state
//! through the actors 1, 2, … n−1, in odd rounds from actor 0's state through n−2, n−3, … 0.
//! Each actor adds what it gets to its state and passes its state on.

use std::fmt;

use persistent_actor::Integer;

/// What the actors add up: integers of unlimited size, or bytes that wrap.
pub trait Number: Clone + PartialEq + fmt::Debug + fmt::Display + Send + Sync + 'static {
    /// Every actor's first state.
    fn one() -> Self;
    /// The sum; bytes wrap modulo 256.
    fn plus(&self, other: &Self) -> Self;
}

impl Number for Integer {
    fn one() -> Self {
        Self::from(1)
    }

    fn plus(&self, other: &Self) -> Self {
        let mut sum = self.clone();
        sum += other;
        sum
    }
}

impl Number for u8 {
    fn one() -> Self {
        1
    }

    fn plus(&self, other: &Self) -> Self {
        self.wrapping_add(*other)
    }
}

/// One round: whose state is read, and who is called with it in turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// The actor whose state begins the chain.
    pub source: usize,
    /// The actors that are called, in order.
    pub calls: Vec<usize>,
}

/// The round with this number among `num_actors` actors (at least one).
pub fn round(number: u64, num_actors: usize) -> Round {
    if number.is_multiple_of(2) {
        Round { source: num_actors - 1, calls: (1..num_actors).collect() }
    } else {
        Round { source: 0, calls: (0..num_actors - 1).rev().collect() }
    }
}

/// How many calls a run makes; the reads at the begin of each round are not counted.
pub fn num_calls(num_actors: usize, num_rounds: u64) -> u64 {
    num_rounds * (num_actors as u64 - 1)
}

/// The actors that are called, call by call.
pub fn callees(num_actors: usize, num_rounds: u64) -> impl Iterator<Item = usize> {
    (0..num_rounds).flat_map(move |number| round(number, num_actors).calls)
}

/// The right final states.
pub fn final_states<N: Number>(num_actors: usize, num_rounds: u64) -> Vec<N> {
    states_after(num_actors, num_calls(num_actors, num_rounds))
}

/// The right states after so many calls.
pub fn states_after<N: Number>(num_actors: usize, calls: u64) -> Vec<N> {
    let mut states = vec![N::one(); num_actors];
    let mut left = calls;
    for number in 0.. {
        if left == 0 {
            break;
        }
        let round = round(number, num_actors);
        let mut current = states[round.source].clone();
        for actor in round.calls {
            if left == 0 {
                break;
            }
            left -= 1;
            states[actor] = states[actor].plus(&current);
            current = states[actor].clone();
        }
    }
    states
}

/// How many of the first `calls` calls go to each actor.
pub fn calls_of_each(num_actors: usize, calls: u64) -> Vec<u64> {
    let per_round = num_actors as u64 - 1;
    let Some(rounds) = calls.checked_div(per_round) else { return vec![0; num_actors] };
    let (even, odd) = (rounds.div_ceil(2), rounds / 2);
    let last = num_actors - 1;
    let mut each: Vec<u64> = (0..num_actors)
        .map(|actor| if actor > 0 { even } else { 0 } + if actor < last { odd } else { 0 })
        .collect();
    for actor in &round(rounds, num_actors).calls[..(calls % per_round) as usize] {
        each[*actor] += 1;
    }
    each
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined<N: Number>(num_actors: usize, num_rounds: u64) -> String {
        let states: Vec<String> =
            final_states::<N>(num_actors, num_rounds).iter().map(N::to_string).collect();
        states.join(" ")
    }

    #[test]
    fn twenty_actors_and_rounds_end_as_the_prototype_does() {
        assert_eq!(
            joined::<Integer>(20, 20),
            include_str!("../tests/expected/small-20x20.txt").trim()
        );
        assert_eq!(joined::<u8>(20, 20), include_str!("../tests/expected/large-20x20.txt").trim());
    }

    #[test]
    fn seven_actors_and_five_rounds_end_as_the_prototype_does() {
        assert_eq!(joined::<Integer>(7, 5), "339 406 695 937 1116 1220 1309");
    }

    #[test]
    fn sixty_rounds_pass_128_bits() {
        let limit = Integer::from(u128::MAX);
        assert!(final_states::<Integer>(20, 60).iter().all(|state| *state > limit));
        assert!(final_states::<Integer>(20, 40).iter().any(|state| *state > limit));
    }

    #[test]
    fn bytes_are_the_integers_modulo_256() {
        let integers = final_states::<Integer>(9, 30);
        let bytes = final_states::<u8>(9, 30);
        for (integer, byte) in integers.iter().zip(bytes) {
            assert_eq!(integer.0.magnitude().to_bytes_le()[0], byte);
        }
    }

    #[test]
    fn after_any_call_the_states_and_counts_are_those_of_the_calls_before_it() {
        let callees: Vec<usize> = callees(5, 6).collect();
        let mut each = vec![0; 5];
        for (calls, callee) in callees.iter().enumerate() {
            assert_eq!(calls_of_each(5, calls as u64), each, "{calls}");
            each[*callee] += 1;
        }
        assert_eq!(calls_of_each(5, 24), each);
        assert_eq!(calls_of_each(1, 0), [0]);
        let before = states_after::<Integer>(5, 10);
        let after = states_after::<Integer>(5, 11);
        let changed: Vec<usize> = (0..5).filter(|&a| before[a] != after[a]).collect();
        assert_eq!(changed, [callees[10]]);
    }

    #[test]
    fn a_single_actor_is_never_called() {
        assert_eq!(num_calls(1, 20), 0);
        assert_eq!(joined::<Integer>(1, 20), "1");
    }

    #[test]
    fn the_rounds_go_forth_and_back() {
        assert_eq!(round(0, 4), Round { source: 3, calls: vec![1, 2, 3] });
        assert_eq!(round(1, 4), Round { source: 0, calls: vec![2, 1, 0] });
        assert_eq!(callees(4, 2).collect::<Vec<_>>(), [1, 2, 3, 2, 1, 0]);
    }
}
