//! Calls that the actor dies of: counted, parked with the state, and out of the way.

#![allow(clippy::unwrap_used, reason = "a test may panic and tell")]

mod support;

use persistent_actor_runtime::{
    ActorState, CallError, CallId, CallOutcome, Durability, EventKind, IntentStage, Never, Node,
    SessionId, worker_for_tests,
};
use support::{Counter, CounterHandle, Events, node, state_root};

worker_for_tests!();

async fn deaths_of(counter: &CounterHandle, id: CallId) -> u32 {
    match counter.with_call_id(id).abort().await.unwrap_err() {
        CallError::PoisonCall { deaths, last, .. } => {
            assert_eq!(last, "signal 6");
            deaths
        }
        other => panic!("{other:?}"),
    }
}

fn fresh_id() -> CallId {
    CallId { session: SessionId::generate().unwrap(), sequence: 0 }
}

#[tokio::test]
async fn a_parked_call_stays_parked_when_the_actor_and_its_node_start_again() {
    let root = state_root();
    let id = fresh_id();
    {
        let node = node(&root, Durability::Power);
        let counter = node.actor::<Counter>("visits").max_deaths_per_call(3).spawn().await.unwrap();
        assert_eq!(deaths_of(&counter, id).await, 3);
        assert_eq!(counter.incarnation(), 4);
        assert_eq!(deaths_of(&counter, id).await, 3);
        assert_eq!(counter.incarnation(), 4, "nobody died of the second");
        assert_eq!(counter.increment(1).await.unwrap(), 1);
        node.shutdown().await;
    }
    let node = node(&root, Durability::Power);
    let counter = node.actor::<Counter>("visits").spawn().await.unwrap();
    assert_eq!(deaths_of(&counter, id).await, 3);
    assert_eq!(counter.incarnation(), 1);
    assert_eq!(counter.increment(1).await.unwrap(), 2, "others are served");
    counter.kill().await.unwrap();
    assert_eq!(deaths_of(&counter, id).await, 3);
    let outcome = node.outcome::<u64, Never>("visits", id).await.unwrap();
    assert!(matches!(outcome, CallOutcome::Parked { deaths: 3, .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_parked_call_runs_again_after_retry_and_never_after_drop() {
    let root = state_root();
    let (retried, dropped) = (fresh_id(), fresh_id());
    let limit = 2;
    {
        let node = node(&root, Durability::Process);
        let counter =
            node.actor::<Counter>("visits").max_deaths_per_call(limit).spawn().await.unwrap();
        assert_eq!(deaths_of(&counter, retried).await, limit);
        assert_eq!(deaths_of(&counter, dropped).await, limit);
        node.shutdown().await;
    }
    {
        let mut state = ActorState::open(root.path().join("visits")).unwrap();
        assert!(state.retry_call(retried).unwrap());
        assert!(!state.retry_call(retried).unwrap(), "it is parked no more");
        assert!(state.drop_call(dropped).unwrap());
        assert_eq!(state.intents().get(dropped).unwrap().stage, IntentStage::Dropped);
    }
    let node = node(&root, Durability::Process);
    let counter = node.actor::<Counter>("visits").spawn().await.unwrap();
    // What was an abort before is mended now: the retry is another method under the same id.
    assert_eq!(counter.with_call_id(retried).increment(1).await.unwrap(), 1);
    assert_eq!(deaths_of(&counter, dropped).await, limit);
    assert_eq!(counter.incarnation(), 1);
}

#[tokio::test]
async fn a_call_that_never_died_leaves_no_intent_and_no_further_commit() {
    let root = state_root();
    let events = Events::default();
    let node = Node::builder()
        .durability(Durability::Process)
        .on_event(events.observer())
        .open(root.path())
        .unwrap();
    let counter = node.actor::<Counter>("visits").spawn().await.unwrap();
    for n in 1..=10 {
        assert_eq!(counter.increment(1).await.unwrap(), n);
        let id = fresh_id();
        let of_this_run = counter.with_call_id(id).value().await.unwrap();
        assert_eq!(of_this_run, n);
    }
    // A kill by the node is nobody's fault.
    counter.kill().await.unwrap();
    assert_eq!(counter.increment(1).await.unwrap(), 11);
    node.shutdown().await;
    let state = ActorState::open(root.path().join("visits")).unwrap();
    assert!(state.intents().is_empty());
    // The initial value, then a commit for each call.
    assert_eq!(state.sequence(), 12);
}

#[tokio::test]
async fn an_actor_that_may_not_be_restarted_names_the_call_that_killed_it_too_often() {
    let root = state_root();
    let events = Events::default();
    let node = Node::builder().on_event(events.observer()).open(root.path()).unwrap();
    let counter = node.actor::<Counter>("visits").max_deaths_per_call(2).max_restarts(1);
    let counter = counter.spawn().await.unwrap();
    let error = counter.abort().await.unwrap_err();
    assert!(matches!(error, CallError::PoisonCall { deaths: 2, .. }), "{error}");
    assert_eq!(events.count(|kind| matches!(kind, EventKind::Died { .. })), 2);
}
