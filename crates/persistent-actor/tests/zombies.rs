//! A successor opens the state at any moment of a writer's work; the writer goes on afterwards.
//! What either of them answered is never lost, and what the writer does late changes nothing.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use std::sync::{Arc, Mutex};

use common::{Content, Guard, Open, Step, in_place, options, reusing_workload, workload};
use persistent_actor::store::{Store, View};
use persistent_actor::testing::{Fault, SimDisk, Switches};
use persistent_actor::{Durability, OpenError, Options, StoreError};

/// What another store found, and what it left.
#[derive(Default)]
struct Other {
    epoch: u64,
    found: View,
    left: Option<View>,
}

/// A writer works through the workload; at its operation `at` another store opens the state and
/// commits, too. Says whether it came to that.
fn try_at(at: u64, switches: Switches) -> Result<bool, String> {
    let disk = SimDisk::default();
    let options = options(Durability::Process, switches);
    try_on(at, &disk, &options, options.clone(), workload())
}

/// The same with a writer that builds its arrays in slots: the other comes while it is building
/// one, too.
fn try_in_place_at(at: u64, switches: Switches) -> Result<bool, String> {
    let disk = SimDisk::default();
    let plain = options(Durability::Process, switches);
    let (options, _slots) = in_place(&disk, &plain);
    try_on(at, &disk, &options, plain, reusing_workload())
}

fn try_on(
    at: u64,
    disk: &SimDisk,
    options: &Options,
    others: Options,
    steps: Vec<Step>,
) -> Result<bool, String> {
    let other = Arc::new(Mutex::new(Other::default()));
    let (shared, on, with) = (other.clone(), disk.clone(), others.clone());
    let come = move || {
        let mut open = Open::on(&on, &with).unwrap();
        let found = open.view.clone();
        for step in others_work() {
            open.commit(&step).unwrap();
        }
        *shared.lock().unwrap() = Other { epoch: open.store.epoch(), found, left: Some(open.view) };
    };
    disk.plan(at, Fault::Before(Box::new(|| Guard::without(come))));
    let expected = work(disk, options, &other, steps)?;
    if other.lock().unwrap().left.is_none() {
        return Ok(false);
    }
    let again = Open::on(disk, &others).map_err(|error| format!("afterwards: {error}"))?;
    if again.view != expected {
        let (found, expected) = (again.view.sequence, expected.sequence);
        return Err(format!("the state is that of commit {found} instead of {expected}"));
    }
    Ok(true)
}

/// Whoever is superseded says so, whatever it was doing: that files which its successor does not
/// need went away is no failure of the disk.
fn is_fenced(error: &StoreError) -> Result<(), String> {
    match error {
        StoreError::Fenced { .. } => Ok(()),
        other => Err(format!("it is fenced, but says: {other}")),
    }
}

/// The writer's work. Gives the state that must be found in the end: what the newest of the two
/// has answered.
fn work(
    disk: &SimDisk,
    options: &Options,
    other: &Mutex<Other>,
    steps: Vec<Step>,
) -> Result<View, String> {
    let mut answered = View::default();
    let mut open: Option<Open> = None;
    for step in steps {
        let had_come = other.lock().unwrap().left.is_some();
        if matches!(step, Step::Reopen) {
            // Once the other has come, opening again would make this one the newest.
            if !had_come {
                open = None;
            }
            continue;
        }
        if open.is_none() {
            match Open::on(disk, options) {
                Ok(opened) => {
                    let other = other.lock().unwrap();
                    if let Some(left) =
                        other.left.as_ref().filter(|_| opened.store.epoch() > other.epoch)
                        && opened.view != *left
                    {
                        return Err("a newer store did not find what was answered".to_owned());
                    }
                    answered = opened.view.clone();
                    open = Some(opened);
                }
                Err(error) => return superseded(&answered, other, &error.to_string()),
            }
        }
        let Some(current) = &mut open else { unreachable!() };
        let committed = current.commit(&step);
        let epoch = current.store.epoch();
        let is_older = || epoch < other.lock().unwrap().epoch;
        match committed {
            Ok(()) if had_come && is_older() => {
                return Err(format!("{step:?} was answered although a successor had come"));
            }
            Ok(()) => answered = current.view.clone(),
            Err(error) => {
                let next = current.commit(&step).unwrap_err();
                assert!(matches!(next, StoreError::Poisoned { .. }), "{next}");
                is_fenced(&error)?;
                return superseded(&answered, other, &error.to_string());
            }
        }
        if let Err(error) = current.store.maintain(&mut current.view) {
            is_fenced(&error)?;
            return superseded(&answered, other, &error.to_string());
        }
    }
    let other = other.lock().unwrap();
    match (&other.left, open) {
        // The writer answered its last commit, and only then was superseded.
        (Some(left), Some(open)) if open.store.epoch() < other.epoch => {
            check_found(&answered, &other)?;
            Ok(left.clone())
        }
        _ => Ok(answered),
    }
}

/// The writer has stopped: that is right only if the other is newer, and has found everything
/// that the writer answered.
fn superseded(answered: &View, other: &Mutex<Other>, reason: &str) -> Result<View, String> {
    let other = other.lock().unwrap();
    let Some(left) = &other.left else { return Err(format!("stopped for nothing: {reason}")) };
    check_found(answered, &other)?;
    Ok(left.clone())
}

fn check_found(answered: &View, other: &Other) -> Result<(), String> {
    let (answered, found) = (answered, &other.found);
    if found.sequence < answered.sequence
        || (found.sequence == answered.sequence && found != answered)
    {
        let (answered, found) = (answered.sequence, found.sequence);
        return Err(format!("commit {answered} was answered, the successor found {found}"));
    }
    Ok(())
}

fn others_work() -> Vec<Step> {
    vec![
        Step::Call(vec![(0, Content::Number(1000))]),
        Step::Call(vec![(2, Content::Touched(1)), (1, Content::Text(2000))]),
        Step::Call(vec![(1, Content::Text(1000))]),
    ]
}

#[test]
fn a_successor_at_any_operation_fences_the_writer_and_loses_nothing() {
    let mut at = 0;
    while try_at(at, Switches::default()).unwrap_or_else(|broken| panic!("at {at}: {broken}")) {
        at += 1;
    }
    assert!(at > 100, "only {at} moments were tried");
    println!("{at} moments");
}

#[test]
fn a_writer_that_is_superseded_while_it_builds_an_array_in_a_slot_harms_nothing() {
    let mut at = 0;
    while try_in_place_at(at, Switches::default()).unwrap_or_else(|e| panic!("at {at}: {e}")) {
        at += 1;
    }
    assert!(at > 100, "only {at} moments were tried");
    println!("{at} moments");
}

#[test]
fn without_fencing_the_same_moments_find_the_violation() {
    let switches = Switches { fencing: false, ..Switches::default() };
    let broken = (0..500).find_map(|at| match try_at(at, switches) {
        Ok(true) => None,
        Ok(false) => panic!("no violation at {at} moments"),
        Err(broken) => Some(broken),
    });
    println!("found: {}", broken.unwrap());
}

/// The other way round: a writer commits at any operation of its successor's opening.
#[test]
fn what_a_writer_answers_while_its_successor_opens_is_found() {
    let mut answered_late = 0;
    let mut at = 0;
    loop {
        let disk = SimDisk::default();
        let options = options(Durability::Process, Switches::default());
        let mut writer = Open::on(&disk, &options).unwrap();
        for step in &workload()[..6] {
            writer.commit(step).unwrap();
        }
        let writer = Arc::new(Mutex::new(writer));
        let (shared, answered) = (writer.clone(), Arc::new(Mutex::new(None)));
        let outcome = answered.clone();
        let commit = move || {
            let mut writer = shared.lock().unwrap();
            let committed = others_work().iter().try_for_each(|step| writer.commit(step));
            *outcome.lock().unwrap() = Some((writer.view.clone(), committed.is_ok()));
        };
        disk.plan(disk.operations() + at, Fault::Before(Box::new(commit)));
        let opened = Open::on(&disk, &options).unwrap();
        let Some((view, all)) = answered.lock().unwrap().take() else { break };
        let found = opened.view.sequence;
        assert!(found >= view.sequence, "at {at}: {} answered, {found} found", view.sequence);
        assert!(found > view.sequence || opened.view == view, "at {at}: not what was answered");
        drop(opened);
        let again = Open::on(&disk, &options).unwrap().view;
        assert!(again.sequence == found, "at {at}: {found} was found first, then {again:?}");
        answered_late += u64::from(all);
        at += 1;
    }
    assert!(answered_late > 0 && at > answered_late, "{answered_late} of {at}");
    println!("{at} moments, in {answered_late} of them all was answered");
}

/// That its files went away meanwhile is no failure of the disk.
#[test]
fn an_opener_that_is_overtaken_at_any_moment_learns_that_it_is_fenced_or_opens_later() {
    let process = options(Durability::Process, Switches::default());
    let power = options(Durability::Power, Switches::default());
    let mut fenced = 0;
    for (left_at, opened_at) in [(&process, &process), (&process, &power), (&power, &power)] {
        let mut at = 0;
        while let Some(is_fenced) = overtaken_at(at, left_at, opened_at) {
            (at, fenced) = (at + 1, fenced + u64::from(is_fenced));
        }
    }
    println!("{fenced} times fenced");
    assert!(fenced > 10, "{fenced}");
}

/// A state is opened that was left at a level, and another opens it at this operation. Says whether
/// the first was fenced; `None` if it was done before.
fn overtaken_at(at: u64, left_at: &Options, opened_at: &Options) -> Option<bool> {
    let disk = SimDisk::default();
    let mut left = Open::on(&disk, left_at).unwrap();
    workload().iter().for_each(|step| left.commit(step).unwrap());
    drop(left);
    let came = Arc::new(Mutex::new(false));
    let (on, with, comes) = (disk.clone(), opened_at.clone(), came.clone());
    let take_over = move || {
        let mut newer = Open::on(&on, &with).unwrap();
        newer.store.maintain(&mut newer.view).unwrap();
        others_work().iter().for_each(|step| newer.commit(step).unwrap());
        *comes.lock().unwrap() = true;
    };
    disk.plan(disk.operations() + at, Fault::Before(Box::new(|| Guard::without(take_over))));
    let is_fenced = match Open::on(&disk, opened_at) {
        Ok(_) => false,
        Err(OpenError::Store(StoreError::Fenced { .. })) => true,
        Err(error) => panic!("at {at}, {left_at:?}, {opened_at:?}: {error}"),
    };
    let came = *came.lock().unwrap();
    came.then_some(is_fenced)
}

#[test]
fn many_openers_leave_one_writer() {
    let disk = SimDisk::default();
    let options = options(Durability::Process, Switches::default());
    let mut openers: Vec<Open> = (0..5).map(|_| Open::on(&disk, &options).unwrap()).collect();
    let mut newest = openers.pop().unwrap();
    newest.commit(&Step::Call(vec![(0, Content::Number(1))])).unwrap();
    for opener in &mut openers {
        let error = opener.commit(&Step::Call(vec![(0, Content::Number(2))])).unwrap_err();
        assert!(matches!(error, StoreError::Fenced { .. }), "{error}");
    }
    newest.commit(&Step::Call(vec![(0, Content::Number(3))])).unwrap();
    drop(openers);
    assert_eq!(Open::on(&disk, &options).unwrap().view, newest.view);
}
