//! The end of a group journal: beside a newer opener, and beside directories that are no states.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods)]

mod common;

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use common::group::{Live, open};
use common::{Content, Step, limits, options};
use persistent_actor::store::{FileStore, GroupJournal, Store};
use persistent_actor::testing::{Fault, Loss, SimDisk, Switches};
use persistent_actor::{ActorState, Durability, Options, codec};

fn power() -> Options {
    options(Durability::Power, Switches::default())
}

fn group_on(disk: &SimDisk) -> GroupJournal {
    GroupJournal::open_on(disk.root(), &power(), None).unwrap()
}

/// A commit that is durable through the group journal.
fn commit(group: &GroupJournal, live: &mut Live) {
    let step = Step::Call(vec![(0, Content::Number(live.view.sequence)), (1, Content::Text(90))]);
    let record = step.record(&live.view).unwrap();
    live.store.commit(&record, &live.view).unwrap();
    live.view.apply(record, &limits());
    group.submit(live.member, &live.store.take_written().unwrap()).unwrap();
    group.flush().unwrap();
}

/// A group journal that one state does not need and another does, whose writer was killed.
fn used() -> (SimDisk, GroupJournal) {
    let disk = SimDisk::default();
    let group = group_on(&disk);
    let mut closed = open(&disk, &group, "a", &power()).unwrap();
    commit(&group, &mut closed);
    closed.store.close().unwrap();
    group.leave(closed.member);
    commit(&group, &mut open(&disk, &group, "b", &power()).unwrap());
    (disk, group)
}

/// What is answered over a newer group journal, begun at this operation of the closing of the older
/// one, is found; `None` if the closing had ended.
fn newer_at(at: u64, name: &'static str) -> Option<()> {
    let (disk, group) = used();
    let answered = Arc::new(Mutex::new(None));
    let (on, shared) = (disk.clone(), Arc::clone(&answered));
    let begin = move || {
        let newer = group_on(&on);
        let mut live = open(&on, &newer, name, &power()).unwrap();
        commit(&newer, &mut live);
        *shared.lock().unwrap() = Some(live.view.sequence);
    };
    disk.plan(disk.operations() + at, Fault::Before(Box::new(begin)));
    let closed = group.close();
    let answered = answered.lock().unwrap().take()?;
    for loss in [Loss::Nothing, Loss::Unsynced, Loss::Random(at)] {
        let crashed = disk.crashed(disk.log().len(), loss);
        let found = FileStore::open_on(crashed.dir(name), Path::new(name), &power());
        let found = found.map(|(_, view)| view.sequence);
        let is_there = found.as_ref().is_ok_and(|found| *found >= answered);
        assert!(is_there, "at {at}, {loss:?}: {found:?} of {answered}; closed: {closed:?}");
    }
    Some(())
}

#[test]
fn what_is_answered_over_a_newer_group_journal_while_the_older_closes_is_kept() {
    for name in ["a", "b"] {
        let moments = (0..).take_while(|at| newer_at(*at, name).is_some()).count();
        println!("{name}: {moments} moments");
        assert!(moments > 20, "{moments}");
    }
}

#[test]
fn directories_that_cannot_be_states_do_not_keep_the_journals_of_killed_programs() {
    let dir = tempfile::tempdir().unwrap();
    for other in [&b"lost+found"[..], b"caf\xe9"] {
        let other = dir.path().join(std::ffi::OsStr::from_bytes(other));
        std::fs::create_dir(&other).unwrap();
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o770)).unwrap();
    }
    let journals = || {
        let names = std::fs::read_dir(dir.path().join(".group")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("journal")).count()
    };
    for round in 0..6 {
        let group = Arc::new(GroupJournal::open(dir.path(), &ActorState::options()).unwrap());
        let mut state = GroupJournal::open_state(&group, "a", ActorState::options()).unwrap();
        let ticket = state.update([("n", codec::encode(&round).unwrap())]).unwrap();
        group.wait(ticket).unwrap();
        assert!(journals() <= 2, "{} in round {round}", journals());
        // As if killed: nothing is closed.
    }
}

#[test]
fn states_that_are_dropped_and_opened_again_do_not_make_the_group_larger() {
    let disk = SimDisk::default();
    let group = GroupJournal::open_on(disk.root(), &power(), None).unwrap();
    let group = Arc::new(group);
    let size = || {
        let files = disk.files().into_iter();
        files.filter(|(name, _)| name.starts_with(".group/journal")).map(|(_, file)| file.len())
    };
    let mut after_few = None;
    for round in 0..400u64 {
        let mut state = GroupJournal::open_state(&group, "a", power()).unwrap();
        let ticket = state.update([("n", codec::encode(&round).unwrap())]).unwrap();
        group.wait(ticket).unwrap();
        drop(state);
        while group.needs_maintenance() {
            group.maintain().unwrap();
        }
        if round == 100 {
            after_few = size().max();
        }
    }
    assert_eq!(size().max(), after_few);
    let state = GroupJournal::open_state(&group, "a", power()).unwrap();
    assert_eq!(state.state().get::<u64>("n").unwrap(), Some(399));
}
