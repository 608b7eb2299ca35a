//! Several chains of actors at work in one program, which [`program`](super::program) kills and
//! starts again.
//!
//! Actors of one chain take turns; those of different chains commit at the same time, and so share
//! syncs. Each chain goes on from where it stands (see [`resume`](crate::resume)).

use serde::Serialize;
use tokio::task::JoinSet;

use crate::actors::SmallActorHandle;
use crate::member::Member;
use crate::notes::Notes;
use crate::recorder::Recorder;
use crate::reopened;
use crate::scenario::Scenario;
use crate::start::{Start, examine};
use crate::state_dir::StateDir;
use crate::verification::Tally;
use crate::workload::{Rounds, RunError, Verdict, actor_name, open_node};

/// What became of all chains: the fields of a run's measurement that tell whether it is right.
#[derive(Debug, Default, Serialize)]
pub struct Found {
    /// Whether every state is the right one and nothing was lost or doubled.
    pub verified: bool,
    /// The final states, chain by chain.
    pub final_states: Vec<String>,
    /// Updates that did not take effect exactly once, as far as this program can tell.
    pub updates: Tally,
}

/// Runs so many chains of the scenario, with small states, to their end.
///
/// # Errors
/// See [`RunError`]. A wrong state is no error but what was found.
pub async fn run(
    scenario: &Scenario,
    chains: usize,
    state_dir: &StateDir,
    notes: &Notes,
) -> Result<Found, RunError> {
    let node = open_node(scenario, state_dir, &Recorder::default())?;
    let mut tasks = JoinSet::new();
    for number in 0..chains {
        let (scenario, node, notes) = (scenario.clone(), node.clone(), notes.clone());
        tasks.spawn(async move {
            let mut members = Vec::with_capacity(scenario.num_actors);
            for actor in 0..scenario.num_actors {
                let member = SmallActorHandle::spawn(&node, name(number, actor)).await;
                members.push(member.map_err(persistent_actor_runtime::Error::from)?);
            }
            finish(&scenario, &members, &notes).await.map(|verdict| (number, verdict))
        });
    }
    let mut verdicts = Vec::with_capacity(chains);
    while let Some(verdict) = tasks.join_next().await {
        verdicts.push(verdict??);
    }
    node.shutdown().await;
    verdicts.sort_by_key(|(number, _)| *number);
    let mut found = Found { verified: true, ..Found::default() };
    for (_, verdict) in verdicts {
        found.verified &= verdict.diverged == 0 && verdict.updates.is_clean();
        found.updates = found.updates.plus(verdict.updates);
        found.final_states.extend(verdict.final_states);
    }
    if found.verified {
        let of_chain = |number| reopened::of_run(scenario, move |actor| name(number, actor));
        let expected: Vec<_> = (0..chains).flat_map(of_chain).collect();
        let check = reopened::check_kept::<SmallActorHandle>;
        found.verified = check(scenario, state_dir, &expected, notes).await? == 0;
    }
    Ok(found)
}

/// The name of an actor of a chain.
pub(crate) fn name(chain: usize, actor: usize) -> String {
    format!("chain-{chain}-{}", actor_name(actor))
}

/// Takes one chain from where it stands to its end.
async fn finish<M: Member>(
    scenario: &Scenario,
    members: &[M],
    notes: &Notes,
) -> Result<Verdict, RunError> {
    let start = Start::of_run(scenario, members, notes).await?;
    let rounds = match start.faults.is_clean() {
        true => Rounds::run(scenario, members, &start, notes).await?,
        false => Rounds::none(),
    };
    let states = examine(members).await?;
    Ok(Verdict::of(scenario, start.faults, &start.states, &rounds.seen, &states))
}
