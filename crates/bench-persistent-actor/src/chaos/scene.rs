//! Chains of actors at work while their workers are killed, or stopped and superseded.
//!
//! # Zombies
//! The local engine starts a worker only when the one before is dead, so it has no zombies of its
//! own. They come from elsewhere: another machine that takes over, another program. Here they are
//! made by a hook of the engine: a worker is stopped by SIGSTOP at a random instant of a call, and
//! its successor is started beside it on the same state, as another machine would. When the
//! successor has answered, the zombie gets one more call, so that it has something to commit in
//! any case, and SIGCONT. It must end by telling that it is fenced. If it answers instead, an
//! acknowledged update is lost.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use persistent_actor_runtime::{Error, KillPoint, Node, ZombieEnd};
use tokio::task::JoinSet;

use crate::chain;
use crate::chaos::ChaosPlan;
use crate::chaos::chains::name;
use crate::chaos::faults::{Fault, Faults, share};
use crate::chaos::report::{Kills, Report, Zombies};
use crate::member::Member;
use crate::notes::Notes;
use crate::recorder::Recorder;
use crate::reopened::{self, Expected, in_time};
use crate::verification::{Account, Tally};
use crate::workload::{RunError, call, wait};

/// One kind of actors under faults.
#[derive(Clone, Copy, Debug)]
pub struct Scene {
    /// The name of its directory.
    pub name: &'static str,
    /// The number of its first chain among the parts of the run.
    pub first_part: u64,
    /// How many chains work at once.
    pub chains: usize,
    /// How many actors each has.
    pub num_actors: usize,
    /// How many workers are killed, in all chains.
    pub kills: u64,
    /// How many workers are stopped and superseded, in all chains.
    pub zombies: u64,
}

/// Runs the scene in a directory of its own under `dir` and adds what it found to `report`.
pub async fn run<M: Member>(
    plan: &ChaosPlan,
    scene: &Scene,
    dir: &Path,
    notes: &Arc<Notes>,
    report: &mut Report,
) {
    run_disturbed::<M>(plan, scene, dir, notes, report, |_| ()).await;
}

/// The same, and does something to the scene's directory after its node is gone and before what is
/// in it is looked at: to test that it is.
pub async fn run_disturbed<M: Member>(
    plan: &ChaosPlan,
    scene: &Scene,
    dir: &Path,
    notes: &Arc<Notes>,
    report: &mut Report,
    disturb: impl FnOnce(&Path),
) {
    if scene.kills + scene.zombies == 0 {
        return;
    }
    let recorder = Recorder::default();
    let dir = dir.join(scene.name);
    let found = run_chains::<M>(plan, scene, &dir, notes, &recorder).await;
    let counts = recorder.counts();
    report.retries += counts.retries;
    report.replays += counts.replays;
    match found {
        Ok((found, left)) => {
            let killed = found.kills.total();
            if killed != counts.died_of_sigkill {
                let died = counts.died_of_sigkill;
                let failure = format!("{killed} workers were killed, {died} died of SIGKILL");
                report.failures.push(format!("{}: {failure}", scene.name));
            }
            found.add_to(report);
            disturb(&dir);
            check_left::<M>(plan, scene, &dir, &left, report).await;
        }
        Err(error) => report.failures.push(format!("{}: {error}", scene.name)),
    }
}

/// Compares what is on disk with what the actors had come to while they lived.
async fn check_left<M: Member>(
    plan: &ChaosPlan,
    scene: &Scene,
    dir: &Path,
    left: &[Expected<M::Number>],
    report: &mut Report,
) {
    match reopened::differences::<M>(dir, plan.durability, left).await {
        Ok(found) => {
            report.diverged += found.len() as u64;
            report.failures.extend(found.iter().map(|text| format!("{}: {text}", scene.name)));
        }
        Err(error) => {
            report.failures.push(format!("{}: opened again at the end: {error}", scene.name));
        }
    }
}

/// What was found, and what every actor must have left on disk.
type Ended<M> = (Found, Vec<Expected<<M as Member>::Number>>);

async fn run_chains<M: Member>(
    plan: &ChaosPlan,
    scene: &Scene,
    dir: &Path,
    notes: &Arc<Notes>,
    recorder: &Recorder,
) -> Result<Ended<M>, RunError> {
    let observer = recorder.clone();
    let node = Node::builder()
        .durability(plan.durability)
        .switches(plan.switches)
        .on_event(move |event| observer.observe(event))
        .open(dir)
        .map_err(Error::from)?;
    let mut chains = JoinSet::new();
    for number in 0..scene.chains {
        chains.spawn(Chain::<M>::start(plan, scene, number, &node, notes).await?.run());
    }
    let (mut all, mut left) = (Found::default(), Vec::new());
    while let Some(ended) = chains.join_next().await {
        let (found, of_chain) = ended??;
        all.add(found);
        left.extend(of_chain);
    }
    node.shutdown().await;
    Ok((all, left))
}

/// What was found so far.
#[derive(Clone, Debug, Default)]
struct Found {
    calls: u64,
    kills: Kills,
    zombies: Zombies,
    updates: Tally,
    diverged: u64,
    failures: Vec<String>,
}

impl Found {
    fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.kills.in_call += other.kills.in_call;
        self.kills.at_point += other.kills.at_point;
        self.kills.between_commit_and_reply += other.kills.between_commit_and_reply;
        self.kills.while_starting += other.kills.while_starting;
        self.zombies.fenced += other.zombies.fenced;
        self.zombies.not_fenced += other.zombies.not_fenced;
        self.updates = self.updates.plus(other.updates);
        self.diverged += other.diverged;
        self.failures.extend(other.failures);
    }

    fn add_to(self, report: &mut Report) {
        let before = Self {
            calls: report.calls,
            kills: report.kills,
            zombies: report.zombies,
            updates: report.updates,
            diverged: report.diverged,
            failures: std::mem::take(&mut report.failures),
        };
        let mut all = before;
        all.add(self);
        let Self { calls, kills, zombies, updates, diverged, failures } = all;
        (report.calls, report.kills, report.zombies) = (calls, kills, zombies);
        (report.updates, report.diverged, report.failures) = (updates, diverged, failures);
    }
}

/// One chain at work.
struct Chain<M: Member> {
    number: usize,
    members: Vec<M>,
    accounts: Vec<Account<M::Number>>,
    /// How many calls of each actor were answered.
    answered: Vec<u64>,
    faults: Faults,
    /// How long a call takes that meets no fault, as far as is known.
    call_time: Duration,
    /// How long a killed actor takes to answer, as far as is known.
    recovery_time: Duration,
    found: Found,
    notes: Arc<Notes>,
}

impl<M: Member> Chain<M> {
    /// Starts the actors of this chain of the scene.
    async fn start(
        plan: &ChaosPlan,
        scene: &Scene,
        number: usize,
        node: &Node,
        notes: &Arc<Notes>,
    ) -> Result<Self, RunError> {
        let mut members = Vec::with_capacity(scene.num_actors);
        for actor in 0..scene.num_actors {
            members.push(M::spawn(node, name(number, actor)).await.map_err(Error::from)?);
        }
        Ok(Self {
            faults: Faults::new(
                plan.random(scene.first_part + number as u64),
                share(scene.kills, scene.chains, number),
                share(scene.zombies, scene.chains, number),
            ),
            number,
            accounts: vec![Account::default(); members.len()],
            answered: vec![0; members.len()],
            members,
            call_time: Duration::from_micros(200),
            recovery_time: Duration::from_millis(4),
            found: Found::default(),
            notes: notes.clone(),
        })
    }

    /// Runs whole rounds until there are no faults left, and compares what the actors have come
    /// to. Gives that, too: it must be on disk.
    async fn run(mut self) -> Result<Ended<M>, RunError> {
        let mut number = 0;
        // A single actor is never called; no fault could come.
        while self.faults.left() > 0 && self.members.len() > 1 {
            let round = chain::round(number, self.members.len());
            let mut current = self.read(round.source).await?;
            for actor in round.calls {
                current = self.call(actor, current).await?;
            }
            number += 1;
        }
        let mut left = Vec::with_capacity(self.members.len());
        for actor in 0..self.members.len() {
            let state = M::examine(&self.read(actor).await?);
            let right = chain::final_states::<M::Number>(self.members.len(), number);
            self.found.diverged += u64::from(state.as_ref() != Some(&right[actor]));
            let (name, applied) = (name(self.number, actor), self.answered[actor]);
            left.push(Expected { name, state, applied });
        }
        let tallies = self.accounts.iter().map(Account::tally);
        self.found.updates = tallies.fold(self.found.updates, Tally::plus);
        Ok((self.found, left))
    }

    async fn read(&mut self, actor: usize) -> Result<M::Value, RunError> {
        let state = in_time(call(self.members[actor].get_data())).await?;
        self.accounts[actor].read(&M::number(&state));
        Ok(state)
    }

    /// One call of the chain, with the fault that is its due.
    async fn call(&mut self, actor: usize, argument: M::Value) -> Result<M::Value, RunError> {
        let member = self.members[actor].clone();
        let begin = Instant::now();
        let fault = self.faults.draw();
        let work = call(member.process(0, argument.clone()));
        let reply = match fault {
            Fault::None => {
                let reply = in_time(work).await?;
                self.call_time = average(self.call_time, begin.elapsed());
                reply
            }
            Fault::Kill(instant, again) => {
                let instant = self.call_time.mul_f64(instant);
                let again = again.map(|part| self.recovery_time.mul_f64(part));
                let killing = in_time(kill(&member, instant, again));
                let (reply, killed) = tokio::join!(in_time(work), killing);
                killed?;
                reply?
            }
            Fault::KillAt(point) => {
                member.kill_in_next_call(point);
                let reply = in_time(work).await?;
                self.recovery_time = average(self.recovery_time, begin.elapsed());
                reply
            }
            Fault::Zombie(instant) => {
                let instant = self.call_time.mul_f64(instant);
                self.call_of_zombie(&member, argument.clone(), instant).await?
            }
        };
        self.found.calls += 1;
        self.answered[actor] += 1;
        self.accounts[actor].replied(&M::number(&argument), &M::number(&reply));
        self.count_fault(fault);
        Ok(reply)
    }

    /// A call during which the worker is stopped and superseded; afterwards it is woken.
    async fn call_of_zombie(
        &mut self,
        member: &M,
        argument: M::Value,
        instant: Duration,
    ) -> Result<M::Value, RunError> {
        let work = call(member.process(0, argument.clone()));
        let stop = async {
            wait(instant).await;
            Ok(member.supersede().await?)
        };
        let (reply, zombie) = tokio::join!(in_time(work), in_time(stop));
        let (reply, zombie) = (reply?, zombie?);
        // The reply may still be that of the zombie. This one is its successor's: it has opened
        // the state, and serves.
        let state = in_time(call(member.get_data())).await?;
        if M::number(&state) != M::number(&reply) {
            let failure = "a successor did not have the state that its predecessor had answered";
            self.found.failures.push(failure.to_owned());
        }
        match in_time(async { Ok(M::wake(zombie, argument).await?) }).await? {
            ZombieEnd::Fenced => self.found.zombies.fenced += 1,
            ZombieEnd::Answered => {
                self.found.zombies.not_fenced += 1;
                // What it has answered is not in the state of its successor.
                self.found.updates.lost += 1;
            }
            ZombieEnd::Other(exit) => {
                self.found.failures.push(format!("a woken worker ended with {exit}"));
            }
        }
        Ok(reply)
    }

    fn count_fault(&mut self, fault: Fault) {
        let kills = &mut self.found.kills;
        match fault {
            Fault::None => return,
            // Counted by its end.
            Fault::Zombie(_) => {}
            Fault::Kill(_, again) => {
                kills.in_call += 1;
                if again.is_some() {
                    kills.while_starting += 1;
                    self.notes.step_done();
                }
            }
            Fault::KillAt(point) => {
                kills.at_point += 1;
                kills.between_commit_and_reply += u64::from(point == KillPoint::AfterCommit);
            }
        }
        self.notes.step_done();
    }
}

/// Kills after a while, and once more while the next process starts.
async fn kill<M: Member>(
    member: &M,
    instant: Duration,
    again: Option<Duration>,
) -> Result<(), RunError> {
    wait(instant).await;
    call(member.kill()).await?;
    if let Some(delay) = again {
        wait(delay).await;
        call(member.kill()).await?;
    }
    Ok(())
}

/// A running average that follows changes within some calls.
fn average(before: Duration, now: Duration) -> Duration {
    (before * 7 + now) / 8
}
