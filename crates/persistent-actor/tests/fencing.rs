//! Who is superseded in a real directory, where writers look for the mark in their claims.
//! (`zombies.rs` goes through every moment, on a disk where they look for the claims' names.)

// Tests look at the files behind the store's back.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use persistent_actor::testing::Switches;
use persistent_actor::{ActorState, Durability, StateError, StoreError};

fn open(path: &Path) -> ActorState {
    ActorState::options().durability(Durability::Process).open(path).unwrap()
}

/// The claim of whoever has the state open.
fn claim(path: &Path) -> PathBuf {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let is_claim =
        |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("epoch-");
    entries.filter(is_claim).max().unwrap()
}

/// What stops a commit.
fn stopped(state: &mut ActorState) -> StoreError {
    match state.set("n", &u64::MAX).unwrap_err() {
        StateError::Store(error) => error,
        other => panic!("{other}"),
    }
}

#[test]
fn a_newer_opener_fences_the_older_one_before_its_next_answer() {
    for durability in [Durability::Process, Durability::Power] {
        let dir = tempfile::tempdir().unwrap();
        let open = || ActorState::options().durability(durability).open(dir.path()).unwrap();
        let mut older = open();
        for n in 1..8 {
            // It has just looked.
            older.set("n", &n).unwrap();
            let newer = open();
            let error = match n % 2 {
                0 => older.check().unwrap_err(),
                _ => stopped(&mut older),
            };
            assert!(matches!(error, StoreError::Fenced { .. }), "{error}");
            older = newer;
        }
        drop(older);
        assert_eq!(open().get("n").unwrap(), Some(7));
    }
}

#[test]
fn without_the_mark_an_answer_of_the_older_one_would_be_lost() {
    let switches = Switches { mark: false, ..Switches::default() };
    let loses_an_answer = |_| {
        let dir = tempfile::tempdir().unwrap();
        let mut older = open(dir.path());
        // It has just looked for its name, and looks again in a tenth of a second.
        older.set("n", &1).unwrap();
        let unmarked = ActorState::options().durability(Durability::Process).switches(switches);
        let newer = unmarked.open(dir.path()).unwrap();
        older.set("n", &2).is_ok() && newer.get("n").unwrap() == Some(1)
    };
    assert!((0..100).any(loses_an_answer));
}

#[test]
fn an_opener_that_comes_at_any_moment_finds_all_that_was_answered() {
    const ROUNDS: u64 = 300;
    let dir = tempfile::tempdir().unwrap();
    let mut commits = 0;
    for round in 0..ROUNDS {
        let mut older = open(dir.path());
        let before = older.get("n").unwrap().unwrap_or(0);
        let answered = AtomicU64::new(before);
        let newer = thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for n in before + 1.. {
                    match older.set("n", &n) {
                        Ok(()) => answered.store(n, Ordering::Release),
                        Err(StateError::Store(StoreError::Fenced { .. })) => break,
                        Err(other) => panic!("{other}"),
                    }
                }
            });
            // After some commits, one more in each round.
            while answered.load(Ordering::Acquire) < before + round % 10 {
                std::hint::spin_loop();
            }
            let newer = open(dir.path());
            writer.join().unwrap();
            newer
        });
        let (found, answered) = (newer.get("n").unwrap().unwrap_or(0), answered.into_inner());
        // It has found what was written and not answered, or not.
        assert!((answered..=answered + 1).contains(&found), "{answered} answered, {found} found");
        commits += answered - before;
    }
    assert!(commits >= ROUNDS * 4);
}

#[test]
fn a_claim_that_was_marked_and_not_removed_fences_its_holder_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = open(dir.path());
    state.set("n", &1).unwrap();
    let claim = claim(dir.path());
    // As an opener that dies in between leaves it.
    fs::File::options().write(true).open(&claim).unwrap().write_all_at(b"\nfenced\n", 128).unwrap();
    assert!(matches!(state.check().unwrap_err(), StoreError::Fenced { .. }));
    let mut next = open(dir.path());
    assert!(!claim.exists());
    assert_eq!(next.get("n").unwrap(), Some(1));
    next.set("n", &2).unwrap();
}

#[test]
fn an_opener_that_cannot_mark_an_older_claim_says_so_and_fences_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = open(dir.path());
    state.set("n", &1).unwrap();
    // A link cannot be opened, as a file without permission cannot.
    symlink("nowhere", dir.path().join("epoch-0000000000000000")).unwrap();
    let error = ActorState::open(dir.path()).map(drop).unwrap_err().to_string();
    assert!(error.contains("open") && error.contains("epoch-0000000000000000"), "{error}");
    state.set("n", &2).unwrap();
}

#[test]
fn a_removed_directory_fences_its_writer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut state = open(&path);
    state.set("n", &1).unwrap();
    fs::remove_dir_all(&path).unwrap();
    // It may take a tenth of a second to notice.
    let start = Instant::now();
    let mut commits = (2..).take_while(|_| start.elapsed() < Duration::from_secs(60));
    let error = commits.find_map(|n| state.set("n", &n).err()).expect("it should have noticed");
    assert!(matches!(error, StateError::Store(StoreError::Fenced { .. })), "{error}");
    assert!(matches!(stopped(&mut state), StoreError::Poisoned { .. }));
}

#[test]
fn a_writer_whose_files_were_removed_touches_none_of_the_state_that_took_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let mut older = open(dir.path());
    older.set("n", &1).unwrap();
    for entry in fs::read_dir(dir.path()).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    // With the same numbers in the names of its files.
    let mut newer = open(dir.path());
    let mut last = 0;
    let error = (2..1_000_000).find_map(|n| {
        newer.set("m", &n).unwrap();
        last = n;
        older.set("n", &n).err()
    });
    let error = error.expect("it should have noticed");
    assert!(matches!(error, StateError::Store(StoreError::Fenced { .. })), "{error}");
    newer.set("m", &(last + 1)).unwrap();
    drop(newer);
    let found = open(dir.path());
    assert_eq!((found.get("m").unwrap(), found.get::<u64>("n").unwrap()), (Some(last + 1), None));
}

#[test]
fn a_writer_whose_files_were_removed_does_not_tidy_up_in_the_state_that_took_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = open(dir.path());
    first.set("n", &1).unwrap();
    let epoch = first.epoch();
    drop(first);
    // It has the first one's journal still to remove.
    let options = ActorState::options().durability(Durability::Process).ended([epoch]);
    let mut older = options.open(dir.path()).unwrap();
    older.check().unwrap();
    for entry in fs::read_dir(dir.path()).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let mut newer = open(dir.path());
    newer.set("n", &3).unwrap();
    assert!(matches!(older.maintain().unwrap_err(), StoreError::Fenced { .. }));
    drop(newer);
    assert_eq!(open(dir.path()).get("n").unwrap(), Some(3));
}
