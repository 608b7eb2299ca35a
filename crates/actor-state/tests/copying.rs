//! Export, import, fork, compact, delete.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use common::{BIGNUM, Doctor, blob, fingerprint, id, open, release, stderr};
use persistent_actor::{Admission, Bytes, Integer};

#[test]
fn an_export_comes_back_with_its_calls_under_a_new_id() {
    let doctor = Doctor::new();
    doctor.example("state");
    doctor.ok(&["export", "state", "file"]);
    assert_eq!(fs::metadata(doctor.path("file")).unwrap().permissions().mode() & 0o777, 0o600);
    doctor.ok(&["import", "file", "copy"]);
    assert_eq!(fs::metadata(doctor.path("copy")).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(doctor.ok(&["diff", "state", "copy"]), "");
    doctor.ok(&["verify", "copy"]);
    let read = |name: &str| persistent_actor::store::inspect(&doctor.path(name)).unwrap();
    let (old, new) = (read("state"), read("copy"));
    assert!(old.view == new.view, "attributes, calls and sequence number");
    assert_ne!(old.state_id, new.state_id, "files of the two cannot be mixed up");
    assert!(new.epoch > old.epoch);
    let state = open(&doctor.path("copy"));
    assert_eq!(state.get("blob").unwrap(), Some(blob(4)), "1 MiB");
    assert_eq!(state.get("big").unwrap(), Some(BIGNUM.parse::<Integer>().unwrap()));
    assert!(matches!(state.admit(id(2), 7), Admission::Replay(_)), "answered, not run again");
}

#[test]
fn an_export_travels_through_a_pipe() {
    let doctor = Doctor::new();
    doctor.example("state");
    let mut export = doctor.command(&["export", "state", "-"]);
    let mut export = export.stdout(Stdio::piped()).spawn().unwrap();
    let mut import = doctor.command(&["import", "-", "copy"]);
    let output = import.stdin(export.stdout.take().unwrap()).output().unwrap();
    assert!(export.wait().unwrap().success() && output.status.success(), "{}", stderr(&output));
    assert_eq!(doctor.ok(&["diff", "state", "copy"]), "");
}

#[test]
fn a_damaged_export_is_refused_and_makes_nothing() {
    let doctor = Doctor::new();
    doctor.example("state");
    doctor.ok(&["export", "state", "file"]);
    let size = fs::metadata(doctor.path("file")).unwrap().len();
    common::flip(&doctor.path("file"), 1000);
    let complaint = doctor.complaint(2, &["import", "file", "copy"]);
    assert_eq!(
        complaint,
        format!(
            "error: file cannot be imported: its checksum is wrong: some of its {size} bytes are \
             not those that were written, or it is cut off\n"
        )
    );
    assert_eq!(common::file_names(doctor.tmp.path()), ["file", "state"]);
}

#[test]
fn an_export_or_import_never_overwrites() {
    let doctor = Doctor::new();
    doctor.example("one");
    doctor.example("two");
    doctor.ok(&["export", "one", "file"]);
    let before = fingerprint(doctor.tmp.path());
    doctor.complaint(2, &["export", "two", "file"]);
    doctor.complaint(2, &["import", "file", "two"]);
    doctor.complaint(2, &["fork", "one", "two"]);
    assert!(fingerprint(doctor.tmp.path()) == before);
}

#[test]
fn a_fork_is_a_different_actor_that_answers_no_call_of_the_other() {
    let doctor = Doctor::new();
    doctor.example("root/counter");
    doctor.ok(&["fork", "--root", "root", "counter", "counter/2"]);
    let path = doctor.path("root/counter%2F2");
    let (old, new) = (doctor.path("root/counter"), &path);
    let ids = [&old, new].map(|path| persistent_actor::store::inspect(path).unwrap().state_id);
    assert_ne!(ids[0], ids[1]);
    assert_eq!(doctor.ok(&["diff", "--root", "root", "counter", "counter/2"]), "");
    let mut fork = open(new);
    assert!(fork.view().ledger.is_empty());
    assert_eq!(fork.admit(id(2), 7), Admission::Fresh);
    fork.set("counter", &99).unwrap();
    assert_eq!(doctor.ok(&["get", "--root", "root", "counter", "counter"]), "12\n");
}

#[test]
fn compact_gives_space_back_and_loses_nothing() {
    let doctor = Doctor::new();
    doctor.example("state");
    let before = persistent_actor::store::inspect(&doctor.path("state")).unwrap();
    let text = doctor.ok(&["compact", "state"]);
    let after = persistent_actor::store::inspect(&doctor.path("state")).unwrap();
    assert!(after.view == before.view);
    assert_eq!(after.epoch, before.epoch + 1);
    let size = |files: &[persistent_actor::store::FileInfo]| {
        files.iter().map(|file| file.size).sum::<u64>()
    };
    assert!(size(&after.files) < size(&before.files), "{text}");
    assert!(text.starts_with("state: ") && text.ends_with(", epoch 2\n"), "{text}");
}

#[test]
fn compact_refuses_a_state_in_use_unless_it_is_to_take_it_over() {
    let doctor = Doctor::new();
    let mut state = doctor.open("state");
    state.set("counter", &1).unwrap();
    let before = fingerprint(doctor.tmp.path());
    let complaint = doctor.complaint(2, &["compact", "state"]);
    let pid = std::process::id();
    assert_eq!(
        complaint,
        format!(
            "error: state is in use by process {pid}; stop it, or take the state over from it \
             with --take-over\n"
        )
    );
    assert!(fingerprint(doctor.tmp.path()) == before);
    state.set("counter", &2).unwrap();
    doctor.ok(&["compact", "state", "--take-over"]);
    let error = state.set("counter", &3).unwrap_err().to_string();
    assert!(error.contains("fenced"), "{error}");
    assert_eq!(doctor.ok(&["get", "state", "counter"]), "2\n");
}

#[test]
fn delete_removes_a_state_damaged_or_not_but_none_in_use() {
    let doctor = Doctor::new();
    doctor.example("root/one");
    doctor.example("root/two");
    doctor.ok(&["delete", "--root", "root", "one", "--yes"]);
    common::flip(&doctor.path("root/two/identity"), 40);
    doctor.ok(&["delete", "root/two", "--yes"]);
    assert_eq!(common::file_names(&doctor.path("root")), [""; 0]);

    let mut state = doctor.open("held");
    let complaint = doctor.complaint(2, &["delete", "held", "--yes"]);
    let pid = std::process::id();
    assert_eq!(complaint, format!("error: held is in use by process {pid}; stop it first\n"));
    state.set("x", &1).unwrap();
    drop(state);
    release(&doctor.path("held"));
    fs::write(doctor.path("held/notes.txt"), "mine").unwrap();
    let complaint = doctor.complaint(2, &["delete", "held", "--yes"]);
    assert_eq!(
        complaint,
        "error: held holds \"notes.txt\", which is no part of a state; move it away first\n"
    );
    assert_eq!(doctor.ok(&["get", "held", "x"]), "1\n");
}

#[test]
fn a_state_in_a_single_file_is_looked_after_like_any_other() {
    let doctor = Doctor::new();
    fs::create_dir(doctor.path("root")).unwrap();
    let path = doctor.path("root/single");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let mut state = open(&path);
    state.set("counter", &41).unwrap();
    state.set("blob", &blob(1)).unwrap();
    drop(state);
    // Its claim lies inside the file and names this process, which is alive: so no `delete` here.
    assert_eq!(doctor.ok(&["get", "root/single", "counter"]), "41\n");
    doctor.ok(&["verify", "root"]);
    assert_eq!(doctor.json(0, &["list", "root", "--json"])[0]["name"], "single");
    doctor.ok(&["fork", "root/single", "root/second"]);
    assert!(fs::metadata(doctor.path("root/second")).unwrap().is_file(), "the same kind");
    assert_eq!(doctor.ok(&["diff", "root/single", "root/second"]), "");
    doctor.ok(&["delete", "root/second", "--yes"]);
    assert_eq!(common::file_names(&doctor.path("root")), ["single"]);
    let array: Bytes = open(&path).get("blob").unwrap().unwrap();
    assert!(array == blob(1));
}
