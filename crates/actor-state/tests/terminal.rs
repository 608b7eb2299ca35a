//! On a terminal: questions, colours, and what does not belong there.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::Command;

use common::{Doctor, fingerprint};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// Runs a command on a terminal on which `typed` is typed; what was shown, and the exit code.
fn on_terminal(command: &mut Command, typed: &str) -> (String, i32) {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let open = || -> OwnedFd { rustix::fs::open(name.as_c_str(), flags, Mode::empty()).unwrap() };
    let mut child = command.stdin(open()).stdout(open()).stderr(open()).spawn().unwrap();
    // So that the other end closes with the child.
    command.stdin(std::process::Stdio::null());
    command.stdout(std::process::Stdio::null());
    command.stderr(std::process::Stdio::null());
    let mut terminal = File::from(terminal);
    terminal.write_all(typed.as_bytes()).unwrap();
    let mut shown = Vec::new();
    // Ends with an error when the last holder of the other end is gone.
    let _ = terminal.read_to_end(&mut shown);
    let code = child.wait().unwrap().code().unwrap();
    (String::from_utf8_lossy(&shown).replace("\r\n", "\n"), code)
}

#[test]
fn deleting_asks_and_only_yes_means_yes() {
    let doctor = Doctor::new();
    doctor.example("state");
    let before = fingerprint(doctor.tmp.path());
    for answer in ["n\n", "\n", "yess\n"] {
        let (shown, code) = on_terminal(&mut doctor.command(&["delete", "state"]), answer);
        assert_eq!(code, 2, "{shown}");
        assert!(shown.contains("Delete state (5 attributes, "), "{shown}");
        assert!(shown.ends_with("error: nothing was done\n"), "{shown}");
        assert!(fingerprint(doctor.tmp.path()) == before);
    }
    let (shown, code) = on_terminal(&mut doctor.command(&["delete", "state"]), "y\n");
    assert_eq!(code, 0, "{shown}");
    assert!(!doctor.path("state").exists());
}

#[test]
fn large_and_binary_values_are_not_dumped_on_a_terminal_unasked() {
    let doctor = Doctor::new();
    doctor.example("state");
    for (flag, form) in [("--raw", "raw bytes"), ("--json", "JSON")] {
        let mut command = doctor.command(&["get", "state", "blob", flag]);
        let (shown, code) = on_terminal(&mut command, "");
        let expected = format!(
            "error: attribute \"blob\" has 1.0 MiB: its {form} would flood the terminal; redirect \
             the output to a file or a pipe, or give --force\n"
        );
        assert_eq!((shown, code), (expected, 2));
    }
    let (shown, _) = on_terminal(&mut doctor.command(&["get", "state", "counter", "--json"]), "");
    assert_eq!(shown, "12\n");
    let (_, code) = on_terminal(&mut doctor.command(&["export", "state", "-"]), "");
    assert_eq!(code, 2);
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let doctor = Doctor::new();
    doctor.example("root/state");
    let list = |variables: &[(&str, &str)]| {
        let mut command = doctor.command(&["list", "root"]);
        command.env("TERM", "xterm").env_remove("NO_COLOR").envs(variables.iter().copied());
        on_terminal(&mut command, "").0
    };
    assert!(list(&[]).contains("\u{1b}[32mok\u{1b}[0m"), "{}", list(&[]));
    assert!(!list(&[("NO_COLOR", "1")]).contains('\u{1b}'));
    assert!(!list(&[("TERM", "dumb")]).contains('\u{1b}'));
    assert!(!doctor.ok(&["list", "root"]).contains('\u{1b}'));
}
