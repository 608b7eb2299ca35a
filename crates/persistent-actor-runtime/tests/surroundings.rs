//! A process that was started ahead is copied only while a new one would be the same. Alone in its
//! file: it changes what belongs to the whole program.

#![allow(clippy::unwrap_used, reason = "a test may panic and tell")]

#[path = "support/copies.rs"]
mod copies;
mod support;

use copies::server;
use persistent_actor_runtime::{Durability, worker_for_tests};
use support::{Counter, node, state_root};

worker_for_tests!();

#[tokio::test]
async fn after_a_change_of_what_processes_inherit_a_new_one_is_started() {
    let root = state_root();
    let node = node(&root, Durability::Process);
    let counter = node.actor::<Counter>("visits").spawn().await.unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let shown = |pid: u32, what: &str| std::fs::read_link(format!("/proc/{pid}/{what}")).unwrap();

    let first = server(&node, None).await;
    counter.kill().await.unwrap();
    counter.process().await.unwrap();
    assert_eq!(server(&node, None).await, first, "nothing has changed");

    std::env::set_current_dir(elsewhere.path()).unwrap();
    counter.kill().await.unwrap();
    let pid = counter.process().await.unwrap();
    assert_eq!(shown(pid, "cwd"), elsewhere.path().canonicalize().unwrap());
    let second = server(&node, None).await;
    assert_ne!(second, first);

    // SAFETY: no other thread of this program, which runs one test, reads the environment now.
    unsafe { std::env::set_var("TEST_OF_SURROUNDINGS", "1") };
    counter.kill().await.unwrap();
    let pid = counter.process().await.unwrap();
    let environment = std::fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
    assert!(environment.contains("TEST_OF_SURROUNDINGS=1"));
    let third = server(&node, None).await;
    assert_ne!(third, second);

    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o027));
    counter.kill().await.unwrap();
    counter.process().await.unwrap();
    let fourth = server(&node, None).await;
    assert_ne!(fourth, third);

    counter.kill().await.unwrap();
    counter.process().await.unwrap();
    assert_eq!(server(&node, None).await, fourth, "it was started after the changes");
}
