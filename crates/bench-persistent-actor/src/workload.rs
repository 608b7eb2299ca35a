//! Runs the rounds on real actors, kills some, and compares what they say with the right answer.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use persistent_actor::Durability;
use persistent_actor::testing::Switches;
use persistent_actor_runtime::{Error, KillPoint, Node, SupersedeError};
use tokio::task::JoinHandle;

use crate::actors::{LargeActorHandle, SmallActorHandle};
use crate::chain::{self, Number};
use crate::cli::Workload;
use crate::faults::{Kill, Moment};
use crate::measurement::{Distribution, KillReport, Measurement, median};
use crate::member::{Member, Reply};
use crate::memory;
use crate::notes::Notes;
use crate::parallel;
use crate::ray::{self, RayError};
use crate::recorder::{Counts, Recorder};
use crate::reopened;
use crate::scenario::{Engine, Kills, Scenario};
use crate::start::{Start, examine};
use crate::state_dir::StateDir;
use crate::verification::{Account, Tally};

/// Below this, a wait is not left to the timer, which ticks in milliseconds.
const TIMER_TICK: Duration = Duration::from_millis(2);

/// A run could not be completed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] Error),
    /// The fault injection did not do what it was to do: the run would prove nothing.
    #[error("{wanted} actors were to be killed, but {died} processes died of SIGKILL")]
    Kills {
        /// How many kills there were.
        wanted: u64,
        /// How many processes died of it.
        died: u64,
    },
    /// A worker could not be stopped or woken.
    #[error(transparent)]
    Supersede(#[from] SupersedeError),
    /// Something that must come to its end did not.
    #[error("a call was not answered within {after:?}")]
    Hangs {
        /// How long it was waited for.
        after: Duration,
    },
    /// A task of this program died.
    #[error("a kill was not carried out: {0}")]
    Task(#[from] tokio::task::JoinError),
    /// The run on Ray failed.
    #[error(transparent)]
    Ray(#[from] RayError),
}

/// Runs the scenario with its states under `state_dir`.
///
/// # Errors
/// See [`RunError`]. A wrong state is no error but part of the measurement.
pub async fn run(
    scenario: &Scenario,
    state_dir: &StateDir,
    recorder: &Recorder,
    notes: &Notes,
) -> Result<Measurement, RunError> {
    if let Engine::Ray(settings) = &scenario.engine {
        return Ok(ray::run(scenario, settings, state_dir, recorder, notes).await?);
    }
    let node = open_node(scenario, state_dir, recorder)?;
    if scenario.large {
        run_and_check::<LargeActorHandle>(scenario, node, state_dir, recorder, notes).await
    } else {
        run_and_check::<SmallActorHandle>(scenario, node, state_dir, recorder, notes).await
    }
}

/// Runs, and when all is measured and every actor gone, looks at what is on disk.
async fn run_and_check<M: Member>(
    scenario: &Scenario,
    node: Node,
    state_dir: &StateDir,
    recorder: &Recorder,
    notes: &Notes,
) -> Result<Measurement, RunError> {
    let measured = run_members::<M>(scenario, &node, recorder, notes).await;
    node.shutdown().await;
    let mut measured = measured?;
    if measured.verified {
        measured.diverged = reopened::check_run::<M>(scenario, state_dir, notes).await?;
        measured.verified = measured.diverged == 0;
    }
    Ok(measured)
}

/// Opens the node that a run with this scenario needs.
///
/// # Errors
/// [`RunError::Engine`]
pub(crate) fn open_node(
    scenario: &Scenario,
    state_dir: &StateDir,
    recorder: &Recorder,
) -> Result<Node, RunError> {
    let recorder = recorder.clone();
    let builder = Node::builder()
        .durability(scenario.durability)
        .switches(Switches { dedup: scenario.dedup, ..Switches::default() })
        .on_event(move |event| recorder.observe(event));
    let node = match scenario.durability {
        Durability::None => builder.in_memory(),
        _ => builder.open(state_dir.path()),
    };
    Ok(node.map_err(Error::from)?)
}

/// The name of an actor in states, events and timelines.
pub(crate) fn actor_name(actor: usize) -> String {
    format!("actor-{actor}")
}

async fn run_members<M: Member>(
    scenario: &Scenario,
    node: &Node,
    recorder: &Recorder,
    notes: &Notes,
) -> Result<Measurement, RunError> {
    let started_at_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let begin = Instant::now();
    let mut members = Vec::with_capacity(scenario.num_actors);
    for actor in 0..scenario.num_actors {
        members.push(M::spawn(node, actor_name(actor)).await.map_err(Error::from)?);
    }
    let startup_s = begin.elapsed().as_secs_f64();
    let start = Start::of_run(scenario, &members, notes).await?;
    let rounds = match (start.faults.is_clean(), scenario.workload) {
        (false, _) => Rounds::none(),
        (true, Workload::Chain) => Rounds::run(scenario, &members, &start, notes).await?,
        (true, Workload::Parallel) => parallel::run(scenario, &members, notes).await?,
    };
    let counts = recorder.counts();
    check_kills(scenario, &counts, rounds.kills.len() as u64)?;
    let states = examine(&members).await?;
    let verdict = Verdict::of(scenario, start.faults, &start.states, &rounds.seen, &states);
    let recoveries = recoveries(&rounds.kills, &counts);
    log_kills(&rounds.kills, &recoveries, notes);
    let told = Told {
        started_at_s,
        startup_s,
        resumed_at: scenario.resume.then_some(start.calls),
        restarts: counts.restarts,
        retries: Some(counts.retries),
        actor_pss_bytes_median: memory::median_pss_bytes(counts.pids.values().copied()),
        ray_version: None,
    };
    Ok(measurement(scenario, told, rounds, verdict, recoveries))
}

/// A call's reply with the error of the whole engine.
///
/// # Errors
/// [`RunError::Engine`]
pub async fn call<T>(reply: impl Future<Output = Reply<T>>) -> Result<T, RunError> {
    reply.await.map_err(|error| RunError::Engine(Error::from(error)))
}

/// A kill that was planned must have killed.
fn check_kills(scenario: &Scenario, counts: &Counts, kills: u64) -> Result<(), RunError> {
    let wanted = match scenario.kills {
        // An actor that is killed again while it restarts dies once.
        Kills::Busy(_) => counts.killed,
        Kills::None | Kills::Spread(_) | Kills::AfterCommit(_) => kills,
    };
    if counts.died_of_sigkill == wanted {
        return Ok(());
    }
    Err(RunError::Kills { wanted, died: counts.died_of_sigkill })
}

/// A state that was seen during the rounds.
pub(crate) struct Seen<N> {
    pub(crate) actor: usize,
    /// What the actor was to add; `None` when its state was read.
    pub(crate) argument: Option<N>,
    pub(crate) state: N,
}

/// A kill and what was seen of it.
pub(crate) struct KillSeen<N> {
    pub(crate) kill: Kill,
    pub(crate) before: Option<N>,
    pub(crate) after: Option<N>,
}

/// What all rounds gave.
pub(crate) struct Rounds<N> {
    pub(crate) duration: Duration,
    pub(crate) calls: Vec<Duration>,
    pub(crate) seen: Vec<Seen<N>>,
    pub(crate) kills: Vec<KillSeen<N>>,
}

/// The kills under way.
pub(crate) type KillTasks<N> = Vec<JoinHandle<Result<KillSeen<N>, RunError>>>;

impl<N: Number> Rounds<N> {
    pub(crate) fn none() -> Self {
        Self { duration: Duration::ZERO, calls: Vec::new(), seen: Vec::new(), kills: Vec::new() }
    }

    pub(crate) async fn run<M>(
        scenario: &Scenario,
        members: &[M],
        start: &Start<N>,
        notes: &Notes,
    ) -> Result<Self, RunError>
    where
        M: Member<Number = N>,
    {
        let plan = scenario.kill_plan().into_iter();
        // Kills of calls that are done have had their turn.
        let mut plan = plan.filter(|kill| kill.at_call >= start.calls).peekable();
        let mut kills = KillTasks::new();
        let mut calls = Vec::with_capacity(scenario.num_calls() as usize);
        let mut seen = Vec::with_capacity(calls.capacity() + scenario.num_rounds as usize);
        let begin = Instant::now();
        let per_round = members.len() as u64 - 1;
        let first_round = start.calls.checked_div(per_round).unwrap_or(0);
        for number in first_round..scenario.num_rounds {
            let round = chain::round(number, members.len());
            let reached = start.calls + calls.len() as u64;
            let done = (reached - number * per_round) as usize;
            // What travels on is the state of the actor that was called last.
            let source = done.checked_sub(1).map_or(round.source, |last| round.calls[last]);
            let mut current = call(members[source].get_data()).await?;
            seen.push(Seen { actor: source, argument: None, state: M::number(&current) });
            for &actor in &round.calls[done..] {
                let reached = start.calls + calls.len() as u64;
                while let Some(kill) = plan.next_if(|kill| kill.at_call <= reached) {
                    let call_time = call_time(scenario, begin.elapsed(), calls.len() as u64);
                    kills.push(spawn_kill(kill, &members[kill.actor], scenario, call_time));
                }
                let argument = Some(M::number(&current));
                let sent = Instant::now();
                current = call(members[actor].process(scenario.delay_ms, current)).await?;
                calls.push(sent.elapsed());
                seen.push(Seen { actor, argument, state: M::number(&current) });
                notes.step_done();
            }
        }
        // A run without calls has its kills all the same.
        for kill in plan {
            kills.push(spawn_kill(kill, &members[kill.actor], scenario, Duration::ZERO));
        }
        let mut done = Vec::with_capacity(kills.len());
        for kill in kills {
            done.push(kill.await??);
        }
        Ok(Self { duration: begin.elapsed(), calls, seen, kills: done })
    }
}

/// How long a call takes, as far as is known.
pub(crate) fn call_time(scenario: &Scenario, elapsed: Duration, calls: u64) -> Duration {
    let mean = elapsed.checked_div(u32::try_from(calls).unwrap_or(u32::MAX)).unwrap_or_default();
    mean.max(Duration::from_millis(scenario.delay_ms))
}

/// Kills an actor beside the rounds, which go on, or in its next call.
pub(crate) fn spawn_kill<M: Member>(
    kill: Kill,
    member: &M,
    scenario: &Scenario,
    call_time: Duration,
) -> JoinHandle<Result<KillSeen<M::Number>, RunError>> {
    let member = member.clone();
    let reads = matches!(scenario.kills, Kills::Spread(_));
    if kill.moment == Moment::AfterCommit {
        member.kill_in_next_call(KillPoint::AfterCommit);
    }
    tokio::spawn(async move {
        let before = read_if(reads, &member).await?;
        if let Moment::Part(part) = kill.moment {
            wait(call_time.mul_f64(part)).await;
            call(member.kill()).await?;
        }
        let after = read_if(reads, &member).await?;
        Ok(KillSeen { kill, before, after })
    })
}

async fn read_if<M: Member>(wanted: bool, member: &M) -> Result<Option<M::Number>, RunError> {
    match wanted {
        true => Ok(Some(M::number(&call(member.get_data()).await?))),
        false => Ok(None),
    }
}

/// Waits precisely: the last part by looking at the clock between other tasks.
pub(crate) async fn wait(delay: Duration) {
    let end = Instant::now() + delay;
    if let Some(coarse) = delay.checked_sub(TIMER_TICK) {
        tokio::time::sleep(coarse).await;
    }
    while Instant::now() < end {
        tokio::task::yield_now().await;
    }
}

/// The right answer.
pub(crate) fn right_states<N: Number>(scenario: &Scenario) -> Vec<N> {
    let (actors, rounds) = (scenario.num_actors, scenario.num_rounds);
    match scenario.workload {
        Workload::Chain => chain::final_states::<N>(actors, rounds),
        Workload::Parallel => vec![parallel::final_state::<N>(rounds); actors],
    }
}

/// The comparison with the right answer.
pub(crate) struct Verdict {
    pub(crate) final_states: Vec<String>,
    pub(crate) diverged: usize,
    pub(crate) updates: Tally,
}

impl Verdict {
    /// Judges what was seen of actors that began with these states.
    pub(crate) fn of<N: Number>(
        scenario: &Scenario,
        faults: Tally,
        first_states: &[Option<N>],
        seen: &[Seen<N>],
        states: &[Option<N>],
    ) -> Self {
        let right = right_states::<N>(scenario);
        let diverged = states.iter().zip(&right).filter(|(is, right)| is.as_ref() != Some(right));
        let first = |state: &Option<N>| state.clone().unwrap_or_else(N::one);
        let mut accounts: Vec<_> =
            first_states.iter().map(|state| Account::from_state(first(state))).collect();
        for Seen { actor, argument, state } in seen {
            match argument {
                Some(argument) => accounts[*actor].replied(argument, state),
                None => accounts[*actor].read(state),
            }
        }
        for (account, state) in accounts.iter_mut().zip(states) {
            // Mixed bytes have no sum; that the actor diverges is counted above.
            if let Some(state) = state {
                account.read(state);
            }
        }
        let show =
            |state: &Option<N>| state.as_ref().map_or_else(|| "mixed".to_owned(), N::to_string);
        Self {
            diverged: diverged.count(),
            final_states: states.iter().map(show).collect(),
            updates: accounts.iter().map(Account::tally).fold(faults, Tally::plus),
        }
    }
}

/// From each kill to the actor's next reply, in milliseconds.
fn recoveries<N>(kills: &[KillSeen<N>], counts: &Counts) -> Vec<Option<f64>> {
    let mut of_actor = counts.recoveries_ns.clone();
    for times in of_actor.values_mut() {
        times.reverse();
    }
    kills
        .iter()
        .map(|seen| of_actor.get_mut(&actor_name(seen.kill.actor))?.pop()?)
        .map(|ns| ns.map(|ns| ns as f64 / 1e6))
        .collect()
}

pub(crate) fn log_kills<N: Number>(
    kills: &[KillSeen<N>],
    recoveries: &[Option<f64>],
    notes: &Notes,
) {
    let show = |state: &Option<N>| state.as_ref().map_or_else(|| "not read".into(), N::to_string);
    for (seen, recovery) in kills.iter().zip(recoveries) {
        let recovery = match recovery {
            Some(ms) => format!("next reply after {ms:.2} ms"),
            None => "no reply after it".to_owned(),
        };
        notes.note(&format!(
            "killed actor {} during call {}: state before {}, after {}; {recovery}",
            seen.kill.actor,
            seen.kill.at_call,
            show(&seen.before),
            show(&seen.after),
        ));
    }
}

/// What is known of a run beside its rounds.
pub(crate) struct Told {
    pub(crate) started_at_s: u64,
    pub(crate) startup_s: f64,
    pub(crate) resumed_at: Option<u64>,
    pub(crate) restarts: u64,
    pub(crate) retries: Option<u64>,
    pub(crate) actor_pss_bytes_median: Option<u64>,
    pub(crate) ray_version: Option<String>,
}

pub(crate) fn measurement<N: Number>(
    scenario: &Scenario,
    told: Told,
    rounds: Rounds<N>,
    verdict: Verdict,
    recoveries: Vec<Option<f64>>,
) -> Measurement {
    let duration_s = rounds.duration.as_secs_f64();
    let floor_s = scenario.floor_s(rounds.calls.len() as u64);
    let recovered: Vec<f64> = recoveries.iter().copied().flatten().collect();
    let show = |state: Option<N>| state.map(|state| state.to_string());
    let kills = rounds.kills.into_iter().zip(recoveries).map(|(seen, recovery_ms)| KillReport {
        actor: seen.kill.actor,
        at_call: seen.kill.at_call,
        before: show(seen.before),
        after: show(seen.after),
        recovery_ms,
    });
    Measurement {
        version: env!("CARGO_PKG_VERSION"),
        started_at_s: told.started_at_s,
        engine: scenario.engine.name(),
        ray_version: told.ray_version,
        system: scenario.system,
        durability: scenario.durability,
        large: scenario.large,
        delay_ms: scenario.delay_ms,
        num_actors: scenario.num_actors,
        num_rounds: scenario.num_rounds,
        workload: scenario.workload,
        in_flight: (scenario.workload == Workload::Parallel).then_some(scenario.in_flight),
        failure: scenario.failure(),
        seed: scenario.seed,
        optimised: !cfg!(debug_assertions),
        duration_s,
        floor_s,
        overhead_s: duration_s - floor_s,
        startup_s: told.startup_s,
        resumed_at_call: told.resumed_at,
        calls: rounds.calls.len() as u64,
        call_us: Distribution::of(rounds.calls.iter().map(|t| t.as_secs_f64() * 1e6).collect()),
        throughput_per_s: (!rounds.calls.is_empty())
            .then(|| rounds.calls.len() as f64 / duration_s),
        restarts: told.restarts,
        retries: told.retries,
        kills: kills.collect(),
        recovery_ms_median: median(recovered.clone()),
        recovery_ms_max: recovered.into_iter().max_by(f64::total_cmp),
        actor_pss_bytes_median: told.actor_pss_bytes_median,
        verified: verdict.diverged == 0 && verdict.updates.is_clean(),
        final_states: verdict.final_states,
        diverged: verdict.diverged,
        updates: verdict.updates,
    }
}
