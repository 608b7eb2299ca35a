//! A state is made. Whatever happens on the way, and to whoever makes it, it is found as new until
//! it was answered for, and whole from then on: its content, its files' names and that of its
//! directory.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

use common::{Content, Open, Step, Verdict, judge_view, limits, options};
use persistent_actor::store::{self, FileStore, Record, Storage, StorageFile, Store, View};
use persistent_actor::testing::{Fault, Loss, SimDisk, Switches};
use persistent_actor::{
    CallId, CallOutcome, Durability, Encoded, OpenError, Options, SessionId, StoreError, codec,
};
use rustix::io::Errno;

const NAME: &str = "actor";

type Initial = Vec<(String, Encoded)>;

fn power() -> Options {
    options(Durability::Power, Switches::default())
}

/// What the state begins with.
fn initial() -> Initial {
    vec![("a0".to_owned(), codec::encode(&7).unwrap())]
}

fn open(storage: Box<dyn Storage>, options: &Options) -> Result<Open, OpenError> {
    let opened = FileStore::open_on_with(storage, Path::new(NAME), options, || Ok(initial()));
    opened.map(|(store, view)| Open { store, view })
}

/// Nothing, what it begins with, and what two commits make of it.
fn history() -> Vec<View> {
    let mut history = vec![View::default()];
    let mut view = View::default();
    view.apply(Record { sequence: 1, call: None, changes: initial() }, &limits());
    history.push(view.clone());
    for step in steps() {
        view.apply(step.record(&view).unwrap(), &limits());
        history.push(view.clone());
    }
    history
}

fn steps() -> [Step; 2] {
    [Step::Call(vec![(1, Content::Number(1))]), Step::Call(vec![(1, Content::Text(300))])]
}

/// Opens the state, which is an answer by itself, and commits twice. Each answer is marked.
fn live(disk: &SimDisk, storage: Box<dyn Storage>, options: &Options) -> Result<(), String> {
    let mut state = open(storage, options).map_err(|error| error.to_string())?;
    disk.mark(state.view.sequence);
    for step in steps() {
        state.commit(&step).map_err(|error| error.to_string())?;
        disk.mark(state.view.sequence);
        state.store.maintain(&mut state.view).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn losses() -> impl Iterator<Item = Loss> {
    [Loss::Nothing, Loss::Unsynced].into_iter().chain((0..24).map(Loss::Random))
}

/// What is found is one of the history, not older than what was answered; if it is new, it is made
/// anew.
fn judge(disk: &SimDisk, answered: u64) -> Verdict {
    let found = FileStore::open_on(disk.dir(NAME), Path::new(NAME), &power());
    let (store, view) = found.map_err(|error| format!("cannot be opened: {error}"))?;
    judge_view(&view, &history(), answered)?;
    drop(store);
    let again = FileStore::open_on(disk.dir(NAME), Path::new(NAME), &power());
    let (_, again) = again.map_err(|error| format!("cannot be opened again: {error}"))?;
    if again == view { Ok(()) } else { Err("it is another when it is opened again".to_owned()) }
}

fn answered(disk: &SimDisk, count: usize) -> u64 {
    use persistent_actor::testing::Op;
    let mark = |op: &Op| if let Op::Mark(note) = op { Some(*note) } else { None };
    disk.log()[..count].iter().rev().find_map(mark).unwrap_or(0)
}

/// Judges each crash point.
fn judge_all(disk: &SimDisk) -> Result<usize, String> {
    let mut tried = 0;
    for count in 0..=disk.log().len() {
        for loss in losses() {
            judge(&disk.crashed(count, loss), answered(disk, count))
                .map_err(|broken| format!("after operation {count}, {loss:?}: {broken}"))?;
            tried += 1;
        }
    }
    Ok(tried)
}

#[test]
fn power_loss_while_a_state_is_made_leaves_it_new_or_whole() {
    let disk = SimDisk::default();
    live(&disk, disk.dir(NAME), &power()).unwrap();
    println!("{} crash points", judge_all(&disk).unwrap());
}

/// Whose directory it is, and what of it is synced, a successor cannot tell: it makes sure.
#[test]
fn a_state_whose_maker_was_killed_at_any_point_is_as_durable_as_any_other() {
    let mut tried = 0;
    for first in [Durability::Power, Durability::Process] {
        let whole = SimDisk::default();
        let first = options(first, Switches::default());
        live(&whole, whole.dir(NAME), &first).unwrap();
        for at in 0..whole.operations() {
            let disk = SimDisk::default();
            // A failed operation ends it as a kill just before would.
            disk.plan(at, Fault::Errno(Errno::IO));
            let _ = live(&disk, disk.dir(NAME), &first);
            let mut successor = open(disk.dir(NAME), &power()).unwrap();
            let step = Step::Call(vec![(2, Content::Number(at))]);
            successor.commit(&step).unwrap();
            let expected = successor.view.clone();
            for loss in losses() {
                let found = disk.crashed(disk.log().len(), loss);
                let found = FileStore::open_on(found.dir(NAME), Path::new(NAME), &power());
                let (_, view) = found.unwrap_or_else(|error| panic!("{at}, {loss:?}: {error}"));
                assert_eq!(view, expected, "killed at {at}, {loss:?}");
                tried += 1;
            }
        }
    }
    println!("{tried} crash points");
}

/// Ends `work` before operation `at`, as a kill does: nothing comes after it.
fn kill_at(disk: &SimDisk, at: u64, work: impl FnOnce()) {
    disk.plan(at, Fault::Before(Box::new(|| resume_unwind(Box::new("killed")))));
    let _ = catch_unwind(AssertUnwindSafe(work));
    // If it never came to that, nobody else is killed either.
    disk.plan(u64::MAX, Fault::Short);
}

/// The first incarnation is killed anywhere, and so is the next, which replaces its journal.
#[test]
fn a_call_that_was_reported_as_committed_stays_so_wherever_its_writers_were_killed() {
    let whole = SimDisk::default();
    live(&whole, whole.dir(NAME), &power()).unwrap();
    let first = whole.operations();
    open(whole.dir(NAME), &power()).unwrap();
    let second = whole.operations() - first;
    let mut reported = 0;
    for (at, then) in (0..first).flat_map(|at| (0..=second).map(move |then| (at, then))) {
        let disk = SimDisk::default();
        kill_at(&disk, at, || live(&disk, disk.dir(NAME), &power()).unwrap());
        let then = disk.operations() + then;
        kill_at(&disk, then, || drop(open(disk.dir(NAME), &power()).unwrap()));
        for sequence in [2, 3] {
            let id = CallId { session: SessionId(7 << 80), sequence };
            let found = store::outcome_on(|_| Ok(disk.dir(NAME)), Path::new(NAME), id);
            if !matches!(found, Ok(CallOutcome::Committed(_))) {
                continue;
            }
            for loss in losses() {
                let found = disk.crashed(disk.log().len(), loss);
                let (_, view) =
                    FileStore::open_on(found.dir(NAME), Path::new(NAME), &power()).unwrap();
                assert!(view.sequence >= sequence, "killed at {at}, {then}, {loss:?}");
                reported += 1;
            }
        }
    }
    assert!(reported > 500, "{reported}");
}

#[test]
fn without_the_sync_of_the_name_of_the_directory_the_crash_points_find_the_loss() {
    let disk = SimDisk::default();
    live(&disk, Box::new(Forgetful { inner: disk.dir(NAME), own: true }), &power()).unwrap();
    println!("found: {}", judge_all(&disk).unwrap_err());
}

#[test]
fn without_the_sync_of_the_names_in_the_directory_the_crash_points_find_the_loss() {
    let disk = SimDisk::default();
    live(&disk, Box::new(Forgetful { inner: disk.dir(NAME), own: false }), &power()).unwrap();
    println!("found: {}", judge_all(&disk).unwrap_err());
}

#[test]
fn a_state_gets_its_identity_with_its_first_change_and_is_never_new_again() {
    let disk = SimDisk::default();
    let names = || disk.files().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let has_identity = || names().iter().any(|name| name.ends_with("/identity"));
    let mut state = open(disk.dir(NAME), &power()).unwrap();
    assert_eq!(state.view, history()[1]);
    state.store.maintain(&mut state.view).unwrap();
    assert!(!has_identity(), "it holds only what it began with");
    state.commit(&steps()[0]).unwrap();
    assert!(state.store.is_maintenance_due(&state.view));
    state.store.maintain(&mut state.view).unwrap();
    assert!(has_identity() && !state.store.is_maintenance_due(&state.view));
    drop(state);

    let journal = names().into_iter().find(|name| name.contains("/journal-")).unwrap();
    disk.dir(NAME).remove(journal.strip_prefix("actor/").unwrap()).unwrap();
    let refused = open(disk.dir(NAME), &power()).err().unwrap();
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
}

/// An incarnation that was stopped before it named the state goes on after its successor did.
#[test]
fn two_incarnations_that_write_the_identity_write_the_same() {
    let disk = SimDisk::default();
    let mut older = open(disk.dir(NAME), &power()).unwrap();
    older.commit(&steps()[0]).unwrap();
    let mut newer = open(disk.dir(NAME), &power()).unwrap();
    newer.store.maintain(&mut newer.view).unwrap();
    let _ = older.store.maintain(&mut older.view);
    older.commit(&steps()[1]).unwrap_err();
    newer.commit(&steps()[1]).unwrap();
    let expected = newer.view.clone();
    drop(newer);
    assert_eq!(open(disk.dir(NAME), &power()).unwrap().view, expected);
}

/// It is fenced, and says so: that its files went away is no failure of the disk.
#[test]
fn an_incarnation_that_is_superseded_while_it_writes_the_identity_learns_that_it_is_fenced() {
    let moments = |at: Option<u64>| {
        let disk = SimDisk::default();
        let mut older = open(disk.dir(NAME), &power()).unwrap();
        older.commit(&steps()[0]).unwrap();
        let begin = disk.operations();
        if let Some(at) = at {
            let other = disk.clone();
            let take_over = move || {
                let mut newer = open(other.dir(NAME), &power()).unwrap();
                newer.store.maintain(&mut newer.view).unwrap();
                newer.commit(&steps()[1]).unwrap();
            };
            disk.plan(begin + at, Fault::Before(Box::new(take_over)));
        }
        let maintained = older.store.maintain(&mut older.view);
        let moments = disk.operations() - begin;
        if at.is_some() {
            let fenced = maintained.and_then(|()| older.commit(&steps()[1])).unwrap_err();
            assert!(matches!(fenced, StoreError::Fenced { .. }), "at {at:?}: {fenced}");
            assert_eq!(open(disk.dir(NAME), &power()).unwrap().view, history()[3]);
        }
        moments
    };
    let all = moments(None);
    assert!(all >= 4, "{all} operations");
    (0..all).for_each(|at| {
        moments(Some(at));
    });
}

/// An incarnation at `process` syncs nothing, one at `power` relies on what it finds.
#[test]
fn an_identity_that_is_written_at_process_while_another_continues_at_power_is_whole() {
    let process = options(Durability::Process, Switches::default());
    let moments = |at: Option<u64>| {
        let disk = SimDisk::default();
        let mut older = open(disk.dir(NAME), &process).unwrap();
        older.commit(&steps()[0]).unwrap();
        let begin = disk.operations();
        if let Some(at) = at {
            let other = disk.clone();
            let take_over = move || {
                let mut newer = open(other.dir(NAME), &power()).unwrap();
                newer.commit(&steps()[1]).unwrap();
            };
            disk.plan(begin + at, Fault::Before(Box::new(take_over)));
        }
        // It may be told that it is fenced.
        let _ = older.store.maintain(&mut older.view);
        let moments = disk.operations() - begin;
        for loss in losses().filter(|_| at.is_some()) {
            let crashed = disk.crashed(disk.log().len(), loss);
            let found = open(crashed.dir(NAME), &power());
            let found = found.unwrap_or_else(|error| panic!("at {at:?}, {loss:?}: {error}"));
            assert_eq!(found.view, history()[3], "at {at:?}, {loss:?}");
        }
        moments
    };
    (0..moments(None)).for_each(|at| {
        moments(Some(at));
    });
}

#[test]
fn a_writer_whose_state_was_removed_gives_the_next_one_no_identity() {
    let disk = SimDisk::default();
    let mut older = open(disk.dir(NAME), &power()).unwrap();
    older.commit(&steps()[0]).unwrap();
    let dir = disk.dir(NAME);
    dir.list().unwrap().iter().for_each(|name| dir.remove(name).unwrap());
    let mut newer = open(disk.dir(NAME), &power()).unwrap();
    newer.commit(&steps()[0]).unwrap();
    let fenced = older.store.maintain(&mut older.view).unwrap_err();
    assert!(matches!(fenced, StoreError::Fenced { .. }), "{fenced}");
    newer.store.maintain(&mut newer.view).unwrap();
    assert_eq!(open(disk.dir(NAME), &power()).unwrap().view, newer.view);
}

#[test]
fn what_a_state_begins_with_and_has_to_lie_in_a_slot_is_left_to_a_commit() {
    let disk = SimDisk::default();
    let large = || Ok(vec![("a0".to_owned(), codec::encode(&"x".repeat(70_000)).unwrap())]);
    let opened = FileStore::open_on_with(disk.dir(NAME), Path::new(NAME), &power(), large);
    let (mut store, view) = opened.unwrap();
    assert_eq!(view, View::default());
    let record = Record { sequence: 1, call: None, changes: large().unwrap() };
    store.commit(&record, &view).unwrap();
}

/// A directory that claims to have synced some names.
struct Forgetful {
    inner: Box<dyn Storage>,
    /// Which: its own, or those in it.
    own: bool,
}

impl Storage for Forgetful {
    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        self.inner.open(name)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        self.inner.create(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn sync_names(&self) -> io::Result<()> {
        if self.own { self.inner.sync_names() } else { Ok(()) }
    }

    fn sync_own_name(&self) -> io::Result<()> {
        if self.own { Ok(()) } else { self.inner.sync_own_name() }
    }
}
