//! Where the rounds of a run begin: at the first call, or where an interrupted run stands.

use crate::chain::{self, Number};
use crate::member::Member;
use crate::notes::Notes;
use crate::resume;
use crate::scenario::Scenario;
use crate::verification::Tally;
use crate::workload::{RunError, call};

/// All states, looked at to their last byte.
///
/// # Errors
/// See [`RunError`].
pub async fn examine<M: Member>(members: &[M]) -> Result<Vec<Option<M::Number>>, RunError> {
    let mut states = Vec::with_capacity(members.len());
    for member in members {
        states.push(M::examine(&call(member.get_data()).await?));
    }
    Ok(states)
}

/// Where the rounds begin.
pub struct Start<N> {
    /// How many calls are committed.
    pub calls: u64,
    /// The state of each actor; `None` for mixed bytes.
    pub states: Vec<Option<N>>,
    /// What is wrong with them.
    pub faults: Tally,
}

impl<N: Number> Start<N> {
    /// Where the run begins whose actors these are; all of them are open.
    ///
    /// # Errors
    /// See [`RunError`]. States that are wrong are no error but told.
    pub async fn of_run<M>(
        scenario: &Scenario,
        members: &[M],
        notes: &Notes,
    ) -> Result<Self, RunError>
    where
        M: Member<Number = N>,
    {
        if !scenario.resume {
            let states = vec![Some(N::one()); members.len()];
            return Ok(Self { calls: 0, states, faults: Tally::default() });
        }
        let mut applied = Vec::with_capacity(members.len());
        for member in members {
            applied.push(call(member.applied()).await?);
        }
        let states = examine(members).await?;
        let start = match resume::position(scenario.num_actors, scenario.num_rounds, &applied) {
            Ok(calls) => Self { calls, faults: wrong_states(&states, calls), states },
            Err(faults) => {
                let calls = applied.iter().fold(0u64, |sum, &calls| sum.saturating_add(calls));
                Self { calls, states, faults }
            }
        };
        start.announce(scenario, notes);
        Ok(start)
    }

    fn announce(&self, scenario: &Scenario, notes: &Notes) {
        let (done, all) = (self.calls, scenario.num_calls());
        if self.faults.is_clean() {
            notes.note(&format!("resumed: {done} of {all} calls are done, their states are right"));
            notes.steps_done_before(done);
        } else {
            notes.note(&format!(
                "the states are not those of the run's first calls, for any number of them (the \
                 actors applied {done}); no call is made"
            ));
        }
    }
}

/// States that are not those after so many calls.
fn wrong_states<N: Number>(states: &[Option<N>], calls: u64) -> Tally {
    let right = chain::states_after::<N>(states.len(), calls);
    let wrong = states.iter().zip(&right).filter(|(is, right)| is.as_ref() != Some(right));
    Tally { unexplained: wrong.count() as u64, ..Tally::default() }
}
