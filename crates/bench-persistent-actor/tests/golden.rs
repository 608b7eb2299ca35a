//! The right answer, end to end: the real binary, real processes, real kills.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use bench_persistent_actor::chain;
use common::{Bench, stdout};
use persistent_actor::Integer;
use serde_json::Value;

const SMALL: &str = include_str!("expected/small-20x20.txt");
const LARGE: &str = include_str!("expected/large-20x20.txt");

/// The flags of every system that must end with the right state, whatever happens.
const SAFE: [&[&str]; 2] =
    [&["--safe-state", "--durability=process"], &["--safe-state", "--durability=power"]];

fn states(measurement: &Value) -> String {
    let states = measurement["final_states"].as_array().unwrap();
    let states: Vec<&str> = states.iter().map(|state| state.as_str().unwrap()).collect();
    states.join(" ")
}

/// Runs with these flags and expects the right states and clean books.
fn assert_exact(flags: &[&str], expected: &str) -> Value {
    let bench = Bench::new();
    let found = bench.measure(flags, 0);
    assert_eq!(states(&found), expected.trim(), "{flags:?}");
    assert_eq!(found["verified"], true);
    assert_eq!(found["updates"]["lost"], 0);
    assert_eq!(found["updates"]["doubled"], 0);
    bench.assert_clean();
    found
}

#[test]
fn without_failure_all_systems_end_as_the_prototype_does() {
    for system in [&[][..], SAFE[0], SAFE[1]] {
        assert_exact(&[&["--delay-ms=0"], system].concat(), SMALL);
        let sizes = ["--delay-ms=0", "--num-actors=7", "--num-rounds=5"];
        assert_exact(&[&sizes, system].concat(), "339 406 695 937 1116 1220 1309");
    }
}

#[test]
fn with_failure_the_safe_state_ends_as_the_prototype_should() {
    for system in SAFE {
        for delay in ["--delay-ms=0", "--delay-ms=2"] {
            let found = assert_exact(&[&[delay, "--failure"], system].concat(), SMALL);
            assert_eq!(found["kills"].as_array().unwrap().len(), 3);
            assert_eq!(found["restarts"], 3);
            for kill in found["kills"].as_array().unwrap() {
                assert!(kill["recovery_ms"].as_f64().unwrap() > 0.0);
            }
        }
    }
}

#[test]
fn all_actors_may_be_killed() {
    for system in SAFE {
        let flags = ["--delay-ms=0", "--failure", "--num-actors-kill=20"];
        let found = assert_exact(&[&flags, system].concat(), SMALL);
        assert_eq!(found["restarts"], 20);
    }
}

#[test]
fn large_states_end_as_the_prototypes_do() {
    for system in [&[][..], SAFE[0], SAFE[1]] {
        assert_exact(&[&["--delay-ms=0", "--large"], system].concat(), LARGE);
    }
    for system in SAFE {
        let found =
            assert_exact(&[&["--delay-ms=0", "--large", "--failure"], system].concat(), LARGE);
        assert_eq!(found["restarts"], 3);
    }
}

#[test]
fn sixty_rounds_pass_128_bits_and_stay_exact() {
    let expected: Vec<String> =
        chain::final_states::<Integer>(20, 60).iter().map(Integer::to_string).collect();
    assert!(expected[0].len() > u128::MAX.to_string().len());
    for system in SAFE {
        let flags = ["--delay-ms=0", "--num-rounds=60", "--failure"];
        assert_exact(&[&flags, system].concat(), &expected.join(" "));
    }
}

#[test]
fn a_single_actor_has_nothing_to_do() {
    for system in [&[][..], SAFE[0], SAFE[1]] {
        assert_exact(&[&["--delay-ms=0", "--num-actors=1"], system].concat(), "1");
    }
    let flags = ["--delay-ms=0", "--num-actors=1", "--failure", "--num-actors-kill=1", "--safe"];
    assert_eq!(assert_exact(&flags, "1")["restarts"], 1);
}

#[test]
fn without_safe_state_a_kill_loses_updates_and_the_run_says_so() {
    let bench = Bench::new();
    let found = bench.measure(&["--delay-ms=0", "--failure"], 0);
    assert_eq!(found["verified"], false);
    assert!(found["diverged"].as_u64().unwrap() > 0);
    // Each victim had been called at least eight times when it was killed.
    assert!(found["updates"]["lost"].as_u64().unwrap() >= 3 * 8, "{}", found["updates"]);
    assert_eq!(found["updates"]["doubled"], 0);
    assert_eq!(found["restarts"], 3);
    let output = bench.run(&["--delay-ms=0", "--failure"]);
    assert!(stdout(&output).contains("diverge (expected without --safe-state"));
    bench.assert_clean();
}

/// 20 rounds of the arguments 1 to 7, over and over, on top of 1.
const ALL_AT_ONCE: &[&str] = &["--delay-ms=0", "--workload=parallel"];

#[test]
fn called_all_at_once_every_actor_ends_with_the_sum_of_its_calls() {
    let sum = 1 + 2 * (1..=7).sum::<u64>() + (1..=6).sum::<u64>();
    let expected = vec![sum.to_string(); 20].join(" ");
    for system in [&[][..], SAFE[0], SAFE[1]] {
        for in_flight in ["--in-flight=1", "--in-flight=4"] {
            let found = assert_exact(&[ALL_AT_ONCE, system, &[in_flight]].concat(), &expected);
            assert_eq!(found["calls"], 400);
            assert!(found["throughput_per_s"].as_f64().unwrap() > 0.0);
        }
    }
    for system in SAFE {
        let kills = [
            ["--failure", "--in-flight=3"],
            ["--kill-busy=40", "--in-flight=3"],
            ["--kill-after-commit=40", "--in-flight=1"],
        ];
        for kills in kills {
            let flags = [ALL_AT_ONCE, system, &kills].concat();
            let found = assert_exact(&flags, &expected);
            assert!(found["restarts"].as_u64().unwrap() > 0);
        }
    }
}

#[test]
fn called_all_at_once_what_goes_wrong_is_noticed() {
    let flags = [ALL_AT_ONCE, &["--safe", "--kill-after-commit=30", "--without-dedup"]].concat();
    let found = Bench::new().measure(&flags, 1);
    assert_eq!((&found["verified"], &found["updates"]["doubled"]), (&false.into(), &30.into()));
    let found = Bench::new().measure(&[ALL_AT_ONCE, &["--failure"]].concat(), 0);
    assert!(found["updates"]["lost"].as_u64().unwrap() > 0, "{}", found["updates"]);
}

/// Kills the actor that is being called, 200 times at random instants.
const MANY_KILLS: &[&str] = &["--delay-ms=0", "--num-rounds=60", "--kill-busy=200", "--safe-state"];

#[test]
fn two_hundred_random_kills_leave_the_state_exact() {
    for (durability, seed) in [("process", 1), ("power", 2)] {
        let bench = Bench::new();
        let flags = [format!("--durability={durability}"), format!("--seed={seed}")];
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let found = bench.measure(&[MANY_KILLS, &flags].concat(), 0);
        assert_eq!(found["verified"], true, "{durability}, seed {seed}");
        assert_eq!(found["kills"].as_array().unwrap().len(), 200);
        assert!(found["restarts"].as_u64().unwrap() > 100, "{}", found["restarts"]);
        assert!(found["retries"].as_u64().unwrap() > 0, "some kills must hit a call");
    }
}

/// Kills the actor that is being called after its commit and before its reply, in 60 calls.
const AFTER_COMMIT: &[&str] = &["--delay-ms=0", "--kill-after-commit=60", "--safe-state"];

#[test]
fn a_call_that_dies_between_its_commit_and_its_reply_is_applied_once() {
    for durability in ["--durability=process", "--durability=power"] {
        let found = assert_exact(&[AFTER_COMMIT, &[durability]].concat(), SMALL);
        assert_eq!((&found["restarts"], &found["retries"]), (&60.into(), &60.into()));
    }
    let flags = ["--large", "--num-actors=4", "--num-rounds=4", "--kill-after-commit=6"];
    let expected: Vec<String> = chain::final_states::<u8>(4, 4).iter().map(u8::to_string).collect();
    assert_exact(&[AFTER_COMMIT, &flags].concat(), &expected.join(" "));
}

#[test]
fn without_dedup_each_of_these_calls_is_applied_twice_and_the_run_fails() {
    for durability in ["--durability=process", "--durability=power"] {
        let flags = [AFTER_COMMIT, &["--without-dedup", durability]].concat();
        let found = Bench::new().measure(&flags, 1);
        assert_eq!(found["verified"], false);
        assert_eq!(found["updates"]["doubled"], 60, "{}", found["updates"]);
        assert_eq!(found["updates"]["lost"], 0);
    }
}
