//! Large values: shared memory that is made once, read in place, and outlives who made it.

#![allow(clippy::unwrap_used, reason = "a test may panic and tell")]

mod support;

use persistent_actor_runtime::__private::buffers_made;
use persistent_actor_runtime::{
    Bytes, Durability, KillPoint, Node, actor, safe_state, worker_for_tests,
};
use serde::{Deserialize, Serialize};
use support::{start, state_root};

worker_for_tests!();

const LEN: usize = 200_000;

/// An array of bytes to which others are added.
#[derive(Serialize, Deserialize)]
struct Block {
    data: Bytes,
    seen: u64,
}

impl Default for Block {
    fn default() -> Self {
        Self { data: ones(), seen: 0 }
    }
}

fn ones() -> Bytes {
    Bytes::build(LEN, |out| out.fill(1))
}

#[actor]
impl Block {
    #[safe_state("data")]
    fn add(&mut self, other: Bytes) -> Bytes {
        self.data = Bytes::build(self.data.len(), |out| {
            for ((out, a), b) in out.iter_mut().zip(&*self.data).zip(&*other) {
                *out = a.wrapping_add(*b);
            }
        });
        self.data.clone()
    }

    /// Keeps what it is given, in place.
    #[safe_state("data")]
    fn keep(&mut self, other: Bytes) {
        self.data = other;
    }

    /// Writes into what it was given.
    #[safe_state("seen")]
    fn overwrite(&mut self, mut other: Bytes, value: u8) -> Bytes {
        self.seen += 1;
        other.make_mut().fill(value);
        other
    }

    fn data(&self) -> Bytes {
        self.data.clone()
    }

    /// Changes the state, in place or by another, and then fails or panics.
    #[safe_state("data")]
    fn spoil(&mut self, in_place: bool, panics: bool) -> Result<u8, String> {
        match in_place {
            true => self.data.make_mut().fill(99),
            false => self.data = Bytes::build(LEN, |out| out.fill(98)),
        }
        assert!(!panics, "no more");
        Err("no more".to_owned())
    }

    fn long_text(&self, len: usize) -> String {
        "x".repeat(len)
    }

    fn text_length(&self, text: String) -> usize {
        text.len()
    }

    fn buffers_made(&self) -> u64 {
        buffers_made()
    }
}

fn filled_with(bytes: &Bytes) -> Option<u8> {
    let first = *bytes.first()?;
    (bytes.len() == LEN && bytes.iter().all(|byte| *byte == first)).then_some(first)
}

fn nodes() -> Vec<(Node, Option<tempfile::TempDir>)> {
    let root = state_root();
    let durable = support::node(&root, Durability::Process);
    vec![(Node::in_memory().unwrap(), None), (durable, Some(root))]
}

/// Lets memory that is free be used again, here and in the actor.
async fn use_memory_again(actor: &BlockHandle) -> Vec<Bytes> {
    for _ in 0..5 {
        actor.add(ones()).await.unwrap();
    }
    (0..4).map(|_| Bytes::build(LEN, |out| out.fill(99))).collect()
}

#[tokio::test]
async fn a_value_that_came_back_stays_what_it_is_when_who_had_it_is_gone() {
    for (node, _root) in nodes() {
        for (round, is_killed) in [false, true].into_iter().enumerate() {
            let actor = async |name| {
                let name = format!("{name}-{round}");
                node.actor::<Block>(&name).spawn().await.unwrap()
            };
            let (maker, own_keeper, keeper) =
                (actor("maker").await, actor("own").await, actor("keeper").await);
            own_keeper.keep(ones()).await.unwrap();
            let own = own_keeper.data().await.unwrap();
            keeper.keep(maker.add(ones()).await.unwrap()).await.unwrap();
            let makers = keeper.data().await.unwrap();
            for keeper in [own_keeper, keeper] {
                match is_killed {
                    true => keeper.kill().await.unwrap(),
                    false => keeper.stop().await.unwrap(),
                }
            }
            let _others = use_memory_again(&maker).await;
            assert_eq!((filled_with(&own), filled_with(&makers)), (Some(1), Some(2)));
        }
    }
}

#[tokio::test]
async fn large_values_go_from_actor_to_actor_and_their_buffers_are_used_again() {
    for (node, _root) in nodes() {
        let a = node.actor::<Block>("a").spawn().await.unwrap();
        let b = node.actor::<Block>("b").spawn().await.unwrap();
        let (mut expected_a, mut expected_b) = (1u8, 1u8);
        let mut current = ones();
        let mut made = Vec::new();
        for round in 0..60 {
            let given = filled_with(&current).unwrap();
            current = a.add(current).await.unwrap();
            expected_a = expected_a.wrapping_add(given);
            assert_eq!(filled_with(&current), Some(expected_a), "round {round}");
            current = b.add(current).await.unwrap();
            expected_b = expected_b.wrapping_add(expected_a);
            assert_eq!(filled_with(&current), Some(expected_b), "round {round}");
            made.push((a.buffers_made().await.unwrap(), b.buffers_made().await.unwrap()));
        }
        let (a_made, b_made) = *made.last().unwrap();
        assert_eq!(made[10], (a_made, b_made), "no buffer is made after the warm-up");
        assert!((1..=6).contains(&a_made), "{a_made} buffers for one state");
    }
}

#[tokio::test]
async fn a_value_outlives_the_process_that_made_it() {
    for (node, _root) in nodes() {
        let a = node.actor::<Block>("a").spawn().await.unwrap();
        let b = node.actor::<Block>("b").spawn().await.unwrap();
        let two = a.add(ones()).await.unwrap();
        a.kill().await.unwrap();
        assert_eq!(filled_with(&two), Some(2));
        // New values of the next incarnation do not land in it.
        for _ in 0..5 {
            a.add(ones()).await.unwrap();
        }
        assert_eq!(filled_with(&two), Some(2));
        assert_eq!(filled_with(&b.add(two).await.unwrap()), Some(3));
    }
}

#[tokio::test]
async fn an_incarnation_goes_on_with_the_buffers_of_the_one_before() {
    for (node, _root) in nodes() {
        let a = node.actor::<Block>("a").spawn().await.unwrap();
        let mut results = Vec::new();
        for _ in 0..6 {
            results.push(a.add(ones()).await.unwrap());
        }
        let held = results.pop().unwrap();
        drop(results);
        assert!(a.buffers_made().await.unwrap() >= 6);
        let content = filled_with(&held);
        a.kill().await.unwrap();
        a.overwrite(ones(), 9).await.unwrap();
        assert_eq!(a.buffers_made().await.unwrap(), 0, "none but inherited ones");
        assert_eq!(filled_with(&held), content, "what is still held is not inherited");
    }
}

#[tokio::test]
async fn a_call_with_a_large_value_is_sent_again_with_it() {
    let root = state_root();
    let node = support::node(&root, Durability::Process);
    let a = node.actor::<Block>("a").spawn().await.unwrap();
    let b = node.actor::<Block>("b").spawn().await.unwrap();
    for point in [KillPoint::BeforeRun, KillPoint::BeforeCommit, KillPoint::AfterCommit] {
        let before = filled_with(&b.data().await.unwrap()).unwrap();
        let value = a.add(ones()).await.unwrap();
        let given = filled_with(&value).unwrap();
        b.kill_during_next_call(point);
        let call = start(b.add(value)).await;
        // The maker dies as well while its value is on the way.
        a.kill().await.unwrap();
        let sum = filled_with(&call.await.unwrap());
        assert_eq!(sum, Some(before.wrapping_add(given)), "{point:?}");
    }
}

#[tokio::test]
async fn what_a_holder_keeps_stays_what_it_was() {
    for (node, _root) in nodes() {
        let a = node.actor::<Block>("a").spawn().await.unwrap();
        let b = node.actor::<Block>("b").spawn().await.unwrap();
        b.keep(a.add(ones()).await.unwrap()).await.unwrap();
        for _ in 0..10 {
            a.add(ones()).await.unwrap();
        }
        assert_eq!(filled_with(&b.data().await.unwrap()), Some(2));
        a.kill().await.unwrap();
        a.add(ones()).await.unwrap();
        assert_eq!(filled_with(&b.data().await.unwrap()), Some(2));
    }
}

#[tokio::test]
async fn writing_into_a_received_value_leaves_the_senders_alone() {
    let node = Node::in_memory().unwrap();
    let a = node.actor::<Block>("a").spawn().await.unwrap();
    let b = node.actor::<Block>("b").spawn().await.unwrap();
    let two = a.add(ones()).await.unwrap();
    let nine = b.overwrite(two.clone(), 9).await.unwrap();
    // And home again to its maker.
    let seven = a.overwrite(two.clone(), 7).await.unwrap();
    assert_eq!([&two, &nine, &seven].map(filled_with), [Some(2), Some(9), Some(7)]);
    assert_eq!(filled_with(&a.data().await.unwrap()), Some(2));
}

#[tokio::test]
async fn large_values_without_byte_arrays_travel_too() {
    let node = Node::in_memory().unwrap();
    let a = node.actor::<Block>("a").spawn().await.unwrap();
    for len in [0, 65_530, 65_536, 3_000_000] {
        let text = a.long_text(len).await.unwrap();
        assert_eq!(text.len(), len);
        assert_eq!(a.text_length(text).await.unwrap(), len);
    }
}

#[tokio::test]
async fn many_large_calls_at_once_are_answered_in_order() {
    let node = Node::in_memory().unwrap();
    let a = node.actor::<Block>("a").spawn().await.unwrap();
    let mut calls = Vec::new();
    for value in 0..100u8 {
        calls.push((value, start(a.overwrite(ones(), value)).await));
    }
    for (value, call) in calls {
        assert_eq!(filled_with(&call.await.unwrap()), Some(value));
    }
}

#[tokio::test]
async fn a_large_state_goes_back_to_the_last_commit_when_a_method_fails_or_panics() {
    for durability in [Durability::Process, Durability::Power] {
        let root = state_root();
        let node = support::node(&root, durability);
        let a = node.actor::<Block>("a").spawn().await.unwrap();
        let mut expected = 1;
        for (in_place, panics) in [(true, true), (true, false), (false, true), (false, false)] {
            a.add(ones()).await.unwrap();
            expected += 1;
            let error = a.spoil(in_place, panics).await.unwrap_err().to_string();
            assert!(error.contains("no more"), "{error}");
            assert_eq!(filled_with(&a.data().await.unwrap()), Some(expected), "in memory");
            a.kill().await.unwrap();
            assert_eq!(filled_with(&a.data().await.unwrap()), Some(expected), "on disk");
        }
    }
}

#[tokio::test]
async fn a_large_state_comes_back_after_a_kill() {
    for durability in [Durability::Process, Durability::Power] {
        let root = state_root();
        let node = support::node(&root, durability);
        let a = node.actor::<Block>("a").spawn().await.unwrap();
        for expected in 2..6 {
            assert_eq!(filled_with(&a.add(ones()).await.unwrap()), Some(expected));
            a.kill().await.unwrap();
            assert_eq!(filled_with(&a.data().await.unwrap()), Some(expected), "{durability}");
        }
    }
}
