//! The whole program is killed and goes on where it stood: the real binary, real SIGKILL.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and tell")]

mod common;

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use bench_persistent_actor::chain;
use common::{Bench, descendants, is_running, stderr, stdout, wait_until};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const SMALL: &str = include_str!("expected/small-20x20.txt");

/// A run whose states are kept.
const RUN: &[&str] = &["--safe-state", "--state-dir=states"];

/// Whether the run has told what it belongs to, so that it can be resumed.
fn has_begun(bench: &Bench) -> bool {
    bench.path("states/run.json").exists()
}

fn final_states(result: &Value) -> Vec<String> {
    let states = result["final_states"].as_array().unwrap();
    states.iter().map(|state| state.as_str().unwrap().to_owned()).collect()
}

/// Whether SIGKILL has ended a program. Any other signal is not ours, and a failure.
fn was_killed(status: ExitStatus) -> bool {
    match status.signal() {
        None => false,
        Some(signal) if signal == Signal::KILL.as_raw() => true,
        Some(_) => panic!("a program ended with {status}"),
    }
}

#[test]
fn a_program_that_ended_by_itself_was_not_killed() {
    assert!(was_killed(ExitStatus::from_raw(Signal::KILL.as_raw())));
    assert!(!was_killed(ExitStatus::from_raw(0)) && !was_killed(ExitStatus::from_raw(1 << 8)));
}

#[test]
#[should_panic = "a program ended with signal: 6"]
fn a_program_that_aborted_is_a_failure_and_no_kill() {
    was_killed(ExitStatus::from_raw(Signal::ABORT.as_raw()));
}

/// How many replies a timeline tells of that is cut off anywhere.
fn replies(timeline: &Path) -> usize {
    let text = std::fs::read_to_string(timeline).unwrap();
    text.lines().filter(|line| common::is_reply(line)).count()
}

/// Starts the run and kills it after up to `life`, again and again, then lets it end.
fn kill_and_resume(flags: &[&str], kills: u32, life: Duration, seed: u64) -> Value {
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let bench = Bench::new();
    let mut killed = 0;
    while killed < kills {
        let resume: &[&str] = if has_begun(&bench) { &["--resume"] } else { &[] };
        let mut child = bench.start(&[RUN, flags, resume].concat());
        std::thread::sleep(life.mul_f64(random.random()));
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        match was_killed(output.status) {
            true => killed += 1,
            false => assert_eq!(output.status.code(), Some(0), "{}", stderr(&output)),
        }
    }
    let resume: &[&str] = if has_begun(&bench) { &["--resume"] } else { &[] };
    let result = bench.measure(&[RUN, flags, resume].concat(), 0);
    assert_eq!(result["verified"], true);
    assert_eq!(result["updates"]["lost"], 0);
    assert_eq!(result["updates"]["doubled"], 0);
    bench.assert_clean();
    result
}

#[test]
fn a_program_that_is_killed_ten_times_ends_with_the_right_states() {
    for (durability, seed) in [("--durability=process", 1), ("--durability=power", 2)] {
        let life = Duration::from_millis(200);
        let result = kill_and_resume(&["--delay-ms=1", durability], 10, life, seed);
        assert_eq!(final_states(&result).join(" "), SMALL.trim());
    }
}

#[test]
fn a_program_with_large_states_that_is_killed_ends_with_the_right_states() {
    let flags = ["--delay-ms=1", "--large", "--num-actors=3", "--num-rounds=12"];
    let result = kill_and_resume(&flags, 5, Duration::from_millis(400), 3);
    let right: Vec<String> = chain::final_states::<u8>(3, 12).iter().map(u8::to_string).collect();
    assert_eq!(final_states(&result), right);
}

#[test]
fn a_program_whose_workers_are_killed_too_ends_with_the_right_states() {
    let flags = ["--delay-ms=1", "--kill-busy=40"];
    let result = kill_and_resume(&flags, 5, Duration::from_millis(300), 4);
    assert_eq!(final_states(&result).join(" "), SMALL.trim());
}

/// Starts a run and ends it with this signal when about 100 calls were answered.
fn interrupted(bench: &Bench, signal: Signal) -> (Option<i32>, String, usize) {
    let timeline = bench.path("timeline.json");
    let flags = ["--delay-ms=2", "--timeline=timeline.json"];
    let child = bench.start(&[RUN, &flags].concat());
    wait_until("calls are answered", || timeline.exists() && replies(&timeline) > 100);
    let workers = descendants(child.id());
    kill_process(Pid::from_child(&child), signal).unwrap();
    let output = child.wait_with_output().unwrap();
    wait_until("all workers are gone", || !workers.iter().any(|pid| is_running(*pid)));
    (output.status.code(), stderr(&output), replies(&timeline))
}

#[test]
fn a_run_goes_on_exactly_where_it_was_interrupted() {
    for (signal, code) in [(Signal::KILL, None), (Signal::INT, Some(130))] {
        let bench = Bench::new();
        let (found, said, answered) = interrupted(&bench, signal);
        assert_eq!(found, code);
        if code.is_some() {
            let hint = "the same command with --resume goes on from here";
            assert!(said.contains(hint), "{said}");
        }
        let result = bench.measure(&[RUN, &["--delay-ms=2", "--resume"]].concat(), 0);
        let resumed_at = result["resumed_at_call"].as_u64().unwrap() as usize;
        // What was answered is there; one more call may have been committed, and the timeline
        // of a killed program may lack the last lines.
        assert!(resumed_at >= answered, "{resumed_at} committed, {answered} answered");
        assert_eq!(result["calls"].as_u64().unwrap() as usize + resumed_at, 380);
        assert_eq!(final_states(&result).join(" "), SMALL.trim());
    }
}

#[test]
fn a_run_that_is_over_can_be_resumed_and_does_nothing() {
    let bench = Bench::new();
    let flags = [RUN, &["--delay-ms=0", "--num-actors=7", "--num-rounds=5"]].concat();
    assert!(bench.run(&flags).status.success());
    let output = bench.run(&[&flags[..], &["--resume"]].concat());
    assert!(output.status.success());
    assert!(stdout(&output).contains("Final state: 339 406 695 937 1116 1220 1309\n"));
    assert!(stdout(&output).contains("resumed: after 30 calls that were committed before\n"));
    assert!(stderr(&output).contains("resumed: 30 of 30 calls are done, their states are right"));
}

/// All files under a directory with what they hold.
fn content(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(content(&path)),
            false => files.push((path.clone(), std::fs::read(&path).unwrap())),
        }
    }
    files.sort();
    files
}

#[test]
fn a_run_is_not_resumed_with_other_parameters_and_nothing_changes() {
    let bench = Bench::new();
    interrupted(&bench, Signal::KILL);
    let before = content(&bench.path("states"));
    for (flags, message) in [
        (&["--num-actors=7"][..], "begun with --num-actors=20, not --num-actors=7"),
        (&["--num-rounds=21"], "begun with --num-rounds=20, not --num-rounds=21"),
        (&["--large"], "begun with small states, not --large"),
        (&["--durability=process"], "begun with --durability=power, not --durability=process"),
    ] {
        let output = bench.run(&[RUN, &["--delay-ms=2", "--resume"], flags].concat());
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
        assert!(stderr(&output).contains(message), "{}", stderr(&output));
    }
    let output = bench.run(&[RUN, &["--delay-ms=2"]].concat());
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("add --resume to go on with it"), "{}", stderr(&output));
    assert!(content(&bench.path("states")) == before, "nothing has changed");
}

#[test]
fn a_state_that_went_back_is_found_before_another_call_is_made() {
    let bench = Bench::new();
    let begin = ["--delay-ms=0", "--num-actors=3", "--num-rounds=6"];
    assert!(bench.run(&[RUN, &begin].concat()).status.success());
    // The same actor of a run that was shorter: a backup that somebody has put back.
    let backup = Bench::new();
    let shorter = ["--delay-ms=0", "--num-actors=3", "--num-rounds=2"];
    assert!(backup.run(&[RUN, &shorter].concat()).status.success());
    std::fs::remove_dir_all(bench.path("states/actor-1")).unwrap();
    std::fs::rename(backup.path("states/actor-1"), bench.path("states/actor-1")).unwrap();
    let result = bench.measure(&[RUN, &begin, &["--resume"]].concat(), 1);
    assert_eq!(result["verified"], false);
    assert_eq!(result["updates"]["lost"], 4, "{}", result["updates"]);
    assert_eq!(result["calls"], 0);
}
