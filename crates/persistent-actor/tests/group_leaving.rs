//! How states leave a group journal: when its files are gone, no state needs them, whatever of the
//! states was not synced.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use std::path::Path;
use std::sync::Arc;

use common::group::{Live, open};
use common::{Content, Step, limits, options};
use persistent_actor::store::{FileStore, GroupJournal, Store, View};
use persistent_actor::testing::{Fault, Loss, Op, SimDisk, Switches};
use persistent_actor::{Durability, OpenError, Options};
use rustix::io::Errno;

const NAME: &str = "a";

fn power() -> Options {
    options(Durability::Power, Switches::default())
}

fn group_on(disk: &SimDisk) -> GroupJournal {
    GroupJournal::open_on(disk.root(), &power(), None).unwrap()
}

/// One commit, answered when this returns.
fn commit(disk: &SimDisk, group: &GroupJournal, live: &mut Live) {
    let step = Step::Call(vec![(0, Content::Number(live.view.sequence)), (1, Content::Text(90))]);
    let record = step.record(&live.view).unwrap();
    live.store.commit(&record, &live.view).unwrap();
    live.view.apply(record, &limits());
    if let Some(written) = live.store.take_written() {
        group.submit(live.member, &written).unwrap();
    }
    group.flush().unwrap();
    disk.mark(live.view.sequence);
    live.store.maintain(&mut live.view).unwrap();
}

/// A state that has commits which are durable through the group journal only.
fn grouped(disk: &SimDisk, group: &GroupJournal) -> Live {
    let mut live = open(disk, group, NAME, &power()).unwrap();
    commit(disk, group, &mut live);
    commit(disk, group, &mut live);
    live
}

/// The same, but alone since: its last commit was synced by itself, and the note of the group is
/// taken out of the header.
fn alone(disk: &SimDisk, group: &GroupJournal) -> Live {
    let mut live = grouped(disk, group);
    live.store.set_group(None).unwrap();
    commit(disk, group, &mut live);
    live
}

fn find(disk: &SimDisk) -> Result<View, OpenError> {
    FileStore::open_on(disk.dir(NAME), Path::new(NAME), &power()).map(|(_, view)| view)
}

fn losses() -> impl Iterator<Item = Loss> {
    [Loss::Nothing, Loss::Unsynced].into_iter().chain((0..32).map(Loss::Random))
}

fn has_journals(disk: &SimDisk) -> bool {
    disk.files().iter().any(|(name, _)| name.starts_with(".group/journal"))
}

/// Power fails at any moment after the last answer, or all processes die: the state is there.
fn lose_power(disk: &SimDisk) {
    let log = disk.log();
    let answer = log.iter().enumerate().rev().find_map(|(at, op)| match op {
        Op::Mark(sequence) => Some((at, *sequence)),
        _ => None,
    });
    let (last, answered) = answer.unwrap();
    for count in last + 1..=log.len() {
        for loss in losses() {
            let view = find(&disk.crashed(count, loss)).unwrap_or_else(|error| {
                panic!("after operation {count} of {}, {loss:?}: {error}", log.len())
            });
            assert_eq!(view.sequence, answered, "after operation {count}, {loss:?}");
        }
    }
}

#[test]
fn a_state_that_was_alone_at_last_and_closed_needs_no_group_journal_after_a_power_loss() {
    let disk = SimDisk::default();
    let group = group_on(&disk);
    let mut live = alone(&disk, &group);
    live.store.close().unwrap();
    group.leave(live.member);
    group.close().unwrap();
    assert!(!has_journals(&disk));
    lose_power(&disk);
}

#[test]
fn a_state_that_was_alone_at_last_and_killed_needs_no_group_journal_after_a_power_loss() {
    let disk = SimDisk::default();
    let group = group_on(&disk);
    drop(alone(&disk, &group).store);
    group.close().unwrap();
    assert!(!has_journals(&disk));
    lose_power(&disk);
}

#[test]
fn a_state_of_an_earlier_run_that_was_alone_at_last_needs_no_group_journal_after_a_power_loss() {
    for runs in 1..=3 {
        let disk = SimDisk::default();
        drop(alone(&disk, &group_on(&disk)).store);
        for _ in 1..runs {
            drop(group_on(&disk));
        }
        let last = group_on(&disk);
        lose_power(&disk);
        last.close().unwrap();
        assert!(!has_journals(&disk));
        lose_power(&disk);
    }
}

/// Its header is written, and the sync of that fails: a second one would succeed without having
/// written what the first one lost.
#[test]
fn a_header_that_cannot_be_written_back_does_not_let_the_group_journal_go() {
    let recorded = |fault: Option<u64>| {
        let disk = SimDisk::default();
        let group = group_on(&disk);
        drop(alone(&disk, &group).store);
        let before = disk.operations();
        if let Some(at) = fault {
            disk.plan(before + at, Fault::Errno(Errno::IO));
        }
        let _ = group.close();
        let operations = disk.operations() - before;
        // The next program ends cleanly.
        group_on(&disk).close().unwrap();
        (disk, operations)
    };
    let (_, operations) = recorded(None);
    for at in 0..operations {
        lose_power(&recorded(Some(at)).0);
    }
}

/// Who closes the group journal.
enum Closer {
    /// The program that made it.
    Same,
    /// That one has crashed, and the next ends cleanly.
    Next,
}

/// Does something to a state in a group, with a fault at each of its operations in turn; whatever
/// came of it, the group journal is closed then, and power fails.
fn try_each_fault(
    prepare: impl Fn(&SimDisk, &GroupJournal) -> Live,
    act: impl Fn(&SimDisk, &GroupJournal, Live),
) {
    for closer in [Closer::Same, Closer::Next] {
        let done = |fault: Option<u64>| {
            let disk = SimDisk::default();
            let group = group_on(&disk);
            let live = prepare(&disk, &group);
            let before = disk.operations();
            if let Some(at) = fault {
                disk.plan(before + at, Fault::Errno(Errno::IO));
            }
            act(&disk, &group, live);
            let operations = disk.operations() - before;
            match closer {
                // It may have failed, and stays then.
                Closer::Same => drop(group.close()),
                Closer::Next => {
                    drop(group);
                    group_on(&disk).close().unwrap();
                }
            }
            (disk, operations)
        };
        let (disk, operations) = done(None);
        assert!(!has_journals(&disk));
        for at in 0..operations {
            lose_power(&done(Some(at)).0);
        }
    }
}

#[test]
fn a_successor_that_dies_at_any_moment_leaves_a_state_that_needs_no_group_journal() {
    try_each_fault(grouped, |disk, group, first| {
        drop(first.store);
        // As an engine does it: in the group only from some later call on.
        let options = power().group_run(Some(group.run()));
        drop(FileStore::open_on(disk.dir(NAME), Path::new(NAME), &options));
    });
}

#[test]
fn a_state_that_is_closed_is_whole_even_if_a_successor_has_claimed_it_and_died() {
    try_each_fault(grouped, |disk, group, mut first| {
        drop(FileStore::open_on(disk.dir(NAME), Path::new(NAME), &power()));
        if first.store.close().is_ok() {
            group.leave(first.member);
        }
    });
}

#[test]
fn a_state_that_cannot_be_closed_keeps_what_the_group_journal_has_of_it() {
    for prepare in [grouped, alone] {
        try_each_fault(prepare, |_, group, mut live| {
            if live.store.close().is_ok() {
                group.leave(live.member);
            }
        });
    }
}

#[test]
fn a_state_whose_last_incarnation_was_killed_is_made_whole() {
    for prepare in [grouped, alone] {
        try_each_fault(prepare, |_, group, live| {
            let epoch = live.store.epoch();
            drop(live.store);
            group.forsake(live.member, epoch);
            assert!(group.needs_maintenance());
            let _ = group.maintain();
        });
    }
}

/// The sync that fails is the last thing its writer does; when the state is made whole, no sync
/// fails any more, whatever that one has lost.
#[test]
fn a_state_is_made_whole_whose_last_incarnation_died_of_a_sync_that_failed() {
    for prepare in [grouped, alone] {
        try_each_fault(prepare, |_, group, mut live| {
            if live.store.close().is_err() {
                group.forsake(live.member, live.store.epoch());
                drop(live.store);
                group.maintain().unwrap();
                assert!(!group.needs_maintenance());
            }
        });
    }
}

#[test]
fn a_successor_of_a_killed_incarnation_is_left_as_it_is() {
    try_each_fault(grouped, |disk, group, first| {
        let epoch = first.store.epoch();
        drop(first.store);
        let options = power().group_run(Some(group.run()));
        let second = FileStore::open_on(disk.dir(NAME), Path::new(NAME), &options);
        group.forsake(first.member, epoch);
        let files = disk.files();
        let _ = group.maintain();
        let of_state = |files: Vec<(String, Vec<u8>)>| {
            files.into_iter().filter(|(name, _)| name.starts_with("a/")).collect::<Vec<_>>()
        };
        if second.is_ok() {
            assert_eq!(of_state(disk.files()), of_state(files));
        }
    });
}

#[test]
fn a_state_that_could_not_be_opened_in_a_group_does_not_need_its_journal_later() {
    let opened = |fault: Option<u64>| {
        let disk = SimDisk::default();
        let first = group_on(&disk);
        let mut live = grouped(&disk, &first);
        live.store.close().unwrap();
        first.leave(live.member);
        first.close().unwrap();
        let group = Arc::new(group_on(&disk));
        let before = disk.operations();
        if let Some(at) = fault {
            disk.plan(before + at, Fault::Errno(Errno::IO));
        }
        drop(GroupJournal::open_state(&group, NAME, power()));
        let operations = disk.operations() - before;
        group.close().unwrap();
        (disk, operations)
    };
    let (_, operations) = opened(None);
    for at in 0..operations {
        lose_power(&opened(Some(at)).0);
    }
}
