//! At level `process` large values are built where they are stored.

#![allow(clippy::unwrap_used, reason = "a test may panic and tell")]

mod support;

use std::path::Path;

use persistent_actor_runtime::{Bytes, Durability, KillPoint, actor, safe_state, worker_for_tests};
use serde::{Deserialize, Serialize};
use support::{node, state_root};

worker_for_tests!();

const LEN: usize = 2 << 20;

/// An array whose bytes are all the same.
#[derive(Default, Serialize, Deserialize)]
struct Block {
    data: Bytes,
}

#[actor]
impl Block {
    #[safe_state("data")]
    fn fill(&mut self, value: u8) -> Bytes {
        self.data = Bytes::build(LEN, |out| out.fill(value));
        self.data.clone()
    }

    #[safe_state("data")]
    fn fill_and_fail(&mut self, value: u8) -> Result<u8, String> {
        self.data = Bytes::build(LEN, |out| out.fill(value));
        Err(format!("{value} was written in vain"))
    }

    /// Is killed when it has written a part.
    #[safe_state("data")]
    fn die_while_filling(&mut self, value: u8) -> Bytes {
        self.data = Bytes::build(LEN, |out| {
            out[..LEN / 2].fill(value);
            let own = std::process::id().to_string();
            let killed = std::process::Command::new("kill").args(["-KILL", &own]).status();
            panic!("still there: {killed:?}");
        });
        self.data.clone()
    }

    fn data(&self) -> Bytes {
        self.data.clone()
    }

    /// How many slots this process has mapped, and how many files it has open.
    fn held(&self) -> (usize, usize) {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let slots = maps.lines().filter(|line| line.contains("/slot-")).count();
        (slots, std::fs::read_dir("/proc/self/fd").unwrap().count())
    }
}

fn filled_with(bytes: &Bytes) -> Option<u8> {
    let first = *bytes.first()?;
    (bytes.len() == LEN && bytes.iter().all(|byte| *byte == first)).then_some(first)
}

fn files_below(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| if entry.path().is_dir() { files_below(&entry.path()) } else { 1 }).sum()
}

/// Lets the actor come to build in slots.
async fn warm_up(block: &BlockHandle) {
    for value in 0..8 {
        block.fill(value).await.unwrap();
    }
    assert!(block.held().await.unwrap().0 > 0, "slots are mapped");
}

#[tokio::test]
async fn replies_that_are_kept_stay_what_they_were_while_the_actor_goes_on() {
    let root = state_root();
    let node = node(&root, Durability::Process);
    let block = node.actor::<Block>("block").spawn().await.unwrap();
    warm_up(&block).await;
    let mut kept = Vec::new();
    for value in 0..60 {
        let reply = block.fill(value).await.unwrap();
        if value % 3 == 0 {
            kept.push((value, reply));
        }
    }
    for (value, reply) in &kept {
        assert_eq!(filled_with(reply), Some(*value));
    }
    assert_eq!(filled_with(&block.data().await.unwrap()), Some(59));
}

#[tokio::test]
async fn mapped_slots_and_open_files_do_not_grow_over_a_thousand_calls() {
    let root = state_root();
    let node = node(&root, Durability::Process);
    let block = node.actor::<Block>("block").spawn().await.unwrap();
    warm_up(&block).await;
    let files = || files_below(root.path());
    let (before, files_before) = (block.held().await.unwrap(), files());
    for value in 0..1000 {
        block.fill(value as u8).await.unwrap();
    }
    let (after, files_after) = (block.held().await.unwrap(), files());
    assert!(after.0 <= before.0 + 1 && after.1 <= before.1 + 2, "{before:?}, then {after:?}");
    assert!(files_after <= files_before + 2, "{files_before} files, then {files_after}");
}

#[tokio::test]
async fn a_method_that_fails_leaves_the_committed_array() {
    let root = state_root();
    let node = node(&root, Durability::Process);
    let block = node.actor::<Block>("block").spawn().await.unwrap();
    warm_up(&block).await;
    for value in 0..20 {
        block.fill(value).await.unwrap();
        block.fill_and_fail(200 + value).await.unwrap_err();
        assert_eq!(filled_with(&block.data().await.unwrap()), Some(value));
    }
}

#[tokio::test]
async fn a_process_killed_while_it_builds_an_array_leaves_the_committed_one() {
    let root = state_root();
    let node = node(&root, Durability::Process);
    let block = node.actor::<Block>("block").max_task_retries(0).spawn().await.unwrap();
    for round in 0..5 {
        warm_up(&block).await;
        block.die_while_filling(200).await.unwrap_err();
        assert_eq!(filled_with(&block.data().await.unwrap()), Some(7), "in round {round}");
    }
}

#[tokio::test]
async fn a_process_killed_around_the_commit_has_filled_once() {
    let root = state_root();
    {
        let node = node(&root, Durability::Process);
        let block = node.actor::<Block>("block").spawn().await.unwrap();
        for value in 0..10 {
            for point in [KillPoint::BeforeCommit, KillPoint::AfterCommit] {
                warm_up(&block).await;
                block.kill_during_next_call(point);
                let reply = block.fill(100 + value).await.unwrap();
                assert_eq!(filled_with(&reply), Some(100 + value), "killed {point:?}");
                assert_eq!(filled_with(&block.data().await.unwrap()), Some(100 + value));
            }
        }
    }
    let node = node(&root, Durability::Process);
    let block = node.actor::<Block>("block").spawn().await.unwrap();
    assert_eq!(filled_with(&block.data().await.unwrap()), Some(109), "after a new start");
}

/// What was passed on lies in the slots of an incarnation that is gone: its successor must not
/// write there.
#[tokio::test]
async fn replies_that_are_kept_stay_what_they_were_while_the_actor_is_killed_and_goes_on() {
    let root = state_root();
    let node = node(&root, Durability::Process);
    let block = node.actor::<Block>("block").spawn().await.unwrap();
    let mut kept = Vec::new();
    for value in 1..=12 {
        kept.push(block.fill(value).await.unwrap());
        if value % 3 == 0 {
            block.kill().await.unwrap();
        }
        for (reply, value) in kept.iter().zip(1..) {
            assert_eq!(filled_with(reply), Some(value));
        }
    }
}
