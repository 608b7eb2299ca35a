//! Actors that commit at the same time share syncs: each call still takes effect exactly once,
//! whatever dies, and an actor that is alone syncs for itself.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and tell")]

mod support;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use persistent_actor_runtime::{ActorState, Durability, EventKind, Node, worker_for_tests};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use support::{Counter, CounterHandle, Events, node, state_root};
use tokio::task::JoinSet;

worker_for_tests!();

/// Files of the group journal in the state root.
fn journals(root: &Path) -> Vec<String> {
    let Ok(files) = fs::read_dir(root.join(".group")) else { return Vec::new() };
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("journal-")).collect()
}

/// Whether the newest journal of this actor says that it needs the group journal.
fn is_grouped(root: &Path, actor: &str) -> bool {
    let files = fs::read_dir(root.join(actor)).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let newest = names.filter(|name| name.starts_with("journal-")).max().unwrap();
    let header = fs::read(root.join(actor).join(newest)).unwrap();
    header[48] & 2 != 0
}

/// Spawns actors with names that take escaping.
async fn spawn_all(node: &Node, count: usize) -> Vec<CounterHandle> {
    let mut handles = Vec::new();
    for n in 0..count {
        handles.push(node.actor::<Counter>(format!("actor {n}")).spawn().await.unwrap());
    }
    handles
}

fn directory(n: usize) -> String {
    format!("actor%20{n}")
}

/// Each caller counts at its own actor, `calls` times, two calls at once.
fn call_all(handles: &[CounterHandle], from: u32, calls: u32) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for handle in handles {
        let handle = handle.clone();
        tasks.spawn(async move {
            for n in (from..from + calls).step_by(2) {
                let (one, other) = tokio::join!(handle.count(0, n), handle.count(0, n + 1));
                assert_eq!(one.unwrap().1, n);
                assert_eq!(other.unwrap().1, n + 1);
                // A read waits behind what it shows.
                assert_eq!(handle.value().await.unwrap(), u64::from(n) + 2);
            }
        });
    }
    tasks
}

async fn finish(mut tasks: JoinSet<()>) {
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

#[tokio::test]
async fn an_actor_alone_syncs_for_itself_and_many_share_a_journal() {
    let root = state_root();
    let node = node(&root, Durability::Power);
    let handles = spawn_all(&node, 12).await;
    for n in 1..=40 {
        assert_eq!(handles[0].increment(1).await.unwrap(), n);
    }
    assert!(journals(root.path()).is_empty(), "nobody needed it");
    finish(call_all(&handles[1..], 0, 200)).await;
    assert!(!journals(root.path()).is_empty());
    assert!((1..12).any(|n| is_grouped(root.path(), &directory(n))));
    assert!(!is_grouped(root.path(), &directory(0)));
    // What is inspected meanwhile is what was answered.
    let view = persistent_actor_runtime::store::inspect(&root.path().join(directory(3))).unwrap();
    assert_eq!(view.view.ledger.sessions().count(), 1);
    // Alone again, it goes back to that.
    for n in 201..=240 {
        assert_eq!(handles[1].increment(1).await.unwrap(), n);
    }
    assert!(!is_grouped(root.path(), &directory(1)));
    node.shutdown().await;
    assert!(journals(root.path()).is_empty(), "all states are whole without it");
    for n in 0..12 {
        assert!(!is_grouped(root.path(), &directory(n)));
    }
    // A directory taken elsewhere is complete.
    let elsewhere = state_root();
    let moved = elsewhere.path().join("moved");
    fs::rename(root.path().join(directory(5)), &moved).unwrap();
    let state = ActorState::open(&moved).unwrap();
    assert_eq!(state.get::<u64>("counter").unwrap(), Some(200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_of_workers_that_share_syncs_lose_and_double_nothing() {
    let root = state_root();
    let events = Events::default();
    let node = Node::builder().on_event(events.observer()).open(root.path()).unwrap();
    let handles = spawn_all(&node, 16).await;
    let calls = 300;
    let tasks = call_all(&handles, 0, calls);
    let killers = handles.clone();
    let killer = tokio::spawn(async move {
        let mut random = StdRng::seed_from_u64(11);
        for _ in 0..60 {
            killers[random.random_range(0..killers.len())].kill().await.unwrap();
        }
    });
    finish(tasks).await;
    killer.await.unwrap();
    for handle in &handles {
        assert_eq!(handle.value().await.unwrap(), u64::from(calls));
    }
    assert!((0..16).any(|n| is_grouped(root.path(), &directory(n))));
    println!("{} deaths", events.count(|kind| matches!(kind, EventKind::Died { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_goes_without_a_goodbye_leaves_its_group_journal_to_the_next() {
    let root = state_root();
    for round in 0..3 {
        let node = node(&root, Durability::Power);
        let handles = spawn_all(&node, 8).await;
        for handle in &handles {
            assert_eq!(handle.value().await.unwrap(), u64::from(round) * 100);
        }
        finish(call_all(&handles, round * 100, 100)).await;
        drop(node);
        assert!(!journals(root.path()).is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_group_journal_fails_each_actor_goes_on_by_itself() {
    let root = state_root();
    let events = Events::default();
    let node = Node::builder().on_event(events.observer()).open(root.path()).unwrap();
    let handles = spawn_all(&node, 8).await;
    finish(call_all(&handles, 0, 50)).await;
    // Not each of them: who comes last is alone at the end, and may have gone back to its own syncs.
    assert!((0..8).any(|n| is_grouped(root.path(), &directory(n))));
    // Without its claim it is not the one any more: the next batch fails after it was written.
    for file in fs::read_dir(root.path().join(".group")).unwrap() {
        let path = file.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("epoch-") {
            fs::remove_file(path).unwrap();
        }
    }
    finish(call_all(&handles, 50, 50)).await;
    for handle in &handles {
        assert_eq!(handle.value().await.unwrap(), 100);
    }
    let replayed =
        |kind: &EventKind| matches!(kind, EventKind::CallFinished { replayed: true, .. });
    assert!(events.count(replayed) > 0, "what was written was answered from the ledger");
    assert!((0..8).all(|n| !is_grouped(root.path(), &directory(n))));
    node.shutdown().await;
}

/// How many members the newest file of the group journal names.
fn members(root: &Path) -> u32 {
    let newest = journals(root).into_iter().max().unwrap();
    let bytes = fs::read(root.join(".group").join(newest)).unwrap();
    // Behind the headers of the file and of its first record, and a byte.
    u32::from_le_bytes(bytes[512 + 40 + 1..][..4].try_into().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn actors_that_were_killed_for_good_leave_the_group_journal() {
    let (rounds, actors, calls) = (8, 8, 200);
    let root = state_root();
    let node = node(&root, Durability::Power);
    let name = |round: usize, n: usize| format!("actor-{round}-{n}");
    let mut most = 0;
    for round in 0..rounds {
        let mut handles = Vec::new();
        for n in 0..actors {
            let actor = node.actor::<Counter>(name(round, n)).max_restarts(0);
            handles.push(actor.spawn().await.unwrap());
        }
        finish(call_all(&handles, 0, calls)).await;
        assert!((0..actors).any(|n| is_grouped(root.path(), &name(round, n))));
        most = most.max(members(root.path()));
        for handle in &handles {
            handle.kill().await.unwrap();
        }
        // Nobody opens them: what makes them whole is this node.
        let needy = |n: &usize| is_grouped(root.path(), &name(round, *n));
        let patience = Instant::now() + Duration::from_secs(20);
        while let Some(n) = (0..actors).find(needy) {
            assert!(Instant::now() < patience, "{} needs the group journal", name(round, n));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert!(most <= actors as u32, "{most} members");
    for (round, n) in (0..rounds).flat_map(|round| (0..actors).map(move |n| (round, n))) {
        let state = ActorState::open(root.path().join(name(round, n))).unwrap();
        assert_eq!(state.get::<u64>("counter").unwrap(), Some(u64::from(calls)));
    }
    node.shutdown().await;
    assert!(journals(root.path()).is_empty());
}
