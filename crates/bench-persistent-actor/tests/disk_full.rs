//! The disk is full in the middle of a run: a clear error, nothing answered that is not recorded,
//! and when there is space again the run goes on to the right states.
//!
//! Needs a small file system of its own: a tmpfs, mounted where nobody else sees it (`unshare`).
//! Where that is not permitted, the tests say so and do nothing.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may panic and tell")]

mod common;

use std::process::{Command, Output};

use bench_persistent_actor::chain;
use common::{Bench, stderr};
use persistent_actor::Integer;
use serde_json::Value;

/// Makes the mount, runs until the disk is full, tries to resume on the full disk, makes room,
/// resumes. `$1` is the benchmark, `$2` the size of the disk, the rest its flags.
const SCRIPT: &str = r#"
set -u
bench=$1; size=$2; shift 2
mkdir disk && mount -t tmpfs -o size=$size,mode=700 tmpfs disk || exit 77
run() { "$bench" --safe-state --state-dir=disk/states "$@"; }

run "$@" --timeline=timeline.json 2>first.err >first.out &
until [ -e timeline.json ] && [ "$(wc -l <timeline.json)" -gt 100 ]; do
    kill -0 $! 2>/dev/null || break
    sleep 0.01
done
# Takes all that is left, and keeps it.
cat /dev/zero >disk/filler 2>/dev/null
wait $!; echo $? >first.code

run "$@" --resume 2>full.err >full.out; echo $? >full.code
rm disk/filler
mount -o remount,size=1g disk || exit 77
run "$@" --resume --json=result.json 2>last.err >last.out; echo $? >last.code
"#;

/// Runs the script in a mount namespace of its own; `None` if that is not permitted.
fn run_on_small_disk(bench: &Bench, size: &str, flags: &[&str]) -> Option<Output> {
    let mut said = String::new();
    for unshare in [&["--mount"][..], &["--user", "--map-root-user", "--mount"]] {
        let mut command = Command::new("unshare");
        command.args(unshare).args(["sh", "-c", SCRIPT, "sh"]);
        command.args([env!("CARGO_BIN_EXE_bench-persistent-actor"), size]).args(flags);
        command.current_dir(bench.tmp.path()).env("TMPDIR", bench.tmp.path());
        let output = command.output().unwrap();
        if output.status.success() {
            return Some(output);
        }
        said = stderr(&output);
        let _ = std::fs::remove_dir(bench.path("disk"));
    }
    eprintln!("SKIPPED: no small file system can be mounted here: {}", said.trim());
    None
}

fn text(bench: &Bench, name: &str) -> String {
    std::fs::read_to_string(bench.path(name)).unwrap()
}

/// Runs out of space, and must end with these states when there is space again.
fn run_out_of_space(size: &str, flags: &[&str], right: &[String]) {
    let bench = Bench::new();
    if run_on_small_disk(&bench, size, flags).is_none() {
        return;
    }
    for name in ["first", "full"] {
        let said = text(&bench, &format!("{name}.err"));
        assert_eq!(text(&bench, &format!("{name}.code")).trim(), "1", "{name}: {said}");
        assert!(said.contains("No space left on device"), "{name}: {said}");
        assert!(said.contains("disk/states/"), "the message names the file: {said}");
        assert_eq!(text(&bench, &format!("{name}.out")), "");
    }
    assert_eq!(text(&bench, "last.code").trim(), "0", "{}", text(&bench, "last.err"));
    let result: Value = serde_json::from_str(&text(&bench, "result.json")).unwrap();
    let answered = text(&bench, "timeline.json");
    let answered = answered.lines().filter(|line| common::is_reply(line)).count();
    let resumed_at = result["resumed_at_call"].as_u64().unwrap();
    assert!(resumed_at >= answered as u64, "{answered} answered, {resumed_at} recorded");
    assert!(resumed_at > 0 && result["calls"].as_u64().unwrap() > 0, "it broke off in the middle");
    assert_eq!(result["updates"]["lost"], 0);
    assert_eq!(result["updates"]["doubled"], 0);
    let states = result["final_states"].as_array().unwrap();
    let states: Vec<&str> = states.iter().map(|state| state.as_str().unwrap()).collect();
    assert_eq!(states, right);
}

#[test]
fn a_run_whose_disk_is_full_goes_on_when_there_is_space_again() {
    let right: Vec<String> =
        chain::final_states::<Integer>(5, 1500).iter().map(Integer::to_string).collect();
    run_out_of_space("3m", &["--delay-ms=0", "--num-actors=5", "--num-rounds=1500"], &right);
}

#[test]
fn a_run_with_large_states_whose_disk_is_full_goes_on_when_there_is_space_again() {
    let right: Vec<String> = chain::final_states::<u8>(4, 6).iter().map(u8::to_string).collect();
    let flags = ["--delay-ms=0", "--large", "--num-actors=4", "--num-rounds=6"];
    run_out_of_space("70m", &flags, &right);
}
