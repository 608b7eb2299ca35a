//! What users type, and what they are told.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use common::{Bench, assert_expected, stderr, stdout};

#[test]
fn the_help_is_as_expected() {
    let bench = Bench::new();
    let mut text = String::new();
    for args in [
        &["--help"][..],
        &["-h"],
        &["plot", "--help"],
        &["table", "--help"],
        &["engines", "--help"],
        &["floors", "--help"],
        &["scaling", "--help"],
        &["long-run", "--help"],
    ] {
        let output = bench.run(args);
        assert!(output.status.success());
        text += &format!("$ bench-persistent-actor {}\n{}\n", args.join(" "), stdout(&output));
    }
    assert_expected("help.txt", &text);
}

#[test]
fn the_version_is_that_of_the_package() {
    let output = Bench::new().run(&["--version"]);
    assert_eq!(stdout(&output), format!("bench-persistent-actor {}\n", env!("CARGO_PKG_VERSION")));
}

/// Everything that is wrong with flags and files, with its whole message.
const BAD_INPUT: &[&[&str]] = &[
    &[],
    &["--safe-state"],
    &["--delay-ms"],
    &["--delay-ms=-5"],
    &["--delay-ms", "-5"],
    &["--delay-ms=ten"],
    &["--delay-ms=1.5"],
    &["--delay-ms=86400001"],
    &["--delay-ms=0", "--num-actors=0"],
    &["--delay-ms=0", "--num-actors=-1"],
    &["--delay-ms=0", "--num-actors=10001"],
    &["--delay-ms=0", "--num-rounds=-1"],
    &["--delay-ms=0", "--num-actors-kill=-1"],
    &["--delay-ms=0", "--failure", "--num-actors=2"],
    &["--delay-ms=0", "--failure", "--num-actors-kill=21"],
    &["--delay-ms=0", "--s"],
    &["--delay-ms=0", "--no-such-flag"],
    &["--delay-ms=0", "--safe-state", "--durability=none"],
    &["--delay-ms=0", "--seed=x"],
    &["--delay-ms=0", "--workload=star"],
    &["--delay-ms=0", "--in-flight=2"],
    &["--delay-ms=0", "--safe", "--workload=parallel", "--resume", "--state-dir=state"],
    &["--chaos=1", "--workload=parallel"],
    &["--delay-ms=0", "--repeat=0"],
    &["--delay-ms=0", "--repeat=-1"],
    &["--delay-ms=0", "--repeat=10001"],
    &["--delay-ms=0", "--repeat=twice"],
    &["--delay-ms=0", "--repeat=2", "--safe", "--state-dir=state"],
    &["--delay-ms=0", "--repeat=2", "--safe", "--state-dir=full", "--resume"],
    &["--delay-ms=0", "--repeat=2", "--timeline=out.json"],
    &["--chaos=1", "--repeat=2"],
    &["--delay-ms=0", "--workload=parallel", "--in-flight=0"],
    &["--delay-ms=0", "--output=missing/out.csv"],
    &["--delay-ms=0", "--output=."],
    &["--delay-ms=0", "--output=foreign.csv"],
    &["--delay-ms=0", "--output=binary.csv"],
    &["--delay-ms=0", "--json=missing/out.json"],
    &["--delay-ms=0", "--timeline=missing/out.json"],
    &["--delay-ms=0", "--json=same", "--timeline=same"],
    &["--delay-ms=0", "--state-dir=state"],
    &["--delay-ms=0", "--safe-state", "--state-dir=foreign.csv"],
    &["--delay-ms=0", "--safe-state", "--state-dir=full"],
    &["--delay-ms=0", "--safe-state", "--state-dir=/proc/none"],
    &["--delay-ms=0", "--safe-state", "--state-dir=shared"],
    &["--delay-ms=0", "--safe-state", "--workload=parallel", "--state-dir=shared"],
    &["--delay-ms=0", "--resume"],
    &["--delay-ms=0", "--safe-state", "--resume", "--state-dir=missing"],
    &["--delay-ms=0", "--safe-state", "--resume", "--state-dir=full"],
    &["--delay-ms=0", "--safe-state", "--resume", "--state-dir=damaged"],
    &["--delay-ms=0", "--safe-state", "--num-rounds=1", "--resume", "--state-dir=begun"],
    &["--delay-ms=0", "--resume", "--state-dir=missing"],
    &["--delay-ms=0", "--safe-state", "--resume", "--state-dir=full", "--output=out.csv"],
    &["--delay-ms=0", "--engine=spark"],
    &["--delay-ms=0", "--prototype"],
    &["--delay-ms=0", "--ray-address=auto"],
    &["--delay-ms=0", "--python=python3"],
    &["--delay-ms=0", "--engine=ray", "--prototype", "--safe-state"],
    &["--delay-ms=0", "--engine=ray", "--safe", "--resume", "--state-dir=states"],
    &["--delay-ms=0", "--engine=ray", "--all-processors"],
    &["--delay-ms=0", "--engine=ray", "--state-dir=states"],
    &["--delay-ms=0", "--engine=ray", "--ray-address=ray://head:10001"],
    &["--delay-ms=0", "--engine=ray", "--ray-address=head"],
    &["--delay-ms=0", "--engine=ray", "--python=missing/python", "--quiet"],
    &["--delay-ms=0", "--engine=ray", "--python=./default.csv", "--quiet"],
    &["--delay-ms=0", "--engine=ray", "--output=default.csv"],
    &["--chaos=1", "--engine=ray"],
    &["--chaos"],
    &["--chaos=x"],
    &["--chaos=1", "--delay-ms=0"],
    &["--chaos=1", "--large"],
    &["--chaos=1", "--num-actors=1"],
    &["--chaos=1", "--kills=-1"],
    &["--chaos=1", "--zombies=many"],
    &["--chaos=1", "--state-dir=full"],
    &["--kills=5"],
    &["--delay-ms=0", "--kills=5"],
    &["plot"],
    &["plot", "missing.csv"],
    &["plot", "foreign.csv"],
    &["plot", "binary.csv"],
    &["plot", "default.csv"],
    &["plot", "default.csv", "--output-dir=missing"],
    &["plot", "default.csv", "--output-dir=foreign.csv"],
    &["table", "wrong.csv"],
    &["engines", "default.csv"],
    &["floors", "--repeat=0"],
    &["floors", "--only=tiny"],
    &["floors", "--quick", "--full"],
    &["floors", "--json=missing/out.json"],
    &["floors", "--csv=."],
    &["floors", "--dir=/proc/none"],
    &["floors", "--dir=/proc/none", "--json=new.json", "--csv=new.csv"],
    &["floors", "--json=same", "--csv=same"],
    &["scaling", "--only=colour"],
    &["scaling", "--output-dir=missing"],
    &["scaling", "--dir=/proc/none"],
    &["long-run", "--calls=0"],
    &["long-run", "--durability=none"],
    &["long-run", "--dir=/proc/none"],
];

/// What is in a directory, by name.
fn names(dir: &Path) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

/// Makes a directory that a group can write, and one in which a run was begun.
fn make_shared(bench: &Bench) {
    let permit = |name: &str, mode| {
        std::fs::set_permissions(bench.path(name), PermissionsExt::from_mode(mode)).unwrap();
    };
    std::fs::create_dir(bench.path("shared")).unwrap();
    permit("shared", 0o775);
    let flags = ["--delay-ms=0", "--safe-state", "--num-rounds=1", "--state-dir=begun"];
    assert!(bench.run(&flags).status.success());
    permit("begun", 0o777);
}

#[test]
fn every_bad_input_is_named_with_what_would_be_accepted() {
    let bench = Bench::new();
    let header = "system,large,delay_ms,duration,failure";
    let files = [
        ("foreign.csv", "name,age\nx,1\n".as_bytes().to_vec()),
        ("binary.csv", vec![0xff, 0, 0xfe, b'\n', 7]),
        ("default.csv", format!("{header}\ndefault,False,10,4.8,False\n").into_bytes()),
        ("wrong.csv", format!("{header}\ndefault,maybe,10,4.8,False\n").into_bytes()),
    ];
    for (name, content) in &files {
        std::fs::write(bench.path(name), content).unwrap();
    }
    std::fs::create_dir_all(bench.path("full/actor-0")).unwrap();
    std::fs::create_dir(bench.path("damaged")).unwrap();
    std::fs::write(bench.path("damaged/run.json"), "{").unwrap();
    make_shared(&bench);
    let before = names(bench.tmp.path());
    let mut text = String::new();
    for args in BAD_INPUT {
        let output = bench.run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
        assert_eq!(stdout(&output), "", "{args:?}");
        text += &format!("$ bench-persistent-actor {}\n{}\n", args.join(" "), stderr(&output));
    }
    assert_expected("bad-input.txt", &text);
    for (name, content) in &files {
        assert_eq!(&std::fs::read(bench.path(name)).unwrap(), content, "{name} is unharmed");
    }
    let new: Vec<_> =
        names(bench.tmp.path()).into_iter().filter(|name| !before.contains(name)).collect();
    assert_eq!(new, [""; 0], "nothing is left behind");
    assert_eq!(names(&bench.path("shared")), [""; 0], "the corrected command finds it empty");
    bench.assert_clean();
}

#[test]
fn a_state_directory_that_was_refused_can_be_used_when_it_is_private() {
    let bench = Bench::new();
    make_shared(&bench);
    let flags = ["--delay-ms=0", "--safe-state", "--num-rounds=1", "--state-dir=shared"];
    assert_eq!(bench.run(&flags).status.code(), Some(2));
    std::fs::set_permissions(bench.path("shared"), PermissionsExt::from_mode(0o755)).unwrap();
    let output = bench.run(&flags);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn a_temporary_directory_that_cannot_be_used_is_named_as_what_it_is() {
    let bench = Bench::new();
    for args in [&["floors"][..], &["scaling"], &["long-run"], &["--delay-ms=0"]] {
        let output = bench.command(args).env("TMPDIR", "/proc/none").output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
        let expected = "error: TMPDIR=/proc/none: cannot make a directory in this directory: ";
        assert!(stderr(&output).starts_with(expected), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn a_plot_or_table_that_cannot_be_written_is_no_wrong_usage() {
    let bench = Bench::new();
    let rows = "system,large,delay_ms,duration,failure\nsafe_actor,False,10,4.8,False\n";
    std::fs::write(bench.path("good.csv"), rows).unwrap();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = bench.command(&["table", "good.csv"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("cannot write to standard output: No space left"));
    std::os::unix::fs::symlink("/dev/full", bench.path("good-small.svg")).unwrap();
    let output = bench.run(&["plot", "good.csv"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("cannot write good-small.svg: No space left"));
}

#[test]
fn a_device_that_is_always_full_is_an_error_after_the_run() {
    let output = Bench::new().run(&["--delay-ms=0", "--num-rounds=1", "--json=/dev/full"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("cannot write /dev/full: No space left"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn output_that_nobody_reads_is_no_error() {
    let bench = Bench::new();
    let mut child = bench.start(&["--delay-ms=0", "--num-rounds=1"]);
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn nothing_but_data_is_on_standard_output() {
    let bench = Bench::new();
    let output = bench.run(&["--delay-ms=0", "--num-actors=7", "--num-rounds=5", "--quiet"]);
    let text = stdout(&output);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "Final state: 339 406 695 937 1116 1220 1309");
    assert!(lines[1].starts_with("Task delay 0 ms. Duration "), "{text}");
    assert_eq!(lines.len(), 2);
    let output = bench.run(&["--delay-ms=0", "--num-actors=7", "--num-rounds=5"]);
    assert!(stdout(&output).contains("\nstate: exact\n"));
    assert!(!stderr(&output).contains('\u{1b}'), "no progress bar off a terminal");
}

#[test]
fn the_state_dir_is_kept_and_refused_for_another_run() {
    let bench = Bench::new();
    let args = ["--delay-ms=0", "--num-rounds=1", "--safe", "--state-dir=states"];
    assert!(bench.run(&args).status.success());
    assert!(bench.path("states").read_dir().unwrap().count() > 0);
    let output = bench.run(&args);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--state-dir=states: a run was begun in this directory"));
}
