//! The chaos run, short; and that it notices when a promise is not kept.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{Bench, descendants, is_running, stderr, stdout, wait_until};
use rustix::process::{Pid, Signal, kill_process};

/// A run of some seconds with faults of all kinds, on small and large states.
const SHORT: &[&str] = &["--kills=60", "--zombies=10", "--restarts=5"];

#[test]
fn whatever_is_killed_no_update_is_lost_or_doubled() {
    for (durability, seed) in
        [("--durability=process", "--chaos=1"), ("--durability=power", "--chaos=2")]
    {
        let bench = Bench::new();
        let found = bench.measure(&[SHORT, &[durability, seed]].concat(), 0);
        assert_eq!(found["exact"], true, "{found}");
        assert_eq!(found["updates"]["lost"], 0);
        assert_eq!(found["updates"]["doubled"], 0);
        assert_eq!(found["zombies"]["fenced"], 10);
        assert_eq!(found["zombies"]["not_fenced"], 0);
        assert_eq!(found["program_kills"], 5);
        let kills = &found["kills"];
        let all: u64 = ["in_call", "at_point", "while_starting"]
            .iter()
            .map(|kind| kills[kind].as_u64().unwrap())
            .inspect(|kills| assert!(*kills > 0, "each kind takes place"))
            .sum();
        assert_eq!(all, 60);
        assert!(found["retries"].as_u64().unwrap() > 0, "some kills must hit a call");
        assert!(found["replays"].as_u64().unwrap() > 0, "some of them after its commit");
        bench.assert_clean();
    }
}

#[test]
fn without_dedup_the_run_finds_doubled_updates_and_fails() {
    let bench = Bench::new();
    let flags = ["--chaos=1", "--kills=60", "--zombies=0", "--restarts=0", "--without-dedup"];
    let found = bench.measure(&flags, 1);
    assert_eq!(found["exact"], false);
    assert!(found["updates"]["doubled"].as_u64().unwrap() > 0, "{found}");
    assert_eq!(found["updates"]["lost"], 0);
    assert!(stdout(&bench.run(&flags)).contains("state: FAILURE: "));
    bench.assert_clean();
}

#[test]
fn without_fencing_the_run_finds_zombies_that_answer_and_fails() {
    let bench = Bench::new();
    // Fewer than ten, so that all are small: a large one may damage its successor's files.
    let flags = ["--chaos=1", "--kills=0", "--zombies=9", "--restarts=0", "--without-fencing"];
    let found = bench.measure(&flags, 1);
    assert_eq!(found["exact"], false);
    assert_eq!(found["zombies"]["not_fenced"], 9, "{found}");
    assert_eq!(found["updates"]["lost"], 9);
    bench.assert_clean();
}

#[test]
fn a_chaos_run_that_is_told_to_stop_leaves_nothing() {
    let bench = Bench::new();
    let child = bench.start(&["--chaos=1", "--kills=1000000"]);
    let mut workers = Vec::new();
    wait_until("workers are there", || {
        workers = descendants(child.id());
        workers.len() > 20
    });
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert_eq!(stdout(&output), "");
    wait_until("all workers are gone", || !workers.iter().any(|pid| is_running(*pid)));
    bench.assert_clean();
}
