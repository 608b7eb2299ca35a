//! A process that was started ahead is used only while a new one would be the same. Alone in its
//! file: it changes what belongs to the whole program.

#![allow(clippy::unwrap_used, reason = "a test may panic and tell")]

mod support;

use std::time::{Duration, Instant};

use persistent_actor_runtime::{Durability, Node, worker_for_tests};
use support::{Counter, node, state_root};

worker_for_tests!();

async fn standby(node: &Node) -> u32 {
    let begin = Instant::now();
    while node.standby().is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(begin.elapsed() < Duration::from_secs(20), "no process stands by");
    }
    node.standby().unwrap()
}

#[tokio::test]
async fn after_a_change_of_what_processes_inherit_a_new_one_is_started() {
    let root = state_root();
    let node = node(&root, Durability::Process);
    let counter = node.actor::<Counter>("visits").spawn().await.unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let shown = |pid: u32, what: &str| std::fs::read_link(format!("/proc/{pid}/{what}")).unwrap();

    let waiting = standby(&node).await;
    counter.kill().await.unwrap();
    assert_eq!(counter.process().await.unwrap(), waiting, "nothing has changed");

    let waiting = standby(&node).await;
    std::env::set_current_dir(elsewhere.path()).unwrap();
    counter.kill().await.unwrap();
    let pid = counter.process().await.unwrap();
    assert_ne!(pid, waiting);
    assert_eq!(shown(pid, "cwd"), elsewhere.path().canonicalize().unwrap());

    let waiting = standby(&node).await;
    // SAFETY: no other thread of this program, which runs one test, reads the environment now.
    unsafe { std::env::set_var("TEST_OF_SURROUNDINGS", "1") };
    counter.kill().await.unwrap();
    assert_ne!(counter.process().await.unwrap(), waiting);

    let waiting = standby(&node).await;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o027));
    counter.kill().await.unwrap();
    assert_ne!(counter.process().await.unwrap(), waiting);

    let waiting = standby(&node).await;
    counter.kill().await.unwrap();
    assert_eq!(counter.process().await.unwrap(), waiting, "it was started after the changes");
}
