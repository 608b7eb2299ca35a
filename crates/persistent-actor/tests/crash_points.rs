//! The machine or the process stops after any operation of a workload. The state that is found
//! is that of a committed call, and at least that of the last answered one.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use common::{
    Content, Open, PATH, Random, Step, Verdict, history, in_place, judge, judge_view, options,
    reusing_workload, run, workload,
};
use persistent_actor::store::View;
use persistent_actor::testing::{Loss, Op, SimDisk, Switches};
use persistent_actor::{Durability, OpenError};

const SEEDS: u64 = 8;

/// The last commit that was answered within the first `count` operations.
fn answered(log: &[Op], count: usize) -> u64 {
    let mark = |op: &Op| if let Op::Mark(note) = op { Some(*note) } else { None };
    log[..count].iter().rev().find_map(mark).unwrap_or(0)
}

fn recorded(durability: Durability, switches: Switches) -> SimDisk {
    let disk = SimDisk::default();
    run(&disk, &options(durability, switches), &workload()).unwrap();
    disk
}

/// Judges each crash point with each of the losses; says at which a promise is broken.
fn try_all(disk: &SimDisk, switches: Switches, losses: &[Loss]) -> Result<usize, String> {
    try_each(disk, &history(&workload()), switches, losses)
}

fn try_each(
    disk: &SimDisk,
    history: &[View],
    switches: Switches,
    losses: &[Loss],
) -> Result<usize, String> {
    let options = options(Durability::Power, switches);
    let log = disk.log();
    let mut tried = 0;
    for count in 0..=log.len() {
        for loss in losses {
            let crashed = disk.crashed(count, *loss);
            judge(&crashed, &options, history, answered(&log, count)).map_err(|broken| {
                format!("after operation {count} of {}, {loss:?}: {broken}", log.len())
            })?;
            tried += 1;
        }
    }
    Ok(tried)
}

fn power_losses() -> Vec<Loss> {
    [Loss::Nothing, Loss::Unsynced].into_iter().chain((0..SEEDS).map(Loss::Random)).collect()
}

#[test]
fn power_loss_at_any_point_keeps_every_answered_commit() {
    let disk = recorded(Durability::Power, Switches::default());
    let tried = try_all(&disk, Switches::default(), &power_losses()).unwrap();
    println!("{tried} crash points");
}

#[test]
fn death_of_the_process_at_any_point_keeps_every_answered_commit() {
    let disk = recorded(Durability::Process, Switches::default());
    let losses: Vec<Loss> =
        [Loss::Nothing].into_iter().chain((0..4).map(Loss::TornWrite)).collect();
    let tried = try_all(&disk, Switches::default(), &losses).unwrap();
    println!("{tried} crash points");
}

/// A workload at level `process` whose arrays are built in slots.
fn recorded_in_place() -> SimDisk {
    let disk = SimDisk::default();
    let (options, slots) = in_place(&disk, &options(Durability::Process, Switches::default()));
    run(&disk, &options, &reusing_workload()).unwrap();
    let given = *slots.0.given.lock().unwrap();
    assert!(given >= 20, "{given} arrays were built in slots");
    let mapped = *slots.0.mapped.lock().unwrap();
    assert!(mapped >= 2, "{mapped} arrays stayed in their slots when the state was opened");
    disk
}

#[test]
fn death_of_the_process_while_it_builds_an_array_in_a_slot_keeps_every_answered_commit() {
    let disk = recorded_in_place();
    let losses: Vec<Loss> =
        [Loss::Nothing].into_iter().chain((0..4).map(Loss::TornWrite)).collect();
    let history = history(&reusing_workload());
    let tried = try_each(&disk, &history, Switches::default(), &losses).unwrap();
    println!("{tried} crash points");
}

#[test]
fn without_syncs_the_crash_points_find_the_loss() {
    let switches = Switches { sync: false, ..Switches::default() };
    let disk = recorded(Durability::Power, switches);
    let broken = try_all(&disk, Switches::default(), &power_losses()).unwrap_err();
    println!("found: {broken}");
}

/// At level `process` power loss may take anything that was not synced (which is all). What is
/// found is an older state or an error, never a mixture.
#[test]
fn power_loss_at_level_process_leaves_an_older_state_or_an_error() {
    let plain = recorded(Durability::Process, Switches::default());
    lose_power_at_process(&plain, &workload());
    lose_power_at_process(&recorded_in_place(), &reusing_workload());
}

fn lose_power_at_process(disk: &SimDisk, steps: &[Step]) {
    let history = history(steps);
    let options = options(Durability::Process, Switches::default());
    let (mut older, mut errors) = (0, 0);
    for count in 0..=disk.log().len() {
        for seed in 0..SEEDS {
            match Open::on(&disk.crashed(count, Loss::Random(seed)), &options) {
                Ok(open) => {
                    let verdict = judge_view(&open.view, &history, 0);
                    verdict.unwrap_or_else(|broken| panic!("{count}, seed {seed}: {broken}"));
                    older += 1;
                }
                Err(OpenError::Damaged { .. }) => errors += 1,
                Err(other) => panic!("after operation {count}, seed {seed}: {other}"),
            }
        }
    }
    println!("{older} older states, {errors} errors");
    assert!(older > 0 && errors > 0);
}

/// What a level promises holds for the whole state, whoever wrote it.
#[test]
fn a_state_written_at_process_and_continued_at_power_survives_power_loss() {
    let disk = SimDisk::default();
    let mut steps = workload();
    run(&disk, &options(Durability::Process, Switches::default()), &steps).unwrap();
    let written = disk.log().len();
    let continued = options(Durability::Power, Switches::default());
    let mut open = Open::on(&disk, &continued).unwrap();
    steps.push(Step::Call(vec![(0, Content::Number(5))]));
    open.commit(&steps[steps.len() - 1]).unwrap();
    let (history, answered) = (history(&steps), open.view.sequence);
    for loss in power_losses() {
        judge(&disk.crashed(disk.log().len(), loss), &continued, &history, answered)
            .unwrap_or_else(|broken| panic!("{loss:?}, {written} operations before: {broken}"));
    }
}

/// Opening writes, too: it may be interrupted as well.
#[test]
fn a_crash_while_recovering_from_a_crash_loses_nothing() {
    let disk = recorded(Durability::Power, Switches::default());
    let history = history(&workload());
    let options = options(Durability::Power, Switches::default());
    let log = disk.log();
    let mut random = Random(1);
    let mut tried = 0;
    for count in (0..=log.len()).filter(|count| count % 5 == 0) {
        let crashed = disk.crashed(count, Loss::Random(random.next()));
        drop(Open::on(&crashed, &options).unwrap());
        for again in 0..=crashed.log().len() {
            let twice = crashed.crashed(again, Loss::Random(random.next()));
            let verdict: Verdict = judge(&twice, &options, &history, answered(&log, count));
            verdict.unwrap_or_else(|broken| panic!("{PATH}: {count}, then {again}: {broken}"));
            tried += 1;
        }
    }
    println!("{tried} crash points");
}
