//! An observer that panics holds up nobody: each call is answered, and the node can be shut down.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use persistent_actor_runtime::{Durability, Event, EventKind, Node, worker_for_tests};
use support::{Counter, CounterHandle, Events, state_root};
use tokio::task::{self, Id, JoinSet};
use tokio::time::timeout;

worker_for_tests!();

/// For what would otherwise wait for ever.
const PATIENCE: Duration = Duration::from_secs(20);

/// Counts at each actor `calls` times, two calls at once, at the same time as at the others.
async fn call_all(handles: &[CounterHandle], calls: u32) {
    let mut tasks = JoinSet::new();
    for handle in handles {
        let handle = handle.clone();
        tasks.spawn(async move {
            for n in (0..calls).step_by(2) {
                let (one, other) = tokio::join!(handle.count(0, n), handle.count(0, n + 1));
                assert_eq!(one.unwrap().1, n);
                assert_eq!(other.unwrap().1, n + 1);
            }
        });
    }
    let mut all = Vec::new();
    while let Some(done) = tasks.join_next().await {
        all.push(done);
    }
    // Only now: one that has failed is not to hide that another waits for ever.
    all.into_iter().for_each(|done| done.unwrap());
}

/// What an observer that panics has met.
#[derive(Default)]
struct Trouble {
    /// Tasks of actors.
    actors: Mutex<HashSet<Option<Id>>>,
    finished: AtomicUsize,
    shared: AtomicUsize,
}

impl Trouble {
    /// Panics now and then at a call that is finished, but not where that concerns one actor only.
    fn meet(&self, event: &Event) {
        let task = task::try_id();
        if matches!(event.kind, EventKind::Ready { .. }) {
            self.actors.lock().unwrap().insert(task);
        }
        if matches!(event.kind, EventKind::CallFinished { .. }) {
            self.finished.fetch_add(1, Ordering::Relaxed);
            let is_shared = !self.actors.lock().unwrap().contains(&task);
            if is_shared && self.shared.fetch_add(1, Ordering::Relaxed) % 16 == 3 {
                panic!("the observer panics");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn actors_that_share_syncs_are_all_served() {
    let (actors, calls) = (12, 200);
    let root = state_root();
    let trouble = Arc::new(Trouble::default());
    let met = Arc::clone(&trouble);
    let builder = Node::builder().on_event(move |event| met.meet(event));
    let node = builder.open(root.path()).unwrap();
    let mut handles = Vec::new();
    for n in 0..actors {
        handles.push(node.actor::<Counter>(format!("actor-{n}")).spawn().await.unwrap());
    }
    timeout(PATIENCE, call_all(&handles, calls)).await.expect("all calls are answered");
    let finished = trouble.finished.load(Ordering::Relaxed);
    assert_eq!(finished, actors * calls as usize, "it is told of each, after a panic, too");
    assert!(trouble.shared.load(Ordering::Relaxed) > 100, "it has panicked again and again");
    timeout(PATIENCE, node.shutdown()).await.expect("nobody holds up the end");
}

#[tokio::test]
async fn an_actor_goes_on_whatever_it_panics_at() {
    let events = Events::default();
    let record = events.observer();
    let observer = move |event: &Event| {
        record(event);
        panic!("the observer panics");
    };
    let builder = Node::builder().durability(Durability::None).on_event(observer);
    let node = builder.in_memory().unwrap();
    let served = async {
        let handle = node.actor::<Counter>("one").spawn().await.unwrap();
        assert_eq!(handle.increment(1).await.unwrap(), 1);
        handle.kill().await.unwrap();
        assert_eq!(handle.increment(1).await.unwrap(), 1, "nothing was saved");
        node.shutdown().await;
    };
    timeout(PATIENCE, served).await.expect("it is served");
    let call = ["CallStarted", "CallFinished"];
    let (start, restart) = (["Spawned", "Ready"], ["Killed", "Died", "Restarting"]);
    let end = ["Died", "Stopped"];
    let words = [&start[..], &call, &restart, &start, &call, &end].concat();
    assert_eq!(events.words(), words);
}
