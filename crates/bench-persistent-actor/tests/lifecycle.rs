//! Runs that end early: nothing is left, and what was written can be read.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::process::Child;

use common::{Bench, descendants, is_running, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A run that does not end by itself within the test.
const LONG: &[&str] = &["--delay-ms=20", "--num-rounds=1000", "--safe-state"];

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

fn lines(path: &std::path::Path) -> usize {
    std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

/// Starts a long run and waits until its calls are under way.
fn start_long_run(bench: &Bench, args: &[&str]) -> Child {
    let timeline = bench.path("timeline.json");
    let flag = format!("--timeline={}", timeline.display());
    let child = bench.start(&[LONG, &[&flag], args].concat());
    wait_until("calls are in the timeline", || lines(&timeline) > 100);
    child
}

#[test]
fn a_killed_run_leaves_a_readable_timeline_and_no_processes() {
    let bench = Bench::new();
    let mut child = start_long_run(&bench, &[]);
    let workers = descendants(child.id());
    assert!(workers.len() >= 20, "{workers:?}");
    send(&child, Signal::KILL);
    child.wait().unwrap();
    wait_until("all workers are gone", || !workers.iter().any(|pid| is_running(*pid)));
    let text = std::fs::read_to_string(bench.path("timeline.json")).unwrap();
    let whole_lines = text.rsplit_once(",\n").unwrap().0;
    let events: Vec<Value> = serde_json::from_str(&format!("{whole_lines}]")).unwrap();
    assert!(events.iter().any(|event| event["ph"] == "X" && event["name"] == "process"));
    assert!(events.iter().any(|event| event["cat"] == "commit"));
}

#[test]
fn every_process_shows_whose_it_is() {
    let bench = Bench::new();
    let mut child = start_long_run(&bench, &["--num-actors=4"]);
    let shown = |pid: &u32, what: &str| std::fs::read_to_string(format!("/proc/{pid}/{what}"));
    let mut names: Vec<(String, String)> = Vec::new();
    for worker in descendants(child.id()) {
        let line = shown(&worker, "cmdline").unwrap();
        let arguments: Vec<&str> = line.trim_end_matches('\0').split('\0').collect();
        assert_eq!(arguments[1], "actor", "{arguments:?}");
        names.push((arguments[2].trim_end().to_owned(), shown(&worker, "comm").unwrap()));
    }
    names.sort();
    let expected = [("(fork server)", "fork-server\n"), ("actor-0", "actor-0\n")];
    assert_eq!(names.len(), 5, "{names:?}");
    for (found, expected) in names.iter().zip(expected) {
        assert_eq!((found.0.as_str(), found.1.as_str()), expected);
    }
    assert_eq!(names[4], ("actor-3".to_owned(), "actor-3\n".to_owned()));
    send(&child, Signal::KILL);
    child.wait().unwrap();
}

#[test]
fn what_a_killed_run_left_is_removed_by_the_next_one() {
    let bench = Bench::new();
    let mut child = start_long_run(&bench, &[]);
    send(&child, Signal::KILL);
    child.wait().unwrap();
    assert_eq!(bench.system_tmp().read_dir().unwrap().count(), 1, "the states of the killed run");
    assert!(bench.run(&["--delay-ms=0", "--num-rounds=1"]).status.success());
    bench.assert_clean();
}

#[test]
fn a_run_that_is_told_to_stop_cleans_up_and_says_so() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let bench = Bench::new();
        let csv = bench.path("out.csv");
        let flag = format!("--output={}", csv.display());
        let mut child = start_long_run(&bench, &[&flag]);
        let workers = descendants(child.id());
        send(&child, signal);
        assert_eq!(child.wait().unwrap().code(), Some(code));
        wait_until("all workers are gone", || !workers.iter().any(|pid| is_running(*pid)));
        assert_eq!(lines(&csv), 1, "the header alone");
        bench.assert_clean();
    }
}

#[test]
fn a_finished_timeline_has_a_row_for_each_process_and_every_kill() {
    let bench = Bench::new();
    let flags = ["--delay-ms=0", "--safe", "--failure", "--timeline=trace.json"];
    assert!(bench.run(&flags).status.success());
    let text = std::fs::read_to_string(bench.path("trace.json")).unwrap();
    let events: Vec<Value> = serde_json::from_str(&text).unwrap();
    let count = |name: &str| events.iter().filter(|event| event["name"] == name).count();
    assert_eq!(count("thread_name"), 23, "20 actors and 3 restarts");
    assert_eq!((count("kill"), count("died"), count("restart")), (3, 3, 3));
    assert!(count("process") >= 380, "{}", count("process"));
    // A call that was killed between commit and reply is answered from its record: the row of its
    // commit died with the process.
    assert!(count("commit") >= 380 - 3, "{}", count("commit"));
}

#[test]
fn several_runs_may_append_to_one_file() {
    let bench = Bench::new();
    let csv = bench.path("shared.csv");
    let flag = format!("--output={}", csv.display());
    let args = ["--delay-ms=0", "--num-actors=3", "--num-rounds=2", &flag];
    let mut runs: Vec<Child> = (0..6).map(|_| bench.start(&args)).collect();
    assert!(runs.iter_mut().all(|run| run.wait().unwrap().success()));
    let text = std::fs::read_to_string(csv).unwrap();
    assert_eq!(text.lines().count(), 7);
    assert!(text.lines().skip(1).all(|row| row.starts_with("default,False,0,0.")), "{text}");
    bench.assert_clean();
}

/// The process of an actor, as the timeline names it.
fn process_of(actor: &str, timeline: &std::path::Path) -> Option<Pid> {
    let text = std::fs::read_to_string(timeline).ok()?;
    let (_, after) = text.rsplit_once(&format!("\"{actor} (process "))?;
    Pid::from_raw(after.split(')').next()?.parse().ok()?)
}

/// What is said of a damaged journal.
const DAMAGED: &str = "error: the run failed: actor \"actor-0\" died and is not restarted: 8 starts failed, the last \
     one: DIR/actor-0/journal-0000000000000001-00000001 is damaged at byte 512: the checksum of \
     the record is wrong; nothing was changed, keep a copy before any repair";

#[test]
fn a_journal_that_is_damaged_under_a_running_actor_is_reported_and_kept() {
    let bench = Bench::new();
    let timeline = bench.path("timeline.json");
    let flags = ["--num-actors=2", "--state-dir=states"];
    let mut child = start_long_run(&bench, &flags);
    child.stdout.take();
    let journal = bench.path("states/actor-0/journal-0000000000000001-00000001");
    // The first record follows the header sector; its own header has 40 bytes.
    let mut content = std::fs::read(&journal).unwrap()[..1024].to_vec();
    let damaged = 512 + 40;
    content[damaged] ^= 0xff;
    write_at(&journal, damaged, content[damaged]);
    kill_process(process_of("actor-0", &timeline).unwrap(), Signal::KILL).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message =
        common::stderr(&output).replace(&bench.path("states").display().to_string(), "DIR");
    assert!(message.contains(DAMAGED), "{message}");
    assert!(std::fs::read(&journal).unwrap().starts_with(&content), "the bytes are kept");
}

fn write_at(path: &std::path::Path, offset: usize, byte: u8) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&[byte], offset as u64).unwrap();
}
