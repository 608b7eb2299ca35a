//! The disk is full in the middle of a run: a clear error, nothing answered that is not recorded,
//! and when there is space again the run goes on to the right states.
//!
//! Needs a small file system of its own: a tmpfs, mounted where nobody else sees it (`unshare`).
//! Where that is not permitted, the tests say so on standard error and do nothing; where the
//! environment variable `CI` is `true`, they fail.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Output};

use bench_persistent_actor::chain;
use common::Bench;
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

/// What the script ends with where it may not mount.
const NO_MOUNT: i32 = 77;

/// What became of an attempt to run the script.
#[derive(Debug, PartialEq)]
enum Attempt {
    /// It has run to its end.
    Done,
    /// There may be no mount here.
    NotPermitted,
    /// Something is wrong.
    Failed,
}

/// Judges an attempt. `unshare` ends with 1 and a message of its own when it may not do its work;
/// any other end is that of the script.
fn attempt(status: ExitStatus, said: &str) -> Attempt {
    match status.code() {
        Some(0) => Attempt::Done,
        Some(NO_MOUNT) => Attempt::NotPermitted,
        Some(1) if said.trim_start().starts_with("unshare: ") => Attempt::NotPermitted,
        _ => Attempt::Failed,
    }
}

/// Runs the script in a mount namespace of its own; `false` if that is not permitted.
fn run_on_small_disk(bench: &Bench, size: &str, flags: &[&str]) -> bool {
    let mut said = String::new();
    for unshare in [&["--mount"][..], &["--user", "--map-root-user", "--mount"]] {
        let mut command = Command::new("unshare");
        command.args(unshare).args(["sh", "-c", SCRIPT, "sh"]);
        command.args([env!("CARGO_BIN_EXE_bench-persistent-actor"), size]).args(flags);
        command.current_dir(bench.tmp.path()).env("TMPDIR", bench.tmp.path());
        let Output { status, stdout, stderr } = match command.output() {
            Ok(output) => output,
            Err(error) => {
                said = format!("cannot start unshare: {error}");
                continue;
            }
        };
        said = String::from_utf8_lossy(&stderr).into_owned();
        match attempt(status, &said) {
            Attempt::Done => return true,
            Attempt::NotPermitted => {}
            Attempt::Failed => panic!("{status}: {said}{}", String::from_utf8_lossy(&stdout)),
        }
        let _ = std::fs::remove_dir(bench.path("disk"));
    }
    let message = format!("no small file system can be mounted here: {}", said.trim());
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{message}");
    // Not `eprintln!`, which the test harness keeps to itself when a test passes.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {message}");
    false
}

#[test]
fn only_a_mount_that_is_not_permitted_is_a_reason_to_skip() {
    let exit = |code: i32| ExitStatus::from_raw(code << 8);
    assert_eq!(attempt(exit(0), ""), Attempt::Done);
    assert_eq!(attempt(exit(NO_MOUNT), "mount: permission denied"), Attempt::NotPermitted);
    let refused = "unshare: unshare failed: Operation not permitted\n";
    assert_eq!(attempt(exit(1), refused), Attempt::NotPermitted);
    for (status, said) in [
        (exit(1), "cat: last.err: No such file or directory"),
        (exit(2), "sh: syntax error"),
        (exit(127), "sh: bench: not found"),
        (exit(127), "unshare: failed to execute sh: No such file or directory"),
        (ExitStatus::from_raw(11), ""),
    ] {
        assert_eq!(attempt(status, said), Attempt::Failed, "{status}: {said}");
    }
}

fn text(bench: &Bench, name: &str) -> String {
    std::fs::read_to_string(bench.path(name)).unwrap()
}

/// Runs out of space, and must end with these states when there is space again.
fn run_out_of_space(size: &str, flags: &[&str], right: &[String]) {
    let bench = Bench::new();
    if !run_on_small_disk(&bench, size, flags) {
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
