//! What users type, and what they are told.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::{Doctor, assert_expected, stderr, stdout};

const COMMANDS: &[&str] = &[
    "list", "show", "get", "diff", "verify", "repair", "export", "import", "fork", "compact",
    "calls", "retry", "drop", "outcome", "delete",
];

#[test]
fn the_help_is_as_expected() {
    let doctor = Doctor::new();
    let mut text = String::new();
    let top = [vec!["--help"], vec!["-h"]];
    let commands = COMMANDS.iter().map(|command| vec![*command, "--help"]);
    for args in top.into_iter().chain(commands) {
        text += &format!("$ actor-state {}\n{}\n", args.join(" "), doctor.ok(&args));
    }
    assert_expected("help.txt", &text);
}

#[test]
fn the_version_is_that_of_the_package() {
    let version = Doctor::new().ok(&["--version"]);
    assert_eq!(version, format!("actor-state {}\n", env!("CARGO_PKG_VERSION")));
}

/// Everything that is wrong with arguments and files, with its whole message.
const BAD_INPUT: &[&[&str]] = &[
    &[],
    &["examine", "state"],
    &["d", "state"],
    &["show"],
    &["show", "missing"],
    &["show", "a-file"],
    &["show", "foreign"],
    &["show", "open-to-all"],
    &["show", "a-link"],
    &["show", "--root", ".", ""],
    &["show", "--root", ".", "../state"],
    &["get", "state"],
    &["get", "state", "nonsense"],
    &["get", "state", "blob", "--raw", "--json"],
    &["diff", "state"],
    &["diff", "state", "missing"],
    &["list", "missing"],
    &["list", "a-file"],
    &["verify", "missing"],
    &["repair", "missing"],
    &["export", "state", "a-file"],
    &["export", "state", "missing/file"],
    &["export", "missing", "file"],
    &["import", "missing", "new"],
    &["import", "a-file", "new"],
    &["import", "a-file", "state"],
    &["fork", "state", "state"],
    &["fork", "state", "missing/new"],
    &["fork", "state", ".."],
    &["fork", "missing", "new"],
    &["compact", "missing"],
    &["calls", "missing"],
    &["outcome", "state", "7"],
    &["outcome", "state", "xyz:1"],
    &["delete", "missing"],
    &["delete", "state"],
    &["delete", "foreign", "--yes"],
    &["delete", "empty", "--yes"],
];

#[test]
fn every_bad_input_is_named_with_what_would_be_accepted() {
    let doctor = Doctor::new();
    doctor.example("state");
    fs::write(doctor.path("a-file"), "not an export\n").unwrap();
    for directory in ["foreign", "empty", "open-to-all"] {
        fs::create_dir(doctor.path(directory)).unwrap();
    }
    fs::write(doctor.path("foreign/notes.txt"), "keep me\n").unwrap();
    fs::set_permissions(doctor.path("open-to-all"), fs::Permissions::from_mode(0o777)).unwrap();
    std::os::unix::fs::symlink("state", doctor.path("a-link")).unwrap();
    let before = common::fingerprint(doctor.tmp.path());
    let mut text = String::new();
    for args in BAD_INPUT {
        let output = doctor.run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
        let shown = args.iter().map(|arg| if arg.is_empty() { "''" } else { arg });
        let shown = shown.collect::<Vec<_>>().join(" ");
        text += &format!("$ actor-state {shown}\n{}{}\n", stdout(&output), stderr(&output));
    }
    assert_expected("bad-input.txt", &text);
    assert!(common::fingerprint(doctor.tmp.path()) == before, "nothing was touched");
}

/// Every command that prints, with arguments with which it would end with 0 or 1.
const PRINTING: &[&[&str]] = &[
    &["list", "."],
    &["show", "state"],
    &["show", "state", "--json"],
    &["get", "state", "counter"],
    &["get", "state", "blob", "--raw"],
    &["diff", "state", "same", "--json"],
    &["verify", "state"],
    &["repair", "state", "--yes"],
    &["export", "state", "-"],
    &["compact", "state"],
    &["calls", "state"],
    &["outcome", "state", "01900000000000000000000000000007:2"],
    &["outcome", "state", "01900000000000000000000000000007:99"],
];

#[test]
fn a_command_whose_output_nobody_reads_ends_quietly_with_exit_code_2() {
    let doctor = Doctor::new();
    doctor.example("state");
    doctor.ok(&["fork", "state", "same"]);
    for args in PRINTING {
        let output = doctor.run_unread(args);
        assert_eq!((output.status.code(), stderr(&output)), (Some(2), String::new()), "{args:?}");
    }
}

#[test]
fn a_repair_whose_plan_nobody_reads_changes_nothing() {
    let doctor = Doctor::new();
    doctor.example("state");
    common::flip(&doctor.path("state/identity"), 40);
    let before = common::fingerprint(doctor.tmp.path());
    for args in [&["repair", "state", "--yes"][..], &["repair", "state", "--output", "new"]] {
        let output = doctor.run_unread(args);
        assert_eq!((output.status.code(), stderr(&output)), (Some(2), String::new()), "{args:?}");
        assert!(common::fingerprint(doctor.tmp.path()) == before);
    }
}

#[test]
fn a_device_that_is_always_full_is_an_error() {
    let doctor = Doctor::new();
    doctor.example("state");
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = doctor.command(&["show", "state"]).stdout(full).output().unwrap();
    let message = "error: cannot write to standard output: No space left on device (os error 28)\n";
    assert_eq!((output.status.code(), stderr(&output)), (Some(2), message.to_owned()));
}
