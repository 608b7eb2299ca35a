//! Safety from others: who may write, where links lead, what names become, and what bytes of
//! hostile files may cost.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use common::{Doctor, file, fingerprint, open};
use persistent_actor::{ActorState, OpenError};

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o777
}

#[test]
fn a_state_is_private_whatever_the_umask() {
    let doctor = Doctor::new();
    doctor.example("state");
    let binary = env!("CARGO_BIN_EXE_actor-state");
    let script = format!("umask 0; {binary} fork state fork && {binary} export state export");
    let mut shell = std::process::Command::new("sh");
    let status = shell.args(["-c", &script]).current_dir(doctor.tmp.path()).output().unwrap();
    assert!(status.status.success());
    assert_eq!(mode(&doctor.path("export")), 0o600);
    for state in ["state", "fork"] {
        let path = doctor.path(state);
        assert_eq!(mode(&path), 0o700);
        for name in common::file_names(&path) {
            assert_eq!(mode(&path.join(&name)), 0o600, "{name}");
        }
    }
}

#[test]
fn a_state_directory_that_others_can_write_to_is_refused() {
    let doctor = Doctor::new();
    doctor.example("state");
    let path = doctor.path("state");
    for bits in [0o720, 0o702, 0o777] {
        set_mode(&path, bits);
        let before = fingerprint(doctor.tmp.path());
        let error = ActorState::open(&path).err().unwrap();
        assert!(matches!(error, OpenError::NotPrivate { .. }), "{bits:o}: {error}");
        for args in [&["show", "state"][..], &["compact", "state"], &["delete", "state", "--yes"]] {
            let complaint = doctor.complaint(2, args);
            let expected = format!(
                "error: state is not private (its mode is {bits:04o}: its group or others can \
                 write to it); allow access to its owner only\n"
            );
            assert_eq!(complaint, expected, "{args:?}");
        }
        assert!(fingerprint(doctor.tmp.path()) == before);
    }
    set_mode(&path, 0o750);
    doctor.ok(&["show", "state"]);
}

#[test]
fn symbolic_links_are_not_followed() {
    let doctor = Doctor::new();
    doctor.example("state");
    symlink("state", doctor.path("link")).unwrap();
    assert!(matches!(ActorState::open(doctor.path("link")), Err(OpenError::Unreadable { .. })));
    assert_eq!(
        doctor.complaint(2, &["show", "link"]),
        "error: link is a symbolic link, which is not followed; expected the path that it leads \
         to\n"
    );
    for prefix in ["identity", "journal-", "slot-"] {
        doctor.example("victim");
        let path = file(&doctor.path("victim"), prefix);
        // Even to the very file that was there.
        let elsewhere = doctor.path("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        symlink(&elsewhere, &path).unwrap();
        let before = fs::read(&elsewhere).unwrap();
        let error = ActorState::open(doctor.path("victim")).err().unwrap();
        assert!(matches!(error, OpenError::Unreadable { .. }), "{prefix}: {error}");
        let complaint = doctor.complaint(2, &["show", "victim"]);
        assert!(complaint.contains(prefix) && complaint.contains("symbolic link"), "{complaint}");
        assert!(fs::read(&elsewhere).unwrap() == before);
        fs::remove_dir_all(doctor.path("victim")).unwrap();
        fs::remove_file(&elsewhere).unwrap();
    }
}

#[test]
fn a_pipe_in_the_place_of_a_file_does_not_hang_anybody() {
    let doctor = Doctor::new();
    doctor.example("state");
    let path = doctor.path("state/identity");
    fs::remove_file(&path).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let complaint = doctor.complaint(2, &["show", "state"]);
    assert!(complaint.contains("it is not a regular file"), "{complaint}");
}

#[test]
fn a_name_never_leads_out_of_the_root() {
    let doctor = Doctor::new();
    doctor.example("secret");
    doctor.example("root/one");
    for name in ["../secret", "/etc", "..", ".", "a/b", "one/../../secret", "x\u{1b}[2J"] {
        let complaint = doctor.complaint(2, &["show", "--root", "root", name]);
        assert!(complaint.starts_with("error: no state at root/"), "{name}: {complaint}");
        assert!(!complaint.contains('\u{1b}'), "{complaint:?}");
    }
    let long = "/".repeat(67);
    let complaint = doctor.complaint(2, &["show", "--root", "root", &long]);
    assert!(complaint.ends_with("this one takes 201\n"), "{complaint}");
}

#[test]
fn names_and_texts_never_reach_a_terminal_as_commands() {
    let doctor = Doctor::new();
    let mut state = open(&doctor.path("state"));
    state.set("evil\u{1b}]0;title\u{7}", &"\u{1b}[2Jgone\u{202e}").unwrap();
    drop(state);
    doctor.example("other");
    for args in [
        &["show", "state"][..],
        &["get", "state", "evil\u{1b}]0;title\u{7}"],
        &["diff", "state", "other"],
        &["get", "state", "x"],
        &["get", "state", "y\u{1b}"],
    ] {
        let output = doctor.run(args);
        let text = common::stdout(&output) + &common::stderr(&output);
        let bad = text.chars().find(|c| c.is_control() && *c != '\n' || *c == '\u{202e}');
        assert_eq!(bad, None, "{args:?}: {text:?}");
    }
}

#[test]
fn a_file_that_promises_more_than_it_holds_costs_no_memory() {
    let doctor = Doctor::new();
    // A well-formed head of a byte string of 2^60 bytes, where a value is expected.
    let mut export = b"PAexport\x01\0\0\0\0\0\0\0".to_vec();
    export.extend_from_slice(&[0x5b, 0x10, 0, 0, 0, 0, 0, 0, 0]);
    let check = xxhash_rust::xxh3::xxh3_64(&export);
    export.extend_from_slice(&check.to_le_bytes());
    fs::write(doctor.path("file"), export).unwrap();
    let complaint = doctor.complaint(2, &["import", "file", "new"]);
    assert!(complaint.contains("1152921504606846976 bytes announced, 0 are left"), "{complaint}");

    // An attribute of a million levels, and one of arrays that announce 2^64 - 1 items.
    let mut state = open(&doctor.path("state"));
    let deep = persistent_actor::Encoded { inline: vec![0x81; 1 << 20], blobs: Vec::new() };
    let wide =
        persistent_actor::Encoded { inline: [&[0x9b][..], &[255; 8]].concat(), blobs: Vec::new() };
    state.update([("deep", deep), ("wide", wide)]).unwrap();
    drop(state);
    for attribute in ["deep", "wide"] {
        let complaint = doctor.complaint(1, &["get", "state", attribute]);
        assert!(complaint.contains("not readable as CBOR"), "{complaint}");
    }
}
