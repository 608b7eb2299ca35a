//! Where a copy of a worker would not be what a new process is, there are no copies, and all else is
//! as ever.

#![allow(clippy::unwrap_used, reason = "a test may panic and tell")]

#[path = "support/copies.rs"]
mod copies;
mod support;

use std::process::Command;

use copies::{is_copy, server};
use persistent_actor_runtime::{__private, Bytes, Durability, Node};
use support::{Counter, node, state_root};

__private::inventory::submit! {
    __private::TestWorker::new(concat!(module_path!(), "::persistent_actor_worker"))
}

/// What a worker has done before it comes to the worker's branch.
const BEFORE: &str = "TEST_DONE_BEFORE";

#[test]
fn persistent_actor_worker() {
    match std::env::var(BEFORE).as_deref() {
        Ok("thread") => drop(std::thread::spawn(|| {
            loop {
                std::thread::park()
            }
        })),
        Ok("file") => std::mem::forget(std::fs::File::open("/dev/null").unwrap()),
        Ok("plain file") => {
            // SAFETY: opens a file, as programs in C do: without CLOEXEC.
            assert!(unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY) } > 2);
        }
        Ok("buffer") => {
            let node = Node::builder().durability(Durability::None).in_memory().unwrap();
            std::mem::forget((Bytes::from(vec![1; 1 << 20]), __private::buffers_made(), node));
        }
        _ => {}
    }
    __private::take_worker_branch();
}

/// Runs in a program of its own.
#[test]
#[ignore = "a program that another test starts"]
fn a_program_whose_workers_have_done_something_before() {
    let Ok(done) = std::env::var(BEFORE) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let root = state_root();
        let node = node(&root, Durability::Process);
        let mut counters = Vec::new();
        for name in ["a", "b", "c"] {
            counters.push(node.actor::<Counter>(name).spawn().await.unwrap());
            server(&node, None).await;
        }
        for round in 1..5 {
            for (number, counter) in counters.iter().enumerate() {
                assert_eq!(counter.increment(1).await.unwrap(), round);
                let is_copy = is_copy(counter.process().await.unwrap());
                let is_first = number == 0 && round == 1;
                assert_eq!(is_copy, done == "nothing" && !is_first, "{done}, {number}, {round}");
                counter.kill().await.unwrap();
                counter.process().await.unwrap();
                server(&node, None).await;
            }
        }
    });
}

#[test]
fn a_worker_that_has_a_thread_or_an_open_file_or_a_shared_buffer_is_not_copied() {
    for done in ["nothing", "thread", "file", "plain file", "buffer"] {
        let mut program = Command::new(std::env::current_exe().unwrap());
        program.args(["--exact", "a_program_whose_workers_have_done_something_before"]);
        let output = program.args(["--ignored", "--nocapture"]).env(BEFORE, done).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let ran = String::from_utf8_lossy(&output.stdout).contains("1 passed");
        assert!(output.status.success() && ran, "{done}: {said}");
    }
}
