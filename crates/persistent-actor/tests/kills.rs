//! A real process is killed at random moments, with SIGKILL. What is found is the last commit
//! that it reported, or the one after; never half of one.
//!
//! `KILL_SEED` and `KILL_ROUNDS` choose other moments and more of them.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::Random;
use persistent_actor::{
    ActorState, Bytes, CallId, Durability, OpenError, Reply, ReplyStatus, SessionId, codec, store,
};

const STATE: &str = "KILLED_CHILD_STATE";
const SIZE: usize = 1 << 20;
const SESSION: SessionId = SessionId(1 << 80);

/// The large value that belongs to a counter: its first 64 KiB change each time, the rest every
/// third time.
fn value(counter: u64) -> Vec<u8> {
    let mut value = vec![0; SIZE];
    let (first, rest) = value.split_at_mut(65_536);
    fill(first, counter);
    fill(rest, counter / 3 + 1_000_000);
    value
}

fn fill(bytes: &mut [u8], number: u64) {
    for (place, word) in bytes.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&(number * 1_000_003 + place as u64).to_le_bytes());
    }
}

/// Not a test by itself: what the killed process does.
#[test]
fn child() {
    let Ok(path) = std::env::var(STATE) else { return };
    let durability = std::env::var("DURABILITY").unwrap().parse().unwrap();
    let mut state = ActorState::options().durability(durability).open(path).unwrap();
    let mut counter: u64 = state.get("counter").unwrap().unwrap_or(0);
    let mut out = std::io::stdout();
    loop {
        counter += 1;
        let value = codec::encode(&Bytes::from(value(counter))).unwrap();
        let changes = vec![
            ("counter".to_owned(), codec::encode(&counter).unwrap()),
            ("value".to_owned(), value.clone()),
        ];
        // Some replies are the large value, and stay in the ledger for a while.
        let reply =
            if counter.is_multiple_of(4) { value } else { codec::encode(&counter).unwrap() };
        let reply = Reply { status: ReplyStatus::Returned, value: reply };
        let id = CallId { session: SESSION, sequence: counter };
        state.commit_call(id, counter.saturating_sub(5), counter, reply, changes).unwrap();
        writeln!(out, "\nack {counter}").unwrap();
        out.flush().unwrap();
        state.maintain().unwrap();
    }
}

struct Victim(Child);

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn spawn(path: &Path, durability: Durability) -> Victim {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["child", "--exact", "--nocapture", "--test-threads=1"]);
    command.env(STATE, path).env("DURABILITY", durability.name());
    Victim(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap())
}

/// Lets a process commit, kills it after about `commits` of them; gives what it answered last.
fn kill_after(path: &Path, durability: Durability, commits: u64, more: Duration) -> Option<u64> {
    let mut victim = spawn(path, durability);
    let mut lines = BufReader::new(victim.0.stdout.take().unwrap()).lines();
    let acks = |line: std::io::Result<String>| line.unwrap().strip_prefix("ack ")?.parse().ok();
    let mut last = None;
    for _ in 0..commits {
        last = lines.by_ref().find_map(acks);
        assert!(last.is_some(), "the child ended by itself");
    }
    let moment = Instant::now() + more;
    while Instant::now() < moment {
        std::hint::spin_loop();
    }
    victim.0.kill().unwrap();
    // What it had reported before it died counts, too.
    lines.filter_map(acks).last().or(last)
}

fn check(path: &Path, answered: u64) -> u64 {
    let inspected = match store::inspect(path) {
        // It was killed before it had made a state.
        Err(OpenError::NotFound { .. }) if answered == 0 => return 0,
        other => other.unwrap(),
    };
    let state = ActorState::options().create(false).open(path).unwrap();
    assert!(*state.view() == inspected.view);
    let counter: u64 = state.get("counter").unwrap().unwrap_or(0);
    assert!(
        counter == answered || counter == answered + 1,
        "{answered} was answered, {counter} is there"
    );
    if counter > 0 {
        let found = state.get::<Bytes>("value").unwrap().unwrap();
        assert!(found[..] == value(counter)[..], "the value is not that of {counter}");
        let entry = state.view().ledger.entry(CallId { session: SESSION, sequence: counter });
        assert_eq!(entry.unwrap().digest, counter);
    }
    counter
}

fn kill_many(durability: Durability) {
    let number = |name: &str, default| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (seed, rounds) = (number("KILL_SEED", 1), number("KILL_ROUNDS", 40));
    println!("KILL_SEED={seed} KILL_ROUNDS={rounds}");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut random = Random(seed);
    let mut counter = 0;
    for _ in 0..rounds {
        let commits = random.below(8);
        let more = Duration::from_micros(random.below(4000));
        let answered = kill_after(&path, durability, commits, more);
        counter = check(&path, answered.unwrap_or(counter));
    }
    println!("{rounds} kills at {durability}, {counter} commits");
    assert!(counter > 0);
}

#[test]
fn a_killed_process_leaves_what_it_answered() {
    kill_many(Durability::Process);
}

#[test]
fn a_killed_process_leaves_what_it_answered_and_synced() {
    kill_many(Durability::Power);
}
