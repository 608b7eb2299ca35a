//! `--repeat`: every run is whole, checked, and recorded.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{Bench, stderr, stdout};

const RUN: &[&str] = &["--delay-ms=0", "--num-actors=7", "--num-rounds=5", "--repeat=6"];
const FINAL: &str = "339 406 695 937 1116 1220 1309";

#[test]
fn every_run_has_fresh_states_ends_exactly_and_has_its_row_and_its_figures() {
    for system in [&[][..], &["--safe", "--durability=process"], &["--safe", "--failure"]] {
        let bench = Bench::new();
        let found = bench.measure(&[RUN, system, &["--output=out.csv"]].concat(), 0);
        let runs = found["runs"].as_array().unwrap();
        assert_eq!(runs.len(), 6);
        for run in runs {
            let states = run["final_states"].as_array().unwrap();
            let states: Vec<&str> = states.iter().map(|state| state.as_str().unwrap()).collect();
            assert_eq!(states.join(" "), FINAL, "{system:?}");
            assert_eq!((&run["verified"], &run["calls"]), (&true.into(), &30.into()));
        }
        let duration = &found["statistics"]["duration_s"];
        let mut durations: Vec<f64> =
            runs.iter().map(|run| run["duration_s"].as_f64().unwrap()).collect();
        durations.sort_by(f64::total_cmp);
        assert_eq!(duration["min"].as_f64(), Some(durations[0]));
        let median = duration["median"].as_f64().unwrap();
        assert!((median - (durations[2] + durations[3]) / 2.0).abs() < 1e-9, "{median}");
        assert_eq!(duration["median_interval"]["high"].as_f64(), Some(durations[5]));
        assert_eq!(std::fs::read_to_string(bench.path("out.csv")).unwrap().lines().count(), 7);
        bench.assert_clean();
    }
}

#[test]
fn the_summary_tells_the_runs_together_and_a_single_run_as_before() {
    let bench = Bench::new();
    let text = stdout(&bench.run(RUN));
    assert_eq!(text.matches(&format!("Final state: {FINAL}\n")).count(), 1, "{text}");
    assert!(text.contains("\nstate: exact in all 6 runs\n"), "{text}");
    assert!(text.contains("% sure)"), "{text}");
    let quiet = bench.run(&[RUN, &["--quiet"]].concat());
    assert_eq!((stdout(&quiet).lines().count(), stderr(&quiet).as_str()), (2, ""));
    let json = bench.measure(&["--delay-ms=0", "--num-rounds=1", "--repeat=1"], 0);
    assert!(json["duration_s"].is_f64(), "one run is written as one run");
}

#[test]
fn runs_that_lose_updates_are_all_counted() {
    let bench = Bench::new();
    let flags =
        ["--delay-ms=0", "--repeat=3", "--safe", "--kill-after-commit=5", "--without-dedup"];
    let found = bench.measure(&flags, 1);
    for run in found["runs"].as_array().unwrap() {
        assert_eq!(run["updates"]["doubled"], 5);
    }
    let output = bench.run(&flags);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("updates: 0 lost, 15 doubled\nstate: exact in 0 of 3 runs"));
}
