//! A process that stood still while its successor took over changes and answers nothing any more.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use persistent_actor_runtime::testing::Switches;
use persistent_actor_runtime::{
    Actor, Bytes, Durability, EventKind, Handle, Node, ZombieEnd, actor, safe_state,
    worker_for_tests,
};
use serde::{Deserialize, Serialize};
use support::{Counter, CounterHandle, Events, start, state_root};

worker_for_tests!();

const DURABLE: [Durability; 2] = [Durability::Process, Durability::Power];

fn method<A: Actor>(name: &str) -> usize {
    A::METHODS.iter().position(|method| method.name == name).unwrap()
}

fn handle(counter: &CounterHandle) -> &Handle<Counter> {
    counter
}

#[tokio::test]
async fn a_zombie_that_goes_on_after_its_successor_has_served_is_fenced() {
    for durability in DURABLE {
        let (root, events) = (state_root(), Events::default());
        let node = Node::builder().durability(durability).on_event(events.observer());
        let node = node.open(root.path()).unwrap();
        let counter = node.actor::<Counter>("visits").spawn().await.unwrap();
        counter.increment(1).await.unwrap();
        let before = counter.pid();
        let zombie = handle(&counter).supersede().await.unwrap();
        assert_eq!(zombie.pid(), before);
        assert_eq!(counter.increment(1).await.unwrap(), 2);
        assert_ne!(counter.pid(), before);
        let end = zombie.wake_with(method::<Counter>("increment"), &(100u64,)).await.unwrap();
        assert_eq!(end, ZombieEnd::Fenced, "{durability}");
        assert_eq!(counter.increment(1).await.unwrap(), 3);
        assert_eq!(events.count(|kind| *kind == EventKind::Superseded), 1);
        drop(node);
        let again = support::node(&root, durability);
        let counter = again.actor::<Counter>("visits").spawn().await.unwrap();
        assert_eq!(counter.value().await.unwrap(), 3);
    }
}

#[tokio::test]
async fn a_call_that_was_under_way_is_answered_once_by_the_successor() {
    let root = state_root();
    let node = support::node(&root, Durability::Power);
    let counter = node.actor::<Counter>("visits").spawn().await.unwrap();
    for round in 0..20 {
        let reply = start(counter.increment(1)).await;
        let zombie = handle(&counter).supersede().await.unwrap();
        assert_eq!(reply.await.unwrap(), 2 * round + 1);
        // That reply may be one that the zombie gave before it was stopped.
        assert_eq!(counter.value().await.unwrap(), 2 * round + 1);
        let end = zombie.wake_with(method::<Counter>("increment"), &(100u64,)).await.unwrap();
        assert_eq!(end, ZombieEnd::Fenced);
        assert_eq!(counter.increment(1).await.unwrap(), 2 * round + 2);
    }
}

#[tokio::test]
async fn without_fencing_a_zombie_answers_a_call_that_is_lost() {
    let root = state_root();
    let switches = Switches { fencing: false, ..Switches::default() };
    let node = Node::builder().switches(switches).open(root.path()).unwrap();
    let counter = node.actor::<Counter>("visits").spawn().await.unwrap();
    counter.increment(1).await.unwrap();
    let zombie = handle(&counter).supersede().await.unwrap();
    assert_eq!(counter.increment(1).await.unwrap(), 2);
    let end = zombie.wake_with(method::<Counter>("increment"), &(100u64,)).await.unwrap();
    assert_eq!(end, ZombieEnd::Answered);
    assert_eq!(counter.increment(1).await.unwrap(), 3);
}

/// The size of a value that lies in slots and shared memory.
const LARGE: usize = 1 << 20;

#[derive(Serialize, Deserialize)]
struct Array {
    value: Bytes,
}

impl Default for Array {
    fn default() -> Self {
        Self { value: Bytes::build(LARGE, |out| out.fill(0)) }
    }
}

#[actor]
impl Array {
    fn first(&self) -> u8 {
        self.value[0]
    }

    #[safe_state("value")]
    fn add(&mut self, other: Bytes) -> Bytes {
        let (old, new) = (self.value.clone(), &other[..]);
        self.value = Bytes::build(LARGE, |out| {
            for ((out, a), b) in out.iter_mut().zip(&old[..]).zip(new) {
                *out = a.wrapping_add(*b);
            }
        });
        self.value.clone()
    }
}

#[tokio::test]
async fn a_zombie_writes_no_large_value_over_that_of_its_successor() {
    for durability in DURABLE {
        let root = state_root();
        let node = support::node(&root, durability);
        let array = node.actor::<Array>("array").spawn().await.unwrap();
        let ones = Bytes::build(LARGE, |out| out.fill(1));
        let mut expected = 0u8;
        for _ in 0..5 {
            let reply = start(array.add(ones.clone())).await;
            let zombie = array.supersede().await.unwrap();
            expected += 1;
            assert!(reply.await.unwrap().iter().all(|&byte| byte == expected));
            assert_eq!(array.first().await.unwrap(), expected, "the successor serves");
            let nines = (Bytes::build(LARGE, |out| out.fill(99)),);
            let end = zombie.wake_with(method::<Array>("add"), &nines).await.unwrap();
            assert_eq!(end, ZombieEnd::Fenced);
            expected += 1;
            let reply = array.add(ones.clone()).await.unwrap();
            assert!(reply.iter().all(|&byte| byte == expected));
        }
        array.kill().await.unwrap();
        let zeros = Bytes::build(LARGE, |out| out.fill(0));
        assert!(array.add(zeros).await.unwrap().iter().all(|&byte| byte == expected));
    }
}
