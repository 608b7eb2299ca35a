//! Each call takes effect exactly once, whatever dies.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and tell")]

mod support;

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use persistent_actor_runtime::testing::Switches;
use persistent_actor_runtime::{Durability, EventKind, KillPoint, Node, worker_for_tests};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use support::{Counter, CounterHandle, Events, node, start, state_root};
use tokio::sync::watch;

worker_for_tests!();

const DURABLE: [Durability; 2] = [Durability::Process, Durability::Power];

#[tokio::test]
async fn a_counter_goes_on_counting_across_kills() {
    for durability in DURABLE {
        let root = state_root();
        let node = node(&root, durability);
        let counter = node.actor::<Counter>("visits").spawn().await.unwrap();
        for expected in 1..=5 {
            assert_eq!(counter.increment(1).await.unwrap(), expected, "{durability}");
            let before = counter.pid();
            counter.kill().await.unwrap();
            assert_eq!(counter.value().await.unwrap(), expected, "{durability}");
            assert_ne!(counter.pid(), before);
        }
        assert_eq!(counter.incarnation(), 6);
        assert_eq!(counter.hits_since_start().await.unwrap(), 0, "memory alone does not survive");
    }
}

#[tokio::test]
async fn a_counter_goes_on_counting_across_nodes() {
    let root = state_root();
    for expected in 1..=3 {
        let node = node(&root, Durability::Power);
        let counter = node.actor::<Counter>("visits").spawn().await.unwrap();
        assert_eq!(counter.increment(1).await.unwrap(), expected);
        // Without a goodbye: dropping the node kills the actor.
    }
}

/// What came of an increment.
#[derive(Debug, PartialEq, Eq)]
struct Incremented {
    reply: u64,
    value: u64,
    deaths: usize,
    replays: usize,
}

/// One increment, killed at `point`.
async fn killed_increment(
    durability: Durability,
    point: KillPoint,
    switches: Switches,
) -> Incremented {
    let root = state_root();
    let events = Events::default();
    let node = Node::builder()
        .durability(durability)
        .switches(switches)
        .on_event(events.observer())
        .open(root.path())
        .unwrap();
    let counter = node.actor::<Counter>("visits").spawn().await.unwrap();
    counter.kill_during_next_call(point);
    let reply = counter.increment(1).await.unwrap();
    let replayed =
        |kind: &EventKind| matches!(kind, EventKind::CallFinished { replayed: true, .. });
    Incremented {
        reply,
        value: counter.value().await.unwrap(),
        deaths: events.count(|kind| matches!(kind, EventKind::Died { .. })),
        replays: events.count(replayed),
    }
}

#[tokio::test]
async fn a_call_killed_at_any_point_is_applied_once_and_answered() {
    for durability in DURABLE {
        for point in [KillPoint::BeforeRun, KillPoint::BeforeCommit, KillPoint::AfterCommit] {
            let got = killed_increment(durability, point, Switches::default()).await;
            let replays = usize::from(point == KillPoint::AfterCommit);
            let expected = Incremented { reply: 1, value: 1, deaths: 1, replays };
            assert_eq!(got, expected, "{durability}, {point:?}");
        }
    }
}

#[tokio::test]
async fn without_the_ledger_a_call_killed_after_its_commit_is_doubled() {
    let switches = Switches { dedup: false, ..Switches::default() };
    let got = killed_increment(Durability::Process, KillPoint::AfterCommit, switches).await;
    assert_eq!((got.reply, got.value), (2, 2), "the tests above would notice");
}

#[tokio::test]
async fn without_durability_a_killed_actor_starts_again_from_its_initial_value() {
    let node = Node::in_memory().unwrap();
    let initial = Counter { counter: 40, ..Counter::default() };
    let counter = node.actor::<Counter>("visits").initial(initial).spawn().await.unwrap();
    assert_eq!(counter.increment(2).await.unwrap(), 42);
    counter.kill().await.unwrap();
    assert_eq!(counter.increment(2).await.unwrap(), 42);
}

#[tokio::test]
async fn a_call_whose_caller_has_gone_still_runs_once() {
    let root = state_root();
    let node = node(&root, Durability::Process);
    let counter = node.actor::<Counter>("visits").spawn().await.unwrap();
    for _ in 0..10 {
        drop(start(counter.increment(1)).await);
    }
    counter.kill().await.unwrap();
    assert_eq!(counter.value().await.unwrap(), 10);
}

#[tokio::test]
async fn callers_beyond_the_bound_of_pending_calls_wait_and_are_served() {
    let root = state_root();
    let node = node(&root, Durability::Process);
    let counter = node.actor::<Counter>("visits").max_pending_calls(2).spawn().await.unwrap();
    let mut calls = Vec::new();
    for n in 0..20 {
        calls.push(start(counter.count(1, n)).await);
    }
    for (n, call) in (0..).zip(calls) {
        assert_eq!(call.await.unwrap(), (1, n, u64::from(n) + 1));
    }
}

/// Makes `calls` calls, up to 16 of them unanswered at a time; gives what they answered.
async fn pipelined_calls(
    counter: CounterHandle,
    caller: u32,
    calls: u32,
    answered: watch::Sender<u32>,
) -> Vec<u64> {
    let mut unanswered = VecDeque::new();
    let mut totals = Vec::new();
    let mut next = 0;
    while totals.len() < calls as usize {
        while next < calls && unanswered.len() < 16 {
            unanswered.push_back((next, start(counter.count(caller, next)).await));
            next += 1;
        }
        let (n, call) = unanswered.pop_front().unwrap();
        let (its_caller, its_n, total) = call.await.unwrap();
        assert_eq!((its_caller, its_n), (caller, n), "each call gets its own reply");
        totals.push(total);
        answered.send_modify(|answered| *answered += 1);
    }
    totals
}

/// Kills the actor again and again at random moments, each after at least one more reply.
async fn kill_at_random(
    counter: CounterHandle,
    kills: u32,
    mut answered: watch::Receiver<u32>,
    mut random: StdRng,
) {
    for _ in 0..kills {
        let wanted = *answered.borrow() + random.random_range(1..=8);
        // The callers end when all is answered; a kill then is as good.
        let _ = answered.wait_for(|answered| *answered >= wanted).await;
        // Between replies, too.
        let until = Instant::now() + Duration::from_micros(random.random_range(0..400));
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        counter.kill().await.unwrap();
    }
}

async fn random_kills(durability: Durability, kills: u32) {
    const CALLERS: u32 = 4;
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let root = state_root();
    let node = node(&root, durability);
    let counter = node.actor::<Counter>("visits").spawn().await.unwrap();
    let calls = kills * 9 / CALLERS;
    let (answered, watched) = watch::channel(0);

    let killer = kill_at_random(counter.clone(), kills, watched, StdRng::seed_from_u64(seed));
    let killer = tokio::spawn(killer);
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            tokio::spawn(pipelined_calls(counter.clone(), caller, calls, answered.clone()))
        })
        .collect();
    drop(answered);
    let mut totals = BTreeSet::new();
    for caller in callers {
        for total in caller.await.unwrap() {
            assert!(totals.insert(total), "seed {seed}: two calls were answered {total}");
        }
    }
    killer.await.unwrap();
    let calls = u64::from(CALLERS * calls);
    assert_eq!(counter.value().await.unwrap(), calls, "seed {seed}");
    assert!(totals.iter().copied().eq(1..=calls), "seed {seed}: each call counted once");
    assert_eq!(counter.incarnation(), u64::from(kills) + 1, "seed {seed}");
}

#[tokio::test]
async fn two_hundred_random_kills_lose_nothing_and_double_nothing() {
    random_kills(Durability::Process, 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn random_kills_under_callers_on_many_threads_lose_nothing_and_double_nothing() {
    random_kills(Durability::Power, 60).await;
}
