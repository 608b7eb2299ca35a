//! What lies on disk at the end: read by a new node when the one that wrote it is gone.
//!
//! The states that living actors show come from their memory. Whether they can be had back is
//! known only when every actor is gone and started again.

use std::path::Path;
use std::time::Duration;

use persistent_actor::Durability;
use persistent_actor_runtime::{Error, Node};
use tokio::time::timeout;

use crate::chain::{self, Number};
use crate::cli::Workload;
use crate::member::Member;
use crate::notes::Notes;
use crate::scenario::Scenario;
use crate::state_dir::StateDir;
use crate::workload::{RunError, actor_name, call, right_states};

/// When faults stop, work must finish: what takes longer is a failure.
const LIVENESS: Duration = Duration::from_secs(60);

/// What must come to its end.
///
/// # Errors
/// That of the work, or [`RunError::Hangs`].
pub async fn in_time<T>(work: impl Future<Output = Result<T, RunError>>) -> Result<T, RunError> {
    timeout(LIVENESS, work).await.unwrap_or(Err(RunError::Hangs { after: LIVENESS }))
}

/// What an actor must have on disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected<N> {
    /// The actor's name.
    pub name: String,
    /// Its state; `None` for mixed bytes.
    pub state: Option<N>,
    /// How many calls of `process` have taken effect.
    pub applied: u64,
}

/// Opens the directory anew, which no other node has open, and says of each actor that has not
/// what is expected what it has instead.
///
/// # Errors
/// See [`RunError`]; a state that cannot be read is one.
pub async fn differences<M: Member>(
    dir: &Path,
    durability: Durability,
    expected: &[Expected<M::Number>],
) -> Result<Vec<String>, RunError> {
    let node = Node::builder().durability(durability).open(dir).map_err(Error::from)?;
    let mut differences = Vec::new();
    // All live at once, as before: a name that two states share would show.
    let mut members = Vec::with_capacity(expected.len());
    for Expected { name, .. } in expected {
        let spawned = async { Ok(M::spawn(&node, name.clone()).await.map_err(Error::from)?) };
        members.push(in_time(spawned).await?);
    }
    for (member, expected) in members.iter().zip(expected) {
        let state = M::examine(&in_time(call(member.get_data())).await?);
        let applied = in_time(call(member.applied())).await?;
        let found = Expected { name: expected.name.clone(), state, applied };
        if found != *expected {
            differences.push(difference(&found, expected));
        }
    }
    node.shutdown().await;
    Ok(differences)
}

fn difference<N: Number>(found: &Expected<N>, expected: &Expected<N>) -> String {
    let show = |state: &Option<N>| state.as_ref().map_or_else(|| "mixed".to_owned(), N::to_string);
    format!(
        "{}: opened again, its state is {} after {} calls; expected {} after {}",
        found.name,
        show(&found.state),
        found.applied,
        show(&expected.state),
        expected.applied,
    )
}

/// What a run that ended well must have left, actor by actor.
pub fn of_run<N: Number>(scenario: &Scenario, name: impl Fn(usize) -> String) -> Vec<Expected<N>> {
    let actors = scenario.num_actors;
    let applied = match scenario.workload {
        Workload::Chain => chain::calls_of_each(actors, scenario.num_calls()),
        Workload::Parallel => vec![scenario.num_rounds; actors],
    };
    let states = right_states::<N>(scenario).into_iter().zip(applied).enumerate();
    let expected =
        |(actor, (state, applied))| Expected { name: name(actor), state: Some(state), applied };
    states.map(expected).collect()
}

/// Looks at what a run that ended well has left in a directory that is kept, and tells what is not
/// as it should be; how many actors that are.
///
/// # Errors
/// See [`differences`].
pub async fn check_run<M: Member>(
    scenario: &Scenario,
    state_dir: &StateDir,
    notes: &Notes,
) -> Result<usize, RunError> {
    check_kept::<M>(scenario, state_dir, &of_run(scenario, actor_name), notes).await
}

/// The same for actors that are given.
///
/// # Errors
/// See [`differences`].
pub async fn check_kept<M: Member>(
    scenario: &Scenario,
    state_dir: &StateDir,
    expected: &[Expected<M::Number>],
    notes: &Notes,
) -> Result<usize, RunError> {
    if !state_dir.is_kept() || scenario.durability == Durability::None {
        return Ok(0);
    }
    let found = differences::<M>(state_dir.path(), scenario.durability, expected).await?;
    found.iter().for_each(|text| notes.error(text));
    Ok(found.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::Parser;
    use persistent_actor::Integer;

    #[test]
    fn what_a_run_must_leave_is_its_right_states_and_every_call_once() {
        let of_run = |flags: &[&str]| {
            let flags = [&["bench", "--delay-ms=0", "--num-actors=3", "--num-rounds=4"], flags];
            let scenario = crate::scenario::scenario(&Cli::parse_from(flags.concat()).run).unwrap();
            (super::of_run::<Integer>(&scenario, actor_name), scenario.num_calls())
        };
        for flags in [&[][..], &["--workload=parallel"]] {
            let (expected, calls) = of_run(flags);
            assert_eq!(expected.iter().map(|actor| actor.applied).sum::<u64>(), calls);
            assert_eq!(expected[2].name, "actor-2");
        }
        let (parallel, _) = of_run(&["--workload=parallel"]);
        assert_eq!((&parallel[0].state, parallel[0].applied), (&Some(Integer::from(11)), 4));
    }

    #[test]
    fn a_difference_names_the_actor_and_both_states() {
        let actor = |state, applied| Expected::<u8> { name: "actor-7".to_owned(), state, applied };
        assert_eq!(
            difference(&actor(None, 3), &actor(Some(9), 4)),
            "actor-7: opened again, its state is mixed after 3 calls; expected 9 after 4"
        );
    }
}
