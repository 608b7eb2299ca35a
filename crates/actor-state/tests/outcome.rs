//! `outcome` answers what a power loss does not take back: it syncs what it has read.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use common::{Doctor, blob, fingerprint, id, open, release, stderr, stdout};
use persistent_actor::CallId;
use persistent_actor::ledger::MAX_FOREIGN_EXPIRED;
use persistent_actor::store::{self, View};
use rustix::io::Errno;

/// `outcome` of a call of a state, where every `fdatasync` fails with this error.
fn outcome(doctor: &Doctor, error: Errno, state: &str, number: u64) -> Output {
    let helper = doctor.path("without_sync");
    if !helper.exists() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/without_sync.c");
        let built = Command::new("cc").arg(source).arg("-o").arg(&helper).output().unwrap();
        assert!(built.status.success(), "{}", stderr(&built));
    }
    let (error, binary) = (error.raw_os_error().to_string(), env!("CARGO_BIN_EXE_actor-state"));
    let mut command = Command::new(&helper);
    command.args([&error, binary, "outcome", state, &id(number).to_string()]);
    command.current_dir(doctor.tmp.path()).output().unwrap()
}

#[test]
fn what_cannot_be_made_durable_is_not_said_to_be_committed() {
    let doctor = Doctor::new();
    doctor.example("state");
    let file = doctor.path("file");
    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    common::call(&mut open(&file), 2, 12, &blob(1));
    for (state, journal) in [("state", "state/journal-"), ("file", "file/journal-")] {
        let before = fingerprint(&doctor.path("state"));
        let output = outcome(&doctor, Errno::IO, state, 2);
        assert_eq!((output.status.code(), stdout(&output)), (Some(2), String::new()));
        let complaint = stderr(&output);
        assert!(complaint.starts_with(&format!("error: cannot sync {journal}")), "{complaint}");
        assert!(fingerprint(&doctor.path("state")) == before);
        let call = id(2).to_string();
        assert!(doctor.ok(&["outcome", state, &call]).starts_with("committed\n"));
    }
}

#[test]
fn a_state_that_may_be_read_and_not_written_has_outcomes() {
    let doctor = Doctor::new();
    doctor.example("state");
    release(&doctor.path("state"));
    // A file system that is only for reading may know no sync.
    let output = outcome(&doctor, Errno::INVAL, "state", 2);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
    assert!(stdout(&output).starts_with("committed\n"));
    for name in common::file_names(&doctor.path("state")) {
        let path = doctor.path("state").join(name);
        fs::set_permissions(path, fs::Permissions::from_mode(0o400)).unwrap();
    }
    fs::set_permissions(doctor.path("state"), fs::Permissions::from_mode(0o500)).unwrap();
    let before = fingerprint(&doctor.path("state"));
    let found = doctor.ok(&["outcome", "state", &id(2).to_string()]);
    assert!(found.starts_with("committed\n"), "{found}");
    assert!(fingerprint(&doctor.path("state")) == before);
    fs::set_permissions(doctor.path("state"), fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_call_whose_id_may_have_been_forgotten_is_not_said_to_be_uncommitted() {
    let doctor = Doctor::new();
    let mut view = View::default();
    let foreign = |n: usize| {
        let mut id = [0; 10];
        id[..8].copy_from_slice(&n.to_be_bytes());
        CallId::foreign(id)
    };
    for n in 1..=MAX_FOREIGN_EXPIRED {
        if n == MAX_FOREIGN_EXPIRED {
            store::create(&doctor.path("fewer"), &view, 0, None).unwrap();
        }
        view.ledger.raise_floor(foreign(n).session, 1);
    }
    store::create(&doctor.path("as-many"), &view, 0, None).unwrap();
    let unknown = foreign(0).to_string();
    for (state, code, text) in [("fewer", 1, "not committed\n"), ("as-many", 3, "forgotten\n")] {
        let output = doctor.run(&["outcome", state, &unknown]);
        assert_eq!((output.status.code(), stdout(&output)), (Some(code), text.to_owned()));
    }
}
