//! Calls that the actor died of: listed, let go on, dropped.

#![allow(clippy::unwrap_used, reason = "a test may panic and tell")]

mod common;

use common::{Doctor, fingerprint, id, release};
use persistent_actor::{Attempt, CallOutcome, IntentStage, SessionId};

/// A state with a parked call (1) and one that may be tried again (2).
fn with_parked_call(doctor: &Doctor) {
    doctor.example("state");
    let mut state = doctor.open("state");
    let attempt =
        |deaths| Attempt { run: SessionId(9), deaths, limit: 3, last: "signal 6".to_owned() };
    assert!(state.note_attempt(id(101), "add", &attempt(3)).unwrap().is_some());
    assert!(state.note_attempt(id(102), "add", &attempt(1)).unwrap().is_none());
    drop(state);
    release(&doctor.path("state"));
}

fn outcome(doctor: &Doctor) -> CallOutcome {
    persistent_actor::store::outcome(&doctor.path("state"), id(101)).unwrap()
}

#[test]
fn parked_calls_are_listed_behind_those_that_were_committed() {
    let doctor = Doctor::new();
    with_parked_call(&doctor);
    let before = fingerprint(&doctor.path("state"));
    let calls = doctor.json(0, &["calls", "state", "--json"]);
    let calls = calls.as_array().unwrap();
    assert_eq!(calls.len(), 5);
    assert_eq!((&calls[3]["status"], &calls[3]["deaths"]), (&"parked".into(), &3.into()));
    assert_eq!((&calls[3]["method"], &calls[3]["last_death"]), (&"add".into(), &"signal 6".into()));
    assert_eq!((&calls[4]["status"], &calls[4]["deaths"]), (&"tried".into(), &1.into()));
    let text = doctor.ok(&["calls", "state"]);
    assert!(
        text.lines().any(|line| line.contains("parked") && line.contains("signal 6")),
        "{text}"
    );
    assert!(doctor.expect(1, &["outcome", "state", &id(101).to_string()]).contains("parked"));
    // The library's own attribute is nobody else's business.
    let shown = doctor.json(0, &["show", "state", "--json"]);
    assert_eq!(shown["attributes"].as_array().unwrap().len(), 5);
    doctor.ok(&["verify", "state"]);
    assert!(before == fingerprint(&doctor.path("state")), "reading changes nothing");
}

#[test]
fn a_retried_call_may_run_again_and_a_dropped_one_never_does() {
    for (command, left) in [("retry", None), ("drop", Some(IntentStage::Dropped))] {
        let doctor = Doctor::new();
        with_parked_call(&doctor);
        let call = id(101).to_string();
        let refused = doctor.complaint(2, &[command, "state", &call]);
        assert!(refused.contains("--yes"), "{refused}");
        doctor.ok(&[command, "state", &call, "--yes"]);
        match left {
            None => assert_eq!(outcome(&doctor), CallOutcome::NotCommitted),
            Some(_) => assert!(matches!(outcome(&doctor), CallOutcome::Parked { deaths: 3, .. })),
        }
        let state = doctor.open("state");
        assert_eq!(state.intents().get(id(101)).map(|intent| intent.stage), left);
        assert_eq!(state.get::<u64>("counter").unwrap(), Some(12), "nothing else changes");
    }
}

#[test]
fn a_call_that_is_not_parked_or_a_state_in_use_is_refused() {
    let doctor = Doctor::new();
    with_parked_call(&doctor);
    for call in [0, 102, 500] {
        let call = id(call).to_string();
        let error = doctor.complaint(2, &["retry", "state", &call, "--yes"]);
        assert!(error.contains(&call) && error.contains("is not parked"), "{error}");
    }
    let mut held = doctor.open("state");
    let call = id(101).to_string();
    let error = doctor.complaint(2, &["drop", "state", &call, "--yes"]);
    let pid = std::process::id().to_string();
    assert!(error.contains(&pid) && error.contains("--take-over"), "{error}");
    doctor.ok(&["drop", "state", &call, "--yes", "--take-over"]);
    assert!(held.set("counter", &1u64).is_err(), "fenced");
}

#[test]
fn a_fork_does_not_inherit_parked_calls_and_an_export_keeps_them() {
    let doctor = Doctor::new();
    with_parked_call(&doctor);
    doctor.ok(&["fork", "state", "fork"]);
    assert!(doctor.open("fork").intents().is_empty());
    doctor.ok(&["export", "state", "file"]);
    doctor.ok(&["import", "file", "copy"]);
    assert!(doctor.open("copy").intents().poison(id(101)).is_some());
}
