//! Commits of several states that share one sync: after a stop at any operation each state is that
//! of a committed call, and at least that of the last answered one.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use common::group::{answered, histories, judge, run};
use common::{Random, options};
use persistent_actor::store::GroupJournal;
use persistent_actor::testing::{Loss, SimDisk, Switches};
use persistent_actor::{Durability, Options};

const ORDERS: u64 = 4;
const SEEDS: u64 = 4;

fn recorded(switches: Switches, order: u64) -> SimDisk {
    let disk = SimDisk::default();
    run(&disk, &options(Durability::Power, switches), order).unwrap();
    disk
}

fn power_losses() -> Vec<Loss> {
    [Loss::Nothing, Loss::Unsynced].into_iter().chain((0..SEEDS).map(Loss::Random)).collect()
}

/// How the states are found again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Each by itself.
    Alone,
    /// By opening their group journal first.
    Together,
}

fn find(disk: &SimDisk, options: &Options, way: Way, answered: &[u64]) -> Result<(), String> {
    let group = match way {
        Way::Alone => None,
        Way::Together => {
            let opened = GroupJournal::open_on(disk.root(), options, None);
            Some(opened.map_err(|error| format!("the group journal: {error}"))?)
        }
    };
    judge(disk, options, &histories(), answered)?;
    // What was found stays.
    judge(disk, options, &histories(), answered)?;
    drop(group);
    Ok(())
}

fn try_all(disk: &SimDisk, switches: Switches, way: Way, losses: &[Loss]) -> Result<usize, String> {
    try_from(0, disk, switches, way, losses)
}

/// A stop after each operation from this one on.
fn try_from(
    first: usize,
    disk: &SimDisk,
    switches: Switches,
    way: Way,
    losses: &[Loss],
) -> Result<usize, String> {
    let options = options(Durability::Power, switches);
    let log = disk.log();
    let mut tried = 0;
    for count in first..=log.len() {
        let answered = answered(&log, count);
        for loss in losses {
            let crashed = disk.crashed(count, *loss);
            find(&crashed, &options, way, &answered).map_err(|broken| {
                format!("after operation {count} of {}, {loss:?}, {way:?}: {broken}", log.len())
            })?;
            tried += 1;
        }
    }
    Ok(tried)
}

#[test]
fn power_loss_at_any_point_keeps_every_answered_commit_of_every_state() {
    let mut tried = 0;
    for order in 0..ORDERS {
        let disk = recorded(Switches::default(), order);
        for way in [Way::Alone, Way::Together] {
            let all = try_all(&disk, Switches::default(), way, &power_losses());
            tried += all.unwrap_or_else(|broken| panic!("order {order}: {broken}"));
        }
    }
    println!("{tried} crash points");
}

/// Many, because what is missed then is missed only if all files of the group journal are gone.
#[test]
fn power_loss_when_the_group_journal_is_removed_keeps_every_answered_commit_of_every_state() {
    let losses: Vec<Loss> = (0..24).map(Loss::Random).collect();
    let mut tried = 0;
    for order in (0..40).step_by(2) {
        let disk = recorded(Switches::default(), order);
        let last = disk.log().len() - 3;
        let all = try_from(last, &disk, Switches::default(), Way::Alone, &losses);
        tried += all.unwrap_or_else(|broken| panic!("order {order}: {broken}"));
    }
    println!("{tried} crash points");
}

#[test]
fn death_of_all_processes_at_any_point_keeps_every_answered_commit_of_every_state() {
    let losses: Vec<Loss> = (0..3).map(Loss::TornWrite).collect();
    let disk = recorded(Switches::default(), 7);
    let tried = try_all(&disk, Switches::default(), Way::Together, &losses).unwrap();
    println!("{tried} crash points");
}

fn must_be_noticed(writing: Switches, reading: Switches) {
    let broken = (0..ORDERS).find_map(|order| {
        let disk = recorded(writing, order);
        let both = [Way::Alone, Way::Together];
        both.into_iter().find_map(|way| try_all(&disk, reading, way, &power_losses()).err())
    });
    println!("found: {}", broken.unwrap());
}

#[test]
fn without_the_sync_of_the_group_journal_the_crash_points_find_the_loss() {
    let switches = Switches { group_sync: false, ..Switches::default() };
    must_be_noticed(switches, Switches::default());
}

#[test]
fn without_the_sync_of_the_states_before_it_is_used_again_the_crash_points_find_the_loss() {
    let switches = Switches { group_segments: false, ..Switches::default() };
    must_be_noticed(switches, Switches::default());
}

#[test]
fn without_the_redo_the_crash_points_find_the_loss() {
    let switches = Switches { redo: false, ..Switches::default() };
    must_be_noticed(Switches::default(), switches);
}

/// Recovery writes, too: it may be interrupted as well.
#[test]
fn a_crash_while_recovering_from_a_crash_loses_nothing() {
    let options = options(Durability::Power, Switches::default());
    let mut random = Random(1);
    let mut tried = 0;
    for order in 0..2 {
        let disk = recorded(Switches::default(), order);
        let log = disk.log();
        for count in (0..=log.len()).filter(|count| count % 23 == 0) {
            let crashed = disk.crashed(count, Loss::Random(random.next()));
            drop(GroupJournal::open_on(crashed.root(), &options, None).unwrap());
            let answered = answered(&log, count);
            for again in (0..=crashed.log().len()).filter(|again| again % 3 == 0) {
                let twice = crashed.crashed(again, Loss::Random(random.next()));
                let way = if again % 2 == 0 { Way::Alone } else { Way::Together };
                find(&twice, &options, way, &answered)
                    .unwrap_or_else(|broken| panic!("{order}: {count}, then {again}: {broken}"));
                tried += 1;
            }
        }
    }
    println!("{tried} crash points");
}

/// On a real disk short commits of a group go to the state's journal through memory.
#[test]
fn commits_through_memory_are_found_by_whoever_opens_the_state_next() {
    let dir = tempfile::tempdir().unwrap();
    let options = persistent_actor::ActorState::options();
    let group = std::sync::Arc::new(GroupJournal::open(dir.path(), &options).unwrap());
    let mut commits = 0_u64;
    // Long enough for checkpoints, and so for journals that are used again and have grown.
    for round in 1..=3_u64 {
        let mut state = GroupJournal::open_state(&group, "counter", options.clone()).unwrap();
        assert_eq!(state.state().get("count").unwrap(), (commits > 0).then_some(commits));
        for _ in 0..1500 * round {
            commits += 1;
            let count = persistent_actor::codec::encode(&commits).unwrap();
            state.update([("count", count)]).unwrap();
            state.maintain().unwrap();
        }
        // As if killed: nothing is closed, and the last commits are in no batch that was written.
        drop(state);
    }
    drop(group);
    let found = options.open(dir.path().join("counter")).unwrap();
    assert_eq!(found.get("count").unwrap(), Some(commits));
}
