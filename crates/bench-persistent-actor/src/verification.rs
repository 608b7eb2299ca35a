//! Lost and doubled updates, counted instead of assumed away.
//!
//! # What is counted
//! An actor's state is 1 plus the arguments of all calls that took effect, and every reply shows
//! the state. An [`Account`] follows one actor: it keeps the states that were seen and, for each
//! reply, looks for the explanation that needs the fewest faults:
//! - an update is **lost** when the state no longer contains it: the actor went on from an
//!   earlier state (after a restart from 1, all updates before are lost), or a call's own
//!   argument is missing from its reply;
//! - an update is **doubled** when a call's argument is contained twice (counted once for each
//!   extra time);
//! - a state that no combination of these explains is **unexplained**.
//!
//! Each update is counted once, when its loss is seen first. For bytes, of which only 8 bits
//! are known, a wrong state can agree with another explanation by accident; that the state is
//! wrong is never in doubt.

use serde::Serialize;

use crate::chain::Number;

/// How often a single call may have been applied in an explanation.
const MAX_APPLIED: u64 = 4;

/// Updates that did not take effect exactly once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Updates that a state should contain and does not.
    pub lost: u64,
    /// Times that an update was applied beyond the first.
    pub doubled: u64,
    /// States that neither losses nor doublings explain.
    pub unexplained: u64,
}

impl Tally {
    /// Whether every update took effect exactly once.
    pub fn is_clean(self) -> bool {
        self == Self::default()
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            lost: self.lost + other.lost,
            doubled: self.doubled + other.doubled,
            unexplained: self.unexplained + other.unexplained,
        }
    }
}

/// An update that is part of the state.
#[derive(Clone, Debug)]
struct Update<N> {
    argument: N,
    /// The state after it.
    after: N,
}

/// What one actor was asked to do and what it showed.
#[derive(Clone, Debug)]
pub struct Account<N> {
    first: N,
    updates: Vec<Update<N>>,
    tally: Tally,
}

/// One way to explain a state that was seen.
#[derive(Clone, Copy, Debug)]
struct Explanation {
    /// How many of the updates are still contained.
    kept: usize,
    /// How often the last kept update was applied beyond the first time.
    repeated: u64,
    /// How often the call itself was applied.
    applied: u64,
}

impl<N: Number> Default for Account<N> {
    fn default() -> Self {
        Self::from_state(N::one())
    }
}

impl<N: Number> Account<N> {
    /// The account of an actor that goes on from this state.
    pub fn from_state(first: N) -> Self {
        Self { first, updates: Vec::new(), tally: Tally::default() }
    }

    /// A call with this argument was answered with this state.
    pub fn replied(&mut self, argument: &N, state: &N) {
        if self.state().plus(argument) == *state {
            self.updates.push(Update { argument: argument.clone(), after: state.clone() });
            return;
        }
        let explanation = self.explain(Some(argument), state);
        self.count(explanation, 1);
        self.updates.push(Update { argument: argument.clone(), after: state.clone() });
    }

    /// The state was read.
    pub fn read(&mut self, state: &N) {
        if self.state() == state {
            return;
        }
        let explanation = self.explain(None, state);
        self.count(explanation, 0);
        match self.updates.last_mut() {
            Some(update) => update.after = state.clone(),
            None => self.first = state.clone(),
        }
    }

    /// What was found so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    fn state(&self) -> &N {
        self.updates.last().map_or(&self.first, |update| &update.after)
    }

    fn count(&mut self, explanation: Option<Explanation>, expected: u64) {
        let Some(found) = explanation else {
            self.tally.unexplained += 1;
            return;
        };
        self.tally.lost += (self.updates.len() - found.kept) as u64;
        self.tally.lost += expected.saturating_sub(found.applied);
        self.tally.doubled += found.repeated + found.applied.saturating_sub(expected);
        self.updates.truncate(found.kept);
    }

    /// The explanation with the fewest faults; among equals, a restart from the first state.
    fn explain(&self, argument: Option<&N>, state: &N) -> Option<Explanation> {
        let mut best: Option<(u64, Explanation)> = None;
        for explanation in self.candidates(argument.is_some()) {
            let cost = self.cost(explanation, u64::from(argument.is_some()));
            if best.as_ref().is_none_or(|(least, _)| cost < *least)
                && self.predicted(explanation, argument) == *state
            {
                best = Some((cost, explanation));
            }
        }
        best.map(|(_, explanation)| explanation)
    }

    fn candidates(&self, is_call: bool) -> impl Iterator<Item = Explanation> + use<N> {
        let applied = if is_call { 0..=MAX_APPLIED } else { 0..=0 };
        (0..=self.updates.len()).flat_map(move |kept| {
            let repeats = if kept == 0 { 0..=0 } else { 0..=MAX_APPLIED };
            let applied = applied.clone();
            repeats.flat_map(move |repeated| {
                applied.clone().map(move |applied| Explanation { kept, repeated, applied })
            })
        })
    }

    /// How unlikely an explanation is: the number of faults, where a restart from the first
    /// state is one fault however many updates it loses.
    fn cost(&self, found: Explanation, expected: u64) -> u64 {
        let dropped = (self.updates.len() - found.kept) as u64;
        let dropped = if found.kept == 0 { dropped.min(1) } else { dropped };
        dropped + found.repeated + found.applied.abs_diff(expected)
    }

    fn predicted(&self, explanation: Explanation, argument: Option<&N>) -> N {
        let kept = self.updates[..explanation.kept].last();
        let mut state = kept.map_or(&self.first, |update| &update.after).clone();
        if let Some(update) = kept {
            for _ in 0..explanation.repeated {
                state = state.plus(&update.argument);
            }
        }
        if let Some(argument) = argument {
            for _ in 0..explanation.applied {
                state = state.plus(argument);
            }
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use persistent_actor::Integer;

    /// An actor that can be told to misbehave.
    struct Faulty {
        state: Integer,
        history: Vec<Integer>,
    }

    impl Faulty {
        fn new() -> Self {
            Self { state: Integer::one(), history: Vec::new() }
        }

        fn process(&mut self, argument: &Integer) -> Integer {
            self.history.push(self.state.clone());
            self.state = self.state.plus(argument);
            self.state.clone()
        }

        /// Goes back to the state before its last `updates`.
        fn lose(&mut self, updates: usize) {
            self.history.truncate(self.history.len() - updates + 1);
            self.state = self.history.pop().unwrap();
        }
    }

    /// Arguments as the chain makes them: growing, no two sums alike.
    fn argument(call: u32) -> Integer {
        Integer::from(7u64.pow(call % 20) + u64::from(call))
    }

    fn tally_of(calls: u32, fault: impl Fn(u32, &mut Faulty) -> Option<Integer>) -> Tally {
        let (mut actor, mut account) = (Faulty::new(), Account::default());
        for call in 0..calls {
            let argument = argument(call);
            let reply = match fault(call, &mut actor) {
                Some(reply) => reply,
                None => actor.process(&argument),
            };
            account.replied(&argument, &reply);
        }
        account.read(&actor.state);
        account.tally()
    }

    #[test]
    fn an_honest_actor_has_a_clean_account() {
        assert!(tally_of(20, |_, _| None).is_clean());
    }

    #[test]
    fn a_restart_from_the_first_state_loses_all_updates_before_it() {
        let tally = tally_of(20, |call, actor| {
            if call == 8 {
                *actor = Faulty::new();
            }
            None
        });
        assert_eq!(tally, Tally { lost: 8, ..Tally::default() });
    }

    #[test]
    fn an_update_that_is_forgotten_is_lost_once() {
        let tally = tally_of(20, |call, actor| {
            if call == 8 || call == 15 {
                actor.lose(1);
            }
            None
        });
        assert_eq!(tally, Tally { lost: 2, ..Tally::default() });
    }

    #[test]
    fn a_call_that_is_answered_without_effect_is_lost() {
        let tally = tally_of(20, |call, actor| (call == 8).then(|| actor.state.clone()));
        assert_eq!(tally, Tally { lost: 1, ..Tally::default() });
    }

    #[test]
    fn a_call_that_runs_twice_is_doubled() {
        let tally = tally_of(20, |call, actor| {
            (call == 8 || call == 9).then(|| {
                actor.process(&argument(call));
                actor.process(&argument(call))
            })
        });
        assert_eq!(tally, Tally { doubled: 2, ..Tally::default() });
    }

    #[test]
    fn a_call_that_runs_again_after_its_reply_is_doubled() {
        let tally = tally_of(20, |call, actor| {
            (call == 8).then(|| {
                let reply = actor.process(&argument(call));
                actor.process(&argument(call));
                reply
            })
        });
        assert_eq!(tally, Tally { doubled: 1, ..Tally::default() });
    }

    #[test]
    fn a_loss_after_the_last_reply_is_seen_when_the_state_is_read() {
        let mut account = Account::<Integer>::default();
        account.replied(&Integer::from(5), &Integer::from(6));
        account.read(&Integer::from(1));
        assert_eq!(account.tally(), Tally { lost: 1, ..Tally::default() });
    }

    #[test]
    fn a_state_from_nowhere_is_unexplained_and_counted_once() {
        let tally = tally_of(20, |call, actor| {
            if call == 8 {
                actor.state = Integer::from(999_999_999_999u64);
            }
            None
        });
        assert_eq!(tally, Tally { unexplained: 1, ..Tally::default() });
    }

    #[test]
    fn a_restart_is_recognised_in_bytes_too() {
        let mut account = Account::<u8>::default();
        let mut state = 1u8;
        for argument in [3u8, 70, 41, 200, 17] {
            state = state.wrapping_add(argument);
            account.replied(&argument, &state);
        }
        account.replied(&9, &10);
        assert_eq!(account.tally(), Tally { lost: 5, ..Tally::default() });
    }
}
