//! Every operation on the disk fails in turn. No commit is answered after a failure, and what
//! was answered is there when the state is reopened.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use common::{Content, Open, Step, history, judge, options, run, workload};
use persistent_actor::store::Store;
use persistent_actor::testing::{Fault, Loss, Op, SimDisk, Switches};
use persistent_actor::{Durability, StoreError};
use rustix::io::Errno;

/// Runs the workload with a fault in operation `at` and judges what is found afterwards: by the
/// next process, and after a power loss. Says whether the run was stopped, or an opener had to make
/// room.
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
    stopped.is_some() || opener_made_room(&disk.log())
}

/// Whether an opener removed the temporary file of an older one before it had a journal.
fn opener_made_room(log: &[Op]) -> bool {
    let mut opener: Option<&str> = None;
    log.iter().any(|op| match op {
        Op::Create { name, .. } if name.starts_with("epoch-") => {
            opener = Some(&name["epoch-".len()..]);
            false
        }
        Op::Rename { to, .. } if to.starts_with("journal-") => {
            opener = None;
            false
        }
        Op::Remove { name } => match (opener, name.strip_prefix("temporary-")) {
            (Some(epoch), Some(rest)) => !rest.starts_with(epoch),
            _ => false,
        },
        _ => false,
    })
}

fn operations(durability: Durability) -> u64 {
    let disk = SimDisk::default();
    run(&disk, &options(durability, Switches::default()), &workload()).unwrap();
    disk.operations()
}

fn fail_each(durability: Durability, fault: impl Fn() -> Fault) {
    let operations = operations(durability);
    for at in 0..operations {
        // Nothing is done on a best-effort basis: every failure stops the run, unless an opener
        // can do something about it.
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

/// The names of the temporary files.
fn temporaries(disk: &SimDisk) -> Vec<String> {
    let names = disk.files().into_iter().map(|(name, _)| name);
    names.filter(|name| name.starts_with("temporary-")).collect()
}

/// A disk with a state that a writer has left; with a spare, if that is asked.
fn left_by_a_writer(with_spare: bool) -> (SimDisk, Open) {
    let disk = SimDisk::default();
    let mut open = Open::on(&disk, &options(Durability::Power, Switches::default())).unwrap();
    open.commit(&Step::Call(vec![(1, Content::Text(900))])).unwrap();
    while with_spare && temporaries(&disk).is_empty() {
        open.commit(&Step::Call(vec![(0, Content::Number(1))])).unwrap();
        open.store.maintain(&mut open.view).unwrap();
    }
    (disk, open)
}

/// How many operations an opening takes.
fn operations_to_open(with_spare: bool) -> u64 {
    let (disk, writer) = left_by_a_writer(with_spare);
    drop(writer);
    let before = disk.operations();
    Open::on(&disk, &options(Durability::Power, Switches::default())).unwrap();
    disk.operations() - before
}

#[test]
fn openings_that_fail_take_no_room() {
    let options = options(Durability::Power, Switches::default());
    for at in 0..operations_to_open(false) {
        for fault in [|| Fault::Short, || Fault::Errno(Errno::IO), || Fault::Errno(Errno::DQUOT)] {
            let (disk, writer) = left_by_a_writer(false);
            let view = writer.view.clone();
            for _ in 0..3 {
                disk.plan(disk.operations() + at, fault());
                assert!(Open::on(&disk, &options).is_err(), "there was room to be made at {at}");
                assert_eq!(temporaries(&disk), [""; 0], "after a fault in operation {at}");
            }
            assert_eq!(Open::on(&disk, &options).unwrap().view, view);
        }
    }
}

/// A dead writer's spare is removed when the room is needed, and the opening goes on.
#[test]
fn an_opener_makes_room_on_a_full_disk() {
    let options = options(Durability::Power, Switches::default());
    for fault in [|| Fault::Short, || Fault::Errno(Errno::NOSPC), || Fault::Errno(Errno::DQUOT)] {
        let mut opened = 0;
        for at in 0..operations_to_open(true) {
            let (disk, writer) = left_by_a_writer(true);
            let view = writer.view.clone();
            drop(writer);
            disk.plan(disk.operations() + at, fault());
            match Open::on(&disk, &options) {
                Ok(open) => {
                    opened += 1;
                    assert_eq!(open.view, view, "at {at}");
                    assert_eq!(temporaries(&disk), [""; 0], "at {at}");
                }
                // What is reported is why.
                Err(error) => {
                    let is_full =
                        |reason: &str| reason.contains("space") || reason.contains("uota");
                    assert!(is_full(&format!("{error:?}")), "at {at}: {error:?}");
                }
            }
            let count = disk.log().len();
            for loss in [Loss::Nothing, Loss::Unsynced, Loss::Random(at)] {
                let found = Open::on(&disk.crashed(count, loss), &options).unwrap();
                assert_eq!(found.view, view, "at {at}, {loss:?}");
            }
        }
        assert_eq!(opened, 4, "creation, write, sync and rename of the journal are tried again");
    }
}

/// Other failures are not mended so, and a spare is in nobody's way then.
#[test]
fn an_opener_removes_no_spare_without_need() {
    let options = options(Durability::Power, Switches::default());
    for at in 0..operations_to_open(true) {
        let (disk, writer) = left_by_a_writer(true);
        drop(writer);
        disk.plan(disk.operations() + at, Fault::Errno(Errno::IO));
        assert!(Open::on(&disk, &options).is_err(), "at {at}");
        assert!(!opener_made_room(&disk.log()), "at {at}");
    }
}

/// An opener that was overtaken removes nothing, however full the disk.
#[test]
fn an_opener_that_was_overtaken_makes_no_room() {
    let options = options(Durability::Power, Switches::default());
    let mut tried = 0;
    for at in 0..operations_to_open(true) {
        let (disk, writer) = left_by_a_writer(true);
        drop(writer);
        let (on, with) = (disk.clone(), options.clone());
        let come = move || {
            let mut newer = Open::on(&on, &with).unwrap();
            newer.commit(&Step::Call(vec![(0, Content::Number(7))])).unwrap();
            on.mark(1);
            on.plan(on.operations(), Fault::Short);
        };
        disk.plan(disk.operations() + at, Fault::Before(Box::new(come)));
        let _ = Open::on(&disk, &options);
        let log = disk.log();
        let since = log.iter().position(|op| *op == Op::Mark(1)).unwrap();
        let claims = |op: &Op| matches!(op, Op::Create { name, .. } if name.starts_with("epoch-"));
        // One that comes back after the newer one, and claims the state then, may.
        if log[since..].iter().any(claims) {
            continue;
        }
        tried += 1;
        let removes = |op: &Op| matches!(op, Op::Remove { name } if name.starts_with("temporary-"));
        assert!(!log[since..].iter().any(removes), "at {at}: {:?}", &log[since..]);
    }
    assert!(tried > 5, "{tried}");
}

/// A writer that lives, and whose spare an opener has removed to make room, says that it is fenced.
#[test]
fn a_writer_whose_spare_made_room_is_fenced() {
    let options = options(Durability::Power, Switches::default());
    let mut made_room = 0;
    for at in 0..40 {
        for within in 0..operations_to_open(true) + 2 {
            let (disk, mut writer) = left_by_a_writer(true);
            let (on, with) = (disk.clone(), options.clone());
            let come = move || {
                on.mark(1);
                on.plan(on.operations() + within, Fault::Short);
                let _ = Open::on(&on, &with);
                on.plan(u64::MAX, Fault::Short);
                on.mark(2);
            };
            disk.plan(disk.operations() + at, Fault::Before(Box::new(come)));
            let stopped = (0..20).find_map(|_| {
                let committed = writer.commit(&Step::Call(vec![(1, Content::Text(700))]));
                committed.and_then(|()| writer.store.maintain(&mut writer.view)).err()
            });
            let log = disk.log();
            let place = |mark| log.iter().position(|op| *op == Op::Mark(mark));
            let (Some(from), Some(to)) = (place(1), place(2)) else { continue };
            if opener_made_room(&log[from..to]) {
                made_room += 1;
                assert!(matches!(stopped, Some(StoreError::Fenced { .. })), "{at}: {stopped:?}");
            }
        }
    }
    assert!(made_room > 50, "{made_room}");
}

#[test]
fn claims_that_cannot_be_written_are_not_left() {
    let options = options(Durability::Power, Switches::default());
    let (disk, writer) = left_by_a_writer(false);
    drop(writer);
    let claims =
        |disk: &SimDisk| disk.files().iter().filter(|(name, _)| name.starts_with("epoch-")).count();
    let before = claims(&disk);
    let failed = (0..operations_to_open(false)).filter(|at| {
        let disk = disk.crashed(disk.log().len(), Loss::Nothing);
        disk.plan(disk.operations() + at, Fault::Errno(Errno::NOSPC));
        let claimed = disk.log().len();
        let failed = Open::on(&disk, &options).is_err();
        let made_journal = disk.log()[claimed..].iter().any(|op| matches!(op, Op::Write { .. }));
        if failed && !made_journal {
            assert_eq!(claims(&disk), before, "after operation {at}");
        }
        failed && !made_journal
    });
    assert!(failed.count() > 1);
}
