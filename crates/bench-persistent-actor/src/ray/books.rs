//! What the driver told, checked and turned into the rounds that the local engine gives, too.
//!
//! The driver is trusted to tell what it saw, not to have done what it should: that the calls are
//! those of the workload, in its order and with its arguments, is checked here.

use std::time::Duration;

use persistent_actor::Integer;

use crate::chain::{self, Number};
use crate::cli::Workload;
use crate::faults::KillPlan;
use crate::parallel;
use crate::ray::RayError;
use crate::ray::message::{Call, KillTold};
use crate::scenario::Scenario;
use crate::workload::{KillSeen, Rounds, Seen};

/// A number that the driver can tell.
pub trait Wire: Number {
    /// The number that a text means.
    fn parse(text: &str) -> Option<Self>;

    /// The number, or that there is none.
    ///
    /// # Errors
    /// [`RayError::Protocol`]
    fn parse_all(text: Option<&str>) -> Result<Option<Self>, RayError> {
        let parse = |text| Self::parse(text).ok_or_else(|| wrong(format!("{text:?} is no state")));
        text.map(parse).transpose()
    }
}

impl Wire for Integer {
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Wire for u8 {
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// A call that was answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer<N> {
    pub(crate) actor: usize,
    pub(crate) sent_ns: u64,
    pub(crate) replied_ns: u64,
    /// `None` when the state was read.
    pub(crate) argument: Option<N>,
    pub(crate) state: N,
}

/// What the driver has told so far.
pub struct Books<N> {
    workload: Workload,
    num_actors: usize,
    num_rounds: u64,
    /// The kills that were not told yet.
    plan: KillPlan,
    answers: Vec<Answer<N>>,
    kills: Vec<(KillSeen<N>, KillTold)>,
}

/// All that there is to tell.
pub(crate) struct Closed<N> {
    pub(crate) rounds: Rounds<N>,
    /// From each kill of the rounds to the next reply.
    pub(crate) recoveries_ms: Vec<Option<f64>>,
    /// The calls in the order of their replies.
    pub(crate) answers: Vec<Answer<N>>,
    /// The kills in their order.
    pub(crate) kills: Vec<KillTold>,
}

impl<N: Wire> Books<N> {
    /// Empty books.
    pub fn new(scenario: &Scenario, plan: KillPlan) -> Self {
        let &Scenario { workload, num_actors, num_rounds, .. } = scenario;
        Self { workload, num_actors, num_rounds, plan, answers: Vec::new(), kills: Vec::new() }
    }

    /// Takes down calls; gives how many of them were calls of `process`.
    ///
    /// # Errors
    /// [`RayError::Protocol`]
    pub fn calls(&mut self, calls: Vec<Call>) -> Result<usize, RayError> {
        let before = self.answers.len();
        for call in calls {
            self.check_actor(call.actor)?;
            if call.replied_ns < call.sent_ns {
                return Err(wrong("a reply came before its call".to_owned()));
            }
            self.answers.push(Answer {
                actor: call.actor,
                sent_ns: call.sent_ns,
                replied_ns: call.replied_ns,
                argument: N::parse_all(call.argument.as_deref())?,
                state: parse(&call.state)?,
            });
        }
        Ok(self.answers[before..].iter().filter(|answer| answer.argument.is_some()).count())
    }

    /// Takes down a kill.
    ///
    /// # Errors
    /// [`RayError::Protocol`]
    pub fn kill(&mut self, told: KillTold) -> Result<(), RayError> {
        self.check_actor(told.actor)?;
        let matches = |at_call, actor| (at_call, actor) == (told.at_call, told.actor);
        let planned = self.plan.iter().position(|kill| matches(kill.at_call, kill.actor));
        let Some(planned) = planned else {
            return Err(wrong(format!("actor {} was not to be killed", told.actor)));
        };
        if told.pid == told.killed_pid || told.replied_ns < told.killed_ns {
            return Err(wrong(format!("the kill of actor {} killed nobody", told.actor)));
        }
        let kill = self.plan.remove(planned);
        let before = N::parse_all(told.before.as_deref())?;
        let after = N::parse_all(told.after.as_deref())?;
        self.kills.push((KillSeen { kill, before, after }, told));
        Ok(())
    }

    fn check_actor(&self, actor: usize) -> Result<(), RayError> {
        match actor < self.num_actors {
            true => Ok(()),
            false => Err(wrong(format!("there is no actor {actor}"))),
        }
    }

    /// Closes the books on rounds that took so long.
    ///
    /// # Errors
    /// [`RayError::Protocol`]: the calls were not those of the workload, or kills are missing.
    pub(crate) fn close(mut self, duration_ns: u64) -> Result<Closed<N>, RayError> {
        if let Some(kill) = self.plan.first() {
            return Err(wrong(format!("the kill of actor {} was not told", kill.actor)));
        }
        let seen = match self.workload {
            Workload::Chain => self.chain()?,
            Workload::Parallel => self.parallel()?,
        };
        self.kills.sort_by_key(|(seen, told)| (seen.kill.at_call, told.killed_ns));
        let (kills_seen, kills): (Vec<_>, Vec<_>) = self.kills.into_iter().unzip();
        let recoveries_ms = kills.iter().map(|kill| recovery_ms(kill, &self.answers)).collect();
        let calls = self.answers.iter().filter(|answer| answer.argument.is_some());
        let time = |answer: &Answer<N>| Duration::from_nanos(answer.replied_ns - answer.sent_ns);
        let rounds = Rounds {
            duration: Duration::from_nanos(duration_ns),
            calls: calls.map(time).collect(),
            seen,
            kills: kills_seen,
        };
        Ok(Closed { rounds, recoveries_ms, answers: self.answers, kills })
    }

    /// The chain's calls, which are told in their order.
    fn chain(&self) -> Result<Vec<Seen<N>>, RayError> {
        let mut told = self.answers.iter();
        let mut next = |actor: usize, argument: Option<&N>| match told.next() {
            Some(answer) if answer.actor == actor && answer.argument.as_ref() == argument => {
                Ok(answer)
            }
            Some(answer) => Err(wrong(format!(
                "actor {actor} was to be called with {argument:?}, and actor {} was with {:?}",
                answer.actor, answer.argument
            ))),
            None => Err(wrong(format!("the call to actor {actor} was not told"))),
        };
        for number in 0..self.num_rounds {
            let round = chain::round(number, self.num_actors);
            let mut current = &next(round.source, None)?.state;
            for actor in round.calls {
                current = &next(actor, Some(current))?.state;
            }
        }
        if told.next().is_some() {
            return Err(wrong("more calls were made than there are".to_owned()));
        }
        Ok(self.answers.iter().map(seen).collect())
    }

    /// The calls of each actor, which are told as they are answered.
    fn parallel(&self) -> Result<Vec<Seen<N>>, RayError> {
        let mut all = Vec::with_capacity(self.answers.len());
        for actor in 0..self.num_actors {
            let mut calls: Vec<_> =
                self.answers.iter().filter(|answer| answer.actor == actor).collect();
            calls.sort_by_key(|answer| answer.sent_ns);
            let arguments =
                (0..self.num_rounds).map(|round| parallel::number::<N>(parallel::argument(round)));
            let expected: Vec<Option<N>> = arguments.map(Some).collect();
            if !calls.iter().map(|answer| &answer.argument).eq(&expected) {
                return Err(wrong(format!(
                    "the calls of actor {actor} are not those of its rounds"
                )));
            }
            all.extend(in_order_of_effect(&calls).into_iter().map(seen));
        }
        Ok(all)
    }
}

fn seen<N: Number>(answer: &Answer<N>) -> Seen<N> {
    let Answer { actor, argument, state, .. } = answer;
    Seen { actor: *actor, argument: argument.clone(), state: state.clone() }
}

/// An order in which the calls of one actor can have taken effect, each where the state and its
/// argument add up to its reply. Ray may retry calls in flight in any order, so the order of
/// sending need not be it. A call that fits nowhere comes in the order of sending.
fn in_order_of_effect<'a, N: Number>(sent: &[&'a Answer<N>]) -> Vec<&'a Answer<N>> {
    let mut left: std::collections::VecDeque<_> = sent.iter().copied().collect();
    let mut ordered = Vec::with_capacity(left.len());
    let mut state = N::one();
    while !left.is_empty() {
        let fits = |answer: &&Answer<N>| {
            answer.argument.as_ref().is_some_and(|argument| state.plus(argument) == answer.state)
        };
        let next = left.iter().position(fits).unwrap_or(0);
        let Some(answer) = left.remove(next) else { break };
        state = answer.state.clone();
        ordered.push(answer);
    }
    ordered
}

/// From the kill to the first reply to a call that was made after it.
fn recovery_ms<N>(kill: &KillTold, answers: &[Answer<N>]) -> Option<f64> {
    let later =
        answers.iter().filter(|call| call.actor == kill.actor && call.sent_ns > kill.killed_ns);
    let replied_ns = later.map(|call| call.replied_ns).fold(kill.replied_ns, u64::min);
    Some((replied_ns - kill.killed_ns) as f64 / 1e6)
}

fn parse<N: Wire>(text: &str) -> Result<N, RayError> {
    N::parse(text).ok_or_else(|| wrong(format!("{text:?} is no state")))
}

fn wrong(mut problem: String) -> RayError {
    problem.truncate(problem.floor_char_boundary(300));
    RayError::Protocol { problem }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use crate::scenario;
    use clap::Parser;

    fn books(flags: &str) -> Books<Integer> {
        let flags = format!("bench --delay-ms=0 --engine=ray --python=none {flags}");
        let cli = Cli::parse_from(flags.split_whitespace());
        let scenario = scenario::scenario(&cli.run).unwrap();
        let plan = scenario.kill_plan();
        Books::new(&scenario, plan)
    }

    fn call(actor: usize, at_ns: u64, argument: Option<u32>, state: u32) -> Call {
        let argument = argument.map(|argument| argument.to_string());
        Call { actor, sent_ns: at_ns, replied_ns: at_ns + 5, argument, state: state.to_string() }
    }

    fn kill(actor: usize, at_call: u64) -> KillTold {
        KillTold {
            actor,
            at_call,
            before: None,
            after: Some("7".to_owned()),
            killed_ns: 10,
            replied_ns: 2_000_010,
            killed_pid: 1,
            pid: 2,
        }
    }

    /// Three actors, one round, as it must be.
    fn one_round() -> Vec<Call> {
        vec![call(2, 0, None, 1), call(1, 10, Some(1), 2), call(2, 20, Some(2), 3)]
    }

    const ONE_ROUND: &str = "--num-actors=3 --num-rounds=1";

    #[test]
    fn the_calls_of_the_chain_are_accepted() {
        let mut books = books(ONE_ROUND);
        assert_eq!(books.calls(one_round()).unwrap(), 2, "a read is no call of process");
        let closed = books.close(30).unwrap();
        assert_eq!((closed.rounds.calls.len(), closed.rounds.seen.len()), (2, 3));
        assert_eq!(closed.rounds.calls[0], Duration::from_nanos(5));
    }

    #[test]
    fn calls_that_are_not_those_of_the_chain_prove_nothing() {
        let change = |change: fn(&mut Vec<Call>)| {
            let (mut books, mut calls) = (books(ONE_ROUND), one_round());
            change(&mut calls);
            let told = books.calls(calls);
            told.and_then(|_| books.close(30).map(|_| ())).unwrap_err().to_string()
        };
        assert!(change(|calls| calls.truncate(2)).contains("actor 2 was not told"));
        assert!(change(|calls| calls.push(call(0, 30, Some(3), 4))).contains("more calls"));
        assert!(change(|calls| calls.swap(1, 2)).contains("actor 1 was to be called with"));
        assert!(change(|calls| calls[1].argument = Some("7".to_owned())).contains("was to be"));
        assert!(change(|calls| calls[1].actor = 3).contains("no actor 3"));
        assert!(change(|calls| calls[1].state = "1x".to_owned()).contains("no state"));
        assert!(change(|calls| calls[1].replied_ns = 0).contains("before its call"));
    }

    #[test]
    fn every_planned_kill_must_be_told_and_no_other() {
        let flags = "--num-actors=3 --num-rounds=1 --failure --num-actors-kill=1";
        let planned = books(flags).plan[0];
        let mut right = books(flags);
        right.calls(one_round()).unwrap();
        right.kill(kill(planned.actor, planned.at_call)).unwrap();
        let closed = right.close(30).unwrap();
        assert_eq!(closed.rounds.kills[0].after, Some(Integer::from(7)));
        // Actor 1 was not called after the kill; the driver's own question is the next reply.
        assert_eq!(closed.recoveries_ms, [Some(2.0)]);
        let mut missing = books(flags);
        missing.calls(one_round()).unwrap();
        assert!(missing.close(30).err().unwrap().to_string().contains("was not told"));
        assert!(books(flags).kill(kill(0, 0)).is_err(), "not planned");
        let nobody = KillTold { pid: 1, ..kill(planned.actor, planned.at_call) };
        assert!(books(flags).kill(nobody).unwrap_err().to_string().contains("killed nobody"));
    }

    #[test]
    fn the_next_reply_is_the_first_to_a_call_after_the_kill() {
        let (mut books, killed) = (books(ONE_ROUND), kill(2, 1));
        books.calls(one_round()).unwrap();
        assert_eq!(recovery_ms(&killed, &books.answers), Some((25.0 - 10.0) / 1e6));
        assert_eq!(recovery_ms(&kill(0, 1), &books.answers), Some(2.0));
    }

    #[test]
    fn calls_that_were_retried_in_another_order_are_put_in_the_order_of_their_effect() {
        let mut books = books("--num-actors=1 --num-rounds=4 --workload=parallel --in-flight=4");
        // The arguments are 1, 2, 3, 4; the third took effect first.
        let calls = [call(0, 1, Some(1), 5), call(0, 2, Some(2), 7), call(0, 3, Some(3), 4)];
        books.calls(calls.into()).unwrap();
        books.calls(vec![call(0, 4, Some(4), 11)]).unwrap();
        let closed = books.close(30).unwrap();
        let states: Vec<String> = closed.rounds.seen.iter().map(|s| s.state.to_string()).collect();
        assert_eq!(states, ["4", "5", "7", "11"]);
    }

    #[test]
    fn calls_with_other_arguments_than_those_of_the_rounds_prove_nothing() {
        let mut books = books("--num-actors=1 --num-rounds=2 --workload=parallel");
        books.calls(vec![call(0, 1, Some(1), 2), call(0, 2, Some(1), 3)]).unwrap();
        assert!(books.close(30).err().unwrap().to_string().contains("not those of its rounds"));
    }
}
