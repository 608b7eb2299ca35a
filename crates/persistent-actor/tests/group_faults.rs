//! Faults under states that share syncs: every operation fails in turn, others take over at any
//! moment, and what lies on the disk is damaged or missing.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use std::path::Path;
use std::sync::{Arc, Mutex};

use common::group::{NAMES, answered, histories, judge, run};
use common::{judge_view, options};
use persistent_actor::store::{FileStore, GroupJournal, View, inspect_on};
use persistent_actor::testing::{Fault, Loss, SimDisk, Switches};
use persistent_actor::{Durability, OpenError, Options};
use rustix::io::Errno;

fn power() -> Options {
    options(Durability::Power, Switches::default())
}

fn recorded(order: u64) -> SimDisk {
    let disk = SimDisk::default();
    run(&disk, &power(), order).unwrap();
    disk
}

/// Every `step`-th operation fails; then power fails, too.
fn fail_each(order: u64, step: usize, fault: impl Fn() -> Fault) {
    let operations = recorded(order).operations();
    let mut unnoticed = 0;
    for at in (0..operations).step_by(step) {
        let disk = SimDisk::default();
        disk.plan(at, fault());
        let stopped = run(&disk, &power(), order).err();
        unnoticed += u32::from(stopped.is_none());
        let log = disk.log();
        let answered = answered(&log, log.len());
        for loss in [Loss::Nothing, Loss::Unsynced, Loss::Random(at), Loss::Random(at + 1)] {
            let crashed = disk.crashed(log.len(), loss);
            if at % 2 == 0 {
                GroupJournal::open_on(crashed.root(), &power(), None).unwrap();
            }
            judge(&crashed, &power(), &histories(), &answered)
                .unwrap_or_else(|broken| panic!("{stopped:?} at {at}, {loss:?}: {broken}"));
        }
    }
    // What making states whole at the end meets is no error: the group journal stays then.
    let tried = operations as u32 / step as u32;
    assert!(unnoticed < tried / 4, "{unnoticed} faults of {tried} went unnoticed");
    println!("{tried} operations");
}

#[test]
fn an_input_output_error_anywhere_loses_nothing() {
    fail_each(0, 1, || Fault::Errno(Errno::IO));
}

#[test]
fn a_full_disk_or_a_short_write_anywhere_loses_nothing() {
    fail_each(1, 3, || Fault::Errno(Errno::NOSPC));
    fail_each(1, 3, || Fault::Short);
}

/// What came in between found of the state `a`.
type Found = Arc<Mutex<Option<u64>>>;

#[test]
fn what_is_answered_is_seen_by_who_takes_over_at_any_moment() {
    let operations = recorded(2).operations();
    let mut tried = 0;
    for at in (0..operations).step_by(2) {
        let disk = SimDisk::default();
        let found = Found::default();
        let (shared, on) = (found.clone(), disk.clone());
        disk.plan(
            at,
            Fault::Before(Box::new(move || {
                let opened = FileStore::open_on(on.dir("a"), Path::new("a"), &power());
                *shared.lock().unwrap() = Some(opened.unwrap().1.sequence);
            })),
        );
        let stopped = run(&disk, &power(), 2).err();
        let Some(found) = *found.lock().unwrap() else { continue };
        let log = disk.log();
        let answered = answered(&log, log.len());
        // If it opens the state once more itself, it may go on from there.
        if stopped.as_ref().is_some_and(|reason| reason.contains("fenced")) {
            assert!(answered[0] <= found, "at {at}: {} answered, {found} found", answered[0]);
        }
        for loss in [Loss::Nothing, Loss::Unsynced, Loss::Random(at)] {
            judge(&disk.crashed(log.len(), loss), &power(), &histories(), &answered)
                .unwrap_or_else(|broken| panic!("{stopped:?} at {at}, {loss:?}: {broken}"));
        }
        tried += 1;
    }
    println!("{tried} moments");
}

#[test]
fn another_group_journal_of_the_same_states_fences_the_older_one_at_any_moment() {
    let operations = recorded(3).operations();
    let mut tried = 0;
    for at in (0..operations).step_by(2) {
        let disk = SimDisk::default();
        let on = disk.clone();
        disk.plan(
            at,
            Fault::Before(Box::new(move || {
                drop(GroupJournal::open_on(on.root(), &power(), None).unwrap());
                on.mark(u64::from(u32::MAX));
            })),
        );
        let stopped = run(&disk, &power(), 3).err();
        let log = disk.log();
        // What was answered after that: nothing, except by states that left no entry.
        let answered = answered(&log, log.len()).map(|n| if n > 1000 { 0 } else { n });
        for loss in [Loss::Nothing, Loss::Unsynced, Loss::Random(at)] {
            judge(&disk.crashed(log.len(), loss), &power(), &histories(), &answered)
                .unwrap_or_else(|broken| panic!("{stopped:?} at {at}, {loss:?}: {broken}"));
        }
        tried += 1;
    }
    println!("{tried} moments");
}

/// A disk on which power failed while commits were durable through the group journal only.
struct Crashed {
    disk: SimDisk,
    answered: Vec<u64>,
    /// The states that need the group journal, by number.
    needy: Vec<usize>,
}

fn crashed() -> Crashed {
    let disk = recorded(1);
    let log = disk.log();
    let without = options(Durability::Power, Switches { redo: false, ..Switches::default() });
    for count in (0..log.len()).rev() {
        let disk = disk.crashed(count, Loss::Unsynced);
        let answered = answered(&log, count).to_vec();
        let files = disk.files();
        let journals = files.iter().filter(|(name, _)| name.starts_with(".group/journal")).count();
        let is_needy = |actor: &usize| {
            let name = NAMES[*actor];
            let opened = FileStore::open_on(copy(&files).dir(name), Path::new(name), &without);
            opened.map_or(true, |(_, view)| view.sequence < answered[*actor])
        };
        let needy: Vec<usize> = (0..NAMES.len()).filter(is_needy).collect();
        // Late, after group journals were used again.
        if journals >= 2 && needy.len() >= 2 {
            return Crashed { disk, answered, needy };
        }
    }
    panic!("no such moment");
}

fn copy(files: &[(String, Vec<u8>)]) -> SimDisk {
    SimDisk::with_files(files.iter().cloned())
}

fn open(disk: &SimDisk, name: &str) -> Result<View, OpenError> {
    FileStore::open_on(disk.dir(name), Path::new(name), &power()).map(|(_, view)| view)
}

#[test]
fn a_missing_group_journal_is_an_error_and_changes_nothing() {
    let Crashed { disk, answered, needy } = crashed();
    let all = disk.files();
    let without: Vec<_> =
        all.iter().filter(|(name, _)| !name.starts_with(".group/")).cloned().collect();
    for name in needy.into_iter().map(|actor| NAMES[actor]) {
        let disk = copy(&without);
        let error = open(&disk, name).unwrap_err();
        assert!(matches!(error, OpenError::GroupJournalMissing { .. }), "{error}");
        let error = inspect_on(disk.dir(name), Path::new(name)).unwrap_err();
        assert!(matches!(error, OpenError::GroupJournalMissing { .. }), "{error}");
    }
    // With it, inspecting and opening agree, and nothing is lost.
    for (actor, name) in NAMES.iter().enumerate() {
        let disk = copy(&all);
        let inspected = inspect_on(disk.dir(name), Path::new(name)).unwrap().view;
        judge_view(&inspected, &histories()[actor], answered[actor]).unwrap();
        assert_eq!(open(&disk, name).unwrap().sequence, inspected.sequence);
    }
}

#[test]
fn either_file_of_the_group_journal_missing_is_an_error_or_of_no_consequence() {
    let Crashed { disk, answered, .. } = crashed();
    let all = disk.files();
    let journals: Vec<&String> = all
        .iter()
        .map(|(name, _)| name)
        .filter(|name| name.starts_with(".group/journal"))
        .collect();
    assert!(journals.len() >= 2, "{journals:?}");
    let mut errors = 0;
    for gone in journals {
        let rest: Vec<_> = all.iter().filter(|(name, _)| name != gone).cloned().collect();
        for (actor, name) in NAMES.iter().enumerate() {
            match open(&copy(&rest), name) {
                Ok(view) => judge_view(&view, &histories()[actor], answered[actor]).unwrap(),
                Err(_) => errors += 1,
            }
        }
    }
    assert!(errors > 0);
}

/// Changes bytes of each file whose name `which` accepts; each state is what it should be, or an
/// error.
fn damage_each(which: impl Fn(&str) -> bool, step: usize) -> (u32, u32) {
    let Crashed { disk, answered, .. } = crashed();
    let all = disk.files();
    let histories = histories();
    let (mut refused, mut fine) = (0, 0);
    for index in (0..all.len()).filter(|index| which(&all[*index].0)) {
        let used = all[index].1.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        for place in (0..used).step_by(step) {
            let mut files = all.clone();
            files[index].1[place] ^= 0x41;
            for (actor, name) in NAMES.iter().enumerate() {
                match open(&copy(&files), name) {
                    Ok(view) => {
                        judge_view(&view, &histories[actor], answered[actor]).unwrap_or_else(
                            |broken| panic!("{} at {place}, {name}: {broken}", all[index].0),
                        );
                        fine += 1;
                    }
                    Err(_) => refused += 1,
                }
            }
        }
    }
    println!("{refused} refused, {fine} of no consequence");
    (refused, fine)
}

#[test]
fn damage_in_a_group_journal_is_an_error_never_an_older_state() {
    let (refused, _) = damage_each(|name| name.starts_with(".group/journal"), 3);
    assert!(refused > 100);
}

#[test]
fn damage_in_a_journal_that_needs_a_group_journal_is_an_error_never_an_older_state() {
    let (refused, _) = damage_each(|name| name.contains("/journal-") && !name.starts_with('.'), 3);
    assert!(refused > 100);
}

#[test]
fn a_successor_is_not_touched_by_entries_of_an_older_incarnation() {
    let Crashed { disk, .. } = crashed();
    for name in NAMES {
        let first = open(&disk, name).unwrap();
        // The group journal is still there, with all its entries.
        assert!(disk.files().iter().any(|(name, _)| name.starts_with(".group/journal")));
        assert_eq!(open(&disk, name).unwrap(), first);
        assert_eq!(inspect_on(disk.dir(name), Path::new(name)).unwrap().view, first);
    }
}
