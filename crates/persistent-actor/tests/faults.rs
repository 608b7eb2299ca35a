//! Every operation on the disk fails in turn. No commit is answered after a failure, and what
//! was answered is there when the state is reopened.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use common::{history, judge, options, run, workload};
use persistent_actor::Durability;
use persistent_actor::testing::{Fault, Loss, SimDisk, Switches};
use rustix::io::Errno;

/// Runs the workload with a fault in operation `at` and judges what is found afterwards: by the
/// next process, and after a power loss. Says whether the run was stopped.
fn try_fault(durability: Durability, at: u64, fault: Fault) -> bool {
    let disk = SimDisk::default();
    let options = options(durability, Switches::default());
    disk.plan(at, fault);
    let stopped = run(&disk, &options, &workload()).err();
    let answered = match &stopped {
        Some(stopped) => stopped.answered,
        None => history(&workload()).len() as u64 - 1,
    };
    let history = history(&workload());
    let count = disk.log().len();
    if durability == Durability::Power {
        for loss in [Loss::Unsynced, Loss::Random(at), Loss::Random(at + 1)] {
            judge(&disk.crashed(count, loss), &options, &history, answered)
                .unwrap_or_else(|broken| panic!("{stopped:?} at {at}, {loss:?}: {broken}"));
        }
    }
    judge(&disk, &options, &history, answered)
        .unwrap_or_else(|broken| panic!("{stopped:?} at {at}: {broken}"));
    stopped.is_some()
}

fn operations(durability: Durability) -> u64 {
    let disk = SimDisk::default();
    run(&disk, &options(durability, Switches::default()), &workload()).unwrap();
    disk.operations()
}

fn fail_each(durability: Durability, fault: impl Fn() -> Fault) {
    let operations = operations(durability);
    for at in 0..operations {
        // Nothing is done on a best-effort basis: every failure stops the run.
        assert!(try_fault(durability, at, fault()), "the fault in operation {at} went unnoticed");
    }
    println!("{operations} operations");
}

#[test]
fn an_input_output_error_anywhere_loses_nothing() {
    fail_each(Durability::Power, || Fault::Errno(Errno::IO));
    fail_each(Durability::Process, || Fault::Errno(Errno::IO));
}

#[test]
fn a_full_disk_loses_nothing() {
    fail_each(Durability::Power, || Fault::Errno(Errno::NOSPC));
}

#[test]
fn a_write_cut_short_loses_nothing() {
    fail_each(Durability::Power, || Fault::Short);
    fail_each(Durability::Process, || Fault::Short);
}

#[test]
fn a_permission_taken_away_loses_nothing() {
    fail_each(Durability::Power, || Fault::Errno(Errno::ACCESS));
}
