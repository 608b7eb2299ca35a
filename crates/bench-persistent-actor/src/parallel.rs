//! The workload in which all actors are called at once, and its right answer.
//!
//! A round is one call to every actor; no actor waits for another. Each has a set number of
//! calls before it (`--in-flight`): when one is answered, the next is sent. The arguments are
//! known beforehand, so every state is: 1 plus the arguments of the actor's calls, in any order.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::chain::Number;
use crate::faults::Kill;
use crate::member::Member;
use crate::notes::Notes;
use crate::scenario::Scenario;
use crate::workload::{KillTasks, Rounds, RunError, Seen, call, call_time, spawn_kill};

/// Neighbouring calls to an actor have different arguments, so that a lost one and a doubled one
/// do not make up for each other: 1, 2, … 7, 1, 2, …
const ARGUMENTS: u8 = 7;

/// The argument of every actor's call in this round.
pub(crate) fn argument(round: u64) -> u8 {
    1 + (round % u64::from(ARGUMENTS)) as u8
}

/// The actors that are called, call by call; calls to different actors may change places.
pub fn callees(num_actors: usize, num_rounds: u64) -> impl Iterator<Item = usize> {
    (0..num_rounds).flat_map(move |_| 0..num_actors)
}

/// The right final state of every actor.
pub fn final_state<N: Number>(num_rounds: u64) -> N {
    let arguments: Vec<N> = (1..=ARGUMENTS).map(number).collect();
    (0..num_rounds)
        .fold(N::one(), |state, round| state.plus(&arguments[usize::from(argument(round)) - 1]))
}

/// An argument as a number.
pub(crate) fn number<N: Number>(argument: u8) -> N {
    (1..argument).fold(N::one(), |sum, _| sum.plus(&N::one()))
}

/// What the callers share.
struct Shared<M: Member> {
    scenario: Scenario,
    /// The arguments 1, 2, … [`ARGUMENTS`].
    arguments: Vec<M::Value>,
    begin: Instant,
    /// The kills that are set off by calls, by the number of the call.
    plan: Mutex<HashMap<u64, Vec<Kill>>>,
    members: Vec<M>,
    kills: Mutex<KillTasks<M::Number>>,
    notes: Notes,
}

/// One actor's calls that are not made yet.
#[derive(Default)]
struct Queue {
    next_round: AtomicU64,
}

/// A call that was answered.
struct Answered<N> {
    actor: usize,
    round: u64,
    time: Duration,
    state: N,
}

/// Calls all actors at once until each has had its calls.
pub(crate) async fn run<M: Member>(
    scenario: &Scenario,
    members: &[M],
    notes: &Notes,
) -> Result<Rounds<M::Number>, RunError> {
    let mut plan: HashMap<u64, Vec<Kill>> = HashMap::new();
    for kill in scenario.kill_plan() {
        plan.entry(kill.at_call).or_default().push(kill);
    }
    let shared = Arc::new(Shared {
        scenario: scenario.clone(),
        arguments: (1..=ARGUMENTS).map(M::value).collect(),
        begin: Instant::now(),
        plan: Mutex::new(plan),
        members: members.to_vec(),
        kills: Mutex::default(),
        notes: notes.clone(),
    });
    let mut callers = JoinSet::new();
    for actor in 0..members.len() {
        let queue = Arc::new(Queue::default());
        for _ in 0..scenario.in_flight {
            callers.spawn(caller(actor, queue.clone(), shared.clone()));
        }
    }
    let mut answered = Vec::with_capacity(scenario.num_calls() as usize);
    while let Some(calls) = callers.join_next().await {
        answered.extend(calls??);
    }
    // A run without calls has its kills all the same.
    let left: Vec<Kill> = lock(&shared.plan).drain().flat_map(|(_, kills)| kills).collect();
    set_off(&shared, left, 0);
    let mut kills = Vec::new();
    let tasks = std::mem::take(&mut *lock(&shared.kills));
    for kill in tasks {
        kills.push(kill.await??);
    }
    let duration = shared.begin.elapsed();
    // An actor processes its calls in the order in which they were sent.
    answered.sort_by_key(|call: &Answered<M::Number>| (call.round, call.actor));
    let calls = answered.iter().map(|call| call.time).collect();
    let seen = answered.into_iter().map(|Answered { actor, round, state, .. }| {
        let argument = Some(M::number(&shared.arguments[usize::from(argument(round)) - 1]));
        Seen { actor, argument, state }
    });
    Ok(Rounds { duration, calls, seen: seen.collect(), kills })
}

/// Makes calls to one actor, one after the other, until its queue is empty.
async fn caller<M: Member>(
    actor: usize,
    queue: Arc<Queue>,
    shared: Arc<Shared<M>>,
) -> Result<Vec<Answered<M::Number>>, RunError> {
    let &Scenario { num_rounds, num_actors, delay_ms, .. } = &shared.scenario;
    let mut answered = Vec::new();
    loop {
        // No other task runs between this and the sending: rounds are sent in order.
        let round = queue.next_round.fetch_add(1, Ordering::Relaxed);
        if round >= num_rounds {
            return Ok(answered);
        }
        let number = round * num_actors as u64 + actor as u64;
        let due = lock(&shared.plan).remove(&number);
        set_off(&shared, due.unwrap_or_default(), number);
        let argument = shared.arguments[usize::from(argument(round)) - 1].clone();
        let sent = Instant::now();
        let reply = call(shared.members[actor].process(delay_ms, argument)).await?;
        answered.push(Answered { actor, round, time: sent.elapsed(), state: M::number(&reply) });
        shared.notes.step_done();
    }
}

fn set_off<M: Member>(shared: &Shared<M>, kills: Vec<Kill>, reached: u64) {
    for kill in kills {
        let rounds = reached / shared.members.len() as u64;
        let time = call_time(&shared.scenario, shared.begin.elapsed(), rounds);
        let task = spawn_kill(kill, &shared.members[kill.actor], &shared.scenario, time);
        lock(&shared.kills).push(task);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use persistent_actor::Integer;

    #[test]
    fn every_actor_ends_with_the_sum_of_its_arguments() {
        // 1 + (1 + … + 7) + 1 + 2
        assert_eq!(final_state::<Integer>(9), Integer::from(32));
        assert_eq!(final_state::<Integer>(0), Integer::from(1));
    }

    #[test]
    fn each_round_calls_every_actor_once() {
        assert_eq!(callees(3, 2).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2]);
    }
}
