//! The same workload on a real Ray: golden states, real kills, and nothing left behind.
//!
//! Needs a Python with Ray, the package `persistent_actor` and sqlitedict (`scripts/python-env.sh`
//! makes one; `PERSISTENT_ACTOR_PYTHON` names another). Without it these tests say on standard
//! error that they are skipped; where the environment variable `CI` is `true`, they fail.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bench_persistent_actor::chain;
use bench_persistent_actor::ray::settings::default_python;
use common::{Bench, descendants, is_running, stderr, stdout, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// What the tests need of the interpreter.
const PACKAGES: &str = "import numpy, ray, persistent_actor, sqlitedict";

/// 7 actors and 5 rounds, and how they end.
const SMALL: &[&str] = &["--delay-ms=0", "--engine=ray", "--num-actors=7", "--num-rounds=5"];
const SMALL_STATES: &str = "339 406 695 937 1116 1220 1309";

/// 4 actors of 10 MiB and 4 rounds.
const LARGE: &[&str] =
    &["--delay-ms=0", "--engine=ray", "--large", "--num-actors=4", "--num-rounds=4"];

/// One cluster at a time: each takes seconds of both processors.
static TURN: Mutex<()> = Mutex::new(());

/// The turn of a test, or nothing where there is no Ray.
fn turn(test: &str) -> Option<MutexGuard<'static, ()>> {
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let python = default_python();
    let found = Command::new(&python).args(["-c", PACKAGES]).output();
    let problem = match found {
        Ok(output) if output.status.success() => return Some(turn),
        Ok(output) => stderr(&output).lines().last().unwrap_or_default().to_owned(),
        Err(error) => error.to_string(),
    };
    let message = format!(
        "{}: {problem}; `scripts/python-env.sh` makes an environment for this test",
        python.display()
    );
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{message}");
    // Not `eprintln!`, which the test harness keeps to itself when a test passes.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {message}");
    None
}

fn states(measurement: &Value) -> String {
    let states = measurement["final_states"].as_array().unwrap();
    let states: Vec<&str> = states.iter().map(|state| state.as_str().unwrap()).collect();
    states.join(" ")
}

fn large_states() -> String {
    let states: Vec<String> = chain::final_states::<u8>(4, 4).iter().map(u8::to_string).collect();
    states.join(" ")
}

/// Runs on Ray and expects these states and clean books.
fn assert_exact(bench: &Bench, flags: &[&str], expected: &str) -> Value {
    let found = bench.measure(flags, 0);
    assert_eq!(states(&found), expected, "{flags:?}");
    assert_eq!((&found["verified"], &found["engine"]), (&true.into(), &"ray".into()));
    assert_eq!((&found["updates"]["lost"], &found["updates"]["doubled"]), (&0.into(), &0.into()));
    assert!(found["actor_pss_bytes_median"].as_u64().unwrap() > 1 << 20);
    bench.assert_clean();
    found
}

/// How many updates were lost and doubled.
fn faults(measurement: &Value) -> (u64, u64) {
    let count = |name: &str| measurement["updates"][name].as_u64().unwrap();
    (count("lost"), count("doubled"))
}

#[test]
fn without_failure_all_systems_end_as_the_prototype_does() {
    let Some(_turn) = turn("golden states on Ray") else { return };
    let bench = Bench::new();
    for system in ["--durability=process", "--safe-state", "--prototype"] {
        let found =
            assert_exact(&bench, &[SMALL, &[system, "--output=out.csv"]].concat(), SMALL_STATES);
        assert_eq!((&found["calls"], &found["restarts"]), (&30.into(), &0.into()));
    }
    let csv = std::fs::read_to_string(bench.path("out.csv")).unwrap();
    let rows: Vec<&str> = csv.lines().skip(1).collect();
    for (row, system) in rows.iter().zip(["default", "safe_actor", "prototype"]) {
        assert!(row.starts_with(system) && row.contains(",ray,"), "{row}");
    }
    assert_eq!(rows.len(), 3);
}

#[test]
fn killed_actors_lose_and_double_nothing() {
    let Some(_turn) = turn("kills on Ray") else { return };
    let bench = Bench::new();
    let flags = ["--safe-state", "--failure", "--timeline=trace.json"];
    let found = assert_exact(&bench, &[SMALL, &flags].concat(), SMALL_STATES);
    assert_eq!(found["restarts"], 3);
    let kills = found["kills"].as_array().unwrap();
    assert_eq!(kills.len(), 3);
    for kill in kills {
        assert!(kill["recovery_ms"].as_f64().unwrap() > 0.0);
        assert!(kill["before"].is_string() && kill["after"].is_string());
    }
    let text = std::fs::read_to_string(bench.path("trace.json")).unwrap();
    let events: Vec<Value> = serde_json::from_str(&text).unwrap();
    let count = |name: &str| events.iter().filter(|event| event["name"] == name).count();
    assert_eq!(count("thread_name"), 10, "7 actors and 3 restarts");
    assert_eq!((count("kill"), count("died"), count("restart")), (3, 3, 3));
    assert_eq!(count("start"), 10);
    // A call that was under way when its actor was killed is there twice: it was run again.
    let calls = count("process");
    assert!((30..=33).contains(&calls), "{calls} calls in the trace");
}

#[test]
fn a_call_that_dies_between_its_commit_and_its_reply_is_applied_once_and_by_the_prototype_twice() {
    let Some(_turn) = turn("kills after the commit on Ray") else { return };
    let bench = Bench::new();
    let kills = "--kill-after-commit=3";
    let found = assert_exact(&bench, &[SMALL, &["--safe-state", kills]].concat(), SMALL_STATES);
    assert_eq!(found["restarts"], 3);
    let found = bench.measure(&[SMALL, &["--prototype", kills]].concat(), 0);
    assert_eq!((faults(&found), &found["verified"]), ((0, 3), &false.into()));
    let found = bench.measure(&[SMALL, &[kills]].concat(), 0);
    assert!(faults(&found).0 >= 3 && found["verified"] == false, "{}", found["updates"]);
}

#[test]
fn large_states_end_as_they_should_with_and_without_kills() {
    let Some(_turn) = turn("large states on Ray") else { return };
    let bench = Bench::new();
    assert_exact(&bench, &[LARGE, &["--prototype"]].concat(), &large_states());
    let safe = ["--safe-state", "--failure", "--durability=process"];
    let found = assert_exact(&bench, &[LARGE, &safe].concat(), &large_states());
    assert_eq!(found["restarts"], 3);
    let flags = ["--safe-state", "--kill-after-commit=2"];
    let found = assert_exact(&bench, &[LARGE, &flags].concat(), &large_states());
    assert_eq!(found["restarts"], 2);
}

#[test]
fn called_all_at_once_every_actor_ends_with_the_sum_of_its_calls() {
    let Some(_turn) = turn("the parallel workload on Ray") else { return };
    let bench = Bench::new();
    let flags = ["--workload=parallel", "--in-flight=3", "--safe-state", "--failure"];
    let found = assert_exact(&bench, &[SMALL, &flags].concat(), &["16"; 7].join(" "));
    assert_eq!((&found["calls"], &found["restarts"]), (&35.into(), &3.into()));
}

/// The workers of Ray below this process that carry an actor of the benchmark.
fn workers(pid: u32) -> Vec<u32> {
    let title = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/cmdline"));
    let is_worker = |pid: &u32| title(pid).is_ok_and(|title| title.starts_with("ray::Small"));
    descendants(pid).into_iter().filter(is_worker).collect()
}

/// Starts a run that does not end by itself and waits until its actors are there.
fn start_long_run(bench: &Bench, args: &[&str]) -> Child {
    let long = ["--delay-ms=20", "--engine=ray", "--num-actors=3", "--num-rounds=100000"];
    let child = bench.start(&[&long[..], &["--safe-state"], args].concat());
    wait_until("the actors are there", || workers(child.id()).len() == 3);
    child
}

#[test]
fn a_run_that_is_told_to_stop_leaves_no_process_and_no_file() {
    let Some(_turn) = turn("Ctrl-C on Ray") else { return };
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let bench = Bench::new();
        let mut child = start_long_run(&bench, &["--output=out.csv"]);
        let all = descendants(child.id());
        assert!(all.len() > 5, "Ray's own processes, too: {all:?}");
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code));
        // Not even for a moment: they are gone before the run is.
        let left: Vec<&u32> = all.iter().filter(|pid| is_running(**pid)).collect();
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(std::fs::read_to_string(bench.path("out.csv")).unwrap().lines().count(), 1);
        bench.assert_clean();
    }
}

#[test]
fn what_a_killed_run_on_ray_leaves_goes_away_and_a_killed_driver_is_an_error() {
    let Some(_turn) = turn("a killed run on Ray") else { return };
    let bench = Bench::new();
    let mut child = start_long_run(&bench, &[]);
    let all = descendants(child.id());
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    child.wait().unwrap();
    wait_until("Ray's processes are gone", || !all.iter().any(|pid| is_running(*pid)));

    let child = start_long_run(&bench, &[]);
    let all = descendants(child.id());
    let driver = Pid::from_raw(i32::try_from(all[0]).unwrap()).unwrap();
    kill_process(driver, Signal::KILL).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = stderr(&output);
    assert!(message.contains("its Python driver ended with signal: 9"), "{message}");
    let left: Vec<&u32> = all.iter().filter(|pid| is_running(**pid)).collect();
    assert!(left.is_empty(), "{left:?}");
    bench.assert_clean();
}

/// A cluster that is not the benchmark's; it ends with the standard input of its process.
const CLUSTER: &str = "
import os, ray, secrets, sys
directory = sys.argv[1]
open(os.environ['RAY_AUTH_TOKEN_PATH'], 'w').write(secrets.token_hex(32))
context = ray.init(address='local', include_dashboard=False, _temp_dir=directory)
print(context.address_info['gcs_address'], flush=True)
sys.stdin.read()
ray.shutdown()
";

/// Ended also when the test fails.
struct Cluster(Child);

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[test]
fn a_cluster_that_runs_already_is_joined_and_goes_on() {
    let Some(_turn) = turn("--ray-address") else { return };
    let bench = Bench::new();
    let token = bench.path("token");
    // Ray's sockets lie in it: their paths must be short.
    let home = tempfile::Builder::new().prefix("ray").tempdir_in("/tmp").unwrap();
    let cluster = Command::new(default_python())
        .args(["-c", CLUSTER])
        .arg(home.path())
        .env("RAY_AUTH_MODE", "token")
        .env("RAY_AUTH_TOKEN_PATH", &token)
        .env("RAY_USAGE_STATS_ENABLED", "0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut cluster = Cluster(cluster);
    let mut address = String::new();
    BufReader::new(cluster.0.stdout.take().unwrap()).read_line(&mut address).unwrap();
    let flag = format!("--ray-address={}", address.trim());
    let raylets = descendants(cluster.0.id());
    for kills in [&["--failure"][..], &[]] {
        let mut command =
            bench.command(&[SMALL, &["--safe-state", "--quiet", &flag], kills].concat());
        command.env("RAY_AUTH_MODE", "token").env("RAY_AUTH_TOKEN_PATH", &token);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(stdout(&output).contains(SMALL_STATES), "{}", stdout(&output));
    }
    assert!(raylets.len() > 1 && raylets.iter().any(|pid| is_running(*pid)), "it goes on");
    bench.assert_clean();
    drop(cluster);
    let output = bench.run(&[SMALL, &["--ray-address=127.0.0.1:1"]].concat());
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("--ray-address=127.0.0.1:1: cannot join"));
    bench.assert_clean();
}

#[test]
fn a_python_without_ray_or_too_old_is_told_what_to_install() {
    let python = default_python();
    if Command::new(&python).arg("--version").output().is_err() {
        let _ = writeln!(std::io::stderr(), "SKIPPED: a Python without Ray: there is no Python");
        return;
    }
    let bench = Bench::new();
    let script = |name: &str, arguments: &str| -> PathBuf {
        let path = bench.path(name);
        let text = format!("#!/bin/sh\nexec '{}' {arguments} \"$@\"\n", python.display());
        std::fs::write(&path, text).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(&path, mode).unwrap();
        path
    };
    let old = script(
        "old-python",
        "-c 'import runpy, sys; sys.version_info = (3, 8, 1, \"final\", 0)\n\
         runpy.run_path(sys.argv[1], run_name=\"__main__\")'",
    );
    let output = bench.run(&[SMALL, &[&format!("--python={}", old.display())]].concat());
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("is Python 3.8; expected Python 3.11"), "{}", stderr(&output));
    // -S: without the packages that are installed.
    let bare = script("bare-python", "-S");
    let flag = format!("--python={}", bare.display());
    for (system, lacks, install) in [
        ("--durability=power", "numpy ray", "numpy 'ray>=2.40'`"),
        ("--safe-state", "numpy ray persistent_actor", "numpy 'ray>=2.40' ./python`"),
        ("--prototype", "numpy ray sqlitedict", "numpy 'ray>=2.40' sqlitedict`"),
    ] {
        let output = bench.run(&[SMALL, &[system, &flag]].concat());
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        let message = stderr(&output);
        let command = format!("`{} -m pip install {install}", bare.display());
        assert!(message.contains(&format!("lacks {lacks};")), "{message}");
        assert!(message.contains(&command), "{message}");
    }
    bench.assert_clean();
}
