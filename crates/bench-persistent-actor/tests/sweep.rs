//! `run-benchmark.sh`: the grid, and going on after an interruption.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use common::{Bench, stderr, stdout};

/// The smallest runs that there are.
const TINY: &[&str] = &["--quick", "--num-rounds=1", "--num-actors=2", "--num-actors-kill=1"];

fn sweep(bench: &Bench, csv: &str, args: &[&str]) -> Output {
    sweep_with(env!("CARGO_BIN_EXE_bench-persistent-actor"), bench, csv, args)
}

/// The same with another program as the benchmark.
fn sweep_with(program: &str, bench: &Bench, csv: &str, args: &[&str]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../run-benchmark.sh");
    std::fs::create_dir_all(bench.system_tmp()).unwrap();
    Command::new("bash")
        .arg(script)
        .args(["--output", csv])
        .args(args)
        .current_dir(bench.tmp.path())
        .env("TMPDIR", bench.system_tmp())
        .env("BENCH", program)
        .output()
        .unwrap()
}

fn rows(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap().lines().skip(1).map(str::to_owned).collect()
}

#[test]
fn the_grid_has_forty_runs_each_of_them_once_and_goes_on_where_it_stopped() {
    let bench = Bench::new();
    let csv = "a file.csv";
    let output = sweep(&bench, csv, TINY);
    assert!(output.status.success(), "{}", stderr(&output));
    let first = rows(&bench.path(csv));
    assert_eq!(first.len(), 40);
    for size in ["small", "large"] {
        for extension in ["svg", "png"] {
            assert!(bench.path(&format!("a file-{size}.{extension}")).exists());
        }
    }
    assert!(stdout(&output).contains("Large state: run time relative to safe_actor"));

    let text = std::fs::read_to_string(bench.path(csv)).unwrap();
    let kept: Vec<&str> = text.lines().take(31).collect();
    std::fs::write(bench.path(csv), kept.join("\n") + "\n").unwrap();
    let output = sweep(&bench, csv, TINY);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("has 30 of 40 runs already"), "{}", stderr(&output));
    let key = |row: &String| {
        row.split(',')
            .enumerate()
            .filter(|(i, _)| *i != 3 && *i < 5)
            .map(|(_, field)| field.to_owned())
            .collect::<Vec<_>>()
    };
    let mut keys: Vec<_> = rows(&bench.path(csv)).iter().map(key).collect();
    keys.sort();
    keys.dedup();
    assert_eq!((rows(&bench.path(csv)).len(), keys.len()), (40, 40));
}

#[test]
fn without_a_name_the_quick_grid_and_the_whole_one_have_files_of_their_own() {
    let file = |args: &[&str]| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../run-benchmark.sh");
        // A benchmark that does nothing writes nothing.
        let output = Command::new("bash").arg(script).args(args).env("BENCH", "true").output();
        let stderr = stderr(&output.unwrap());
        let (_, file) = stderr.rsplit_once("are in ").expect(&stderr);
        file.trim().to_owned()
    };
    let (quick, whole) = (file(&["--quick"]), file(&[]));
    assert!(quick.ends_with("-quick.csv") && !whole.contains("quick"), "{quick} {whole}");
}

/// The rows of a sweep on Ray, as if it had been made: what is done there and what is not is told
/// by the column `engine`.
#[test]
fn runs_on_ray_are_told_from_local_ones_in_one_file() {
    let bench = Bench::new();
    let mut rows = Vec::new();
    for (engine, systems) in [
        ("local", &["default", "safe_actor"][..]),
        ("ray", &["default", "safe_actor", "prototype"]),
    ] {
        for system in systems {
            for delay in [50, 20, 10, 5, 2] {
                for large in ["False", "True"] {
                    rows.push(format!("{system},{large},{delay},1.5,False,{engine}\n"));
                    rows.push(format!("{system},{large},{delay},1.5,True,{engine}\n"));
                }
            }
        }
    }
    let header = "system,large,delay_ms,duration,failure,engine\n";
    std::fs::write(bench.path("both.csv"), format!("{header}{}", rows.concat())).unwrap();
    for (engine, runs) in [("ray", 60), ("local", 40)] {
        let output = sweep(&bench, "both.csv", &["--quick", "--engine", engine]);
        assert!(output.status.success(), "{}", stderr(&output));
        let expected = format!("has {runs} of {runs} runs already");
        assert!(stderr(&output).contains(&expected), "{}", stderr(&output));
        assert!(stdout(&output).contains("prototype on Ray, failure"), "{}", stdout(&output));
    }
    let local = rows.iter().filter(|row| row.ends_with(",local\n")).cloned().collect::<String>();
    std::fs::write(bench.path("local.csv"), format!("{header}{local}")).unwrap();
    let output = sweep(&bench, "local.csv", &["--quick", "--engine=ray"]);
    assert!(stderr(&output).contains("[1/60] default on ray"), "{}", stderr(&output));
    assert!(stderr(&output).contains("not ours to append to"), "{}", stderr(&output));
    let output = sweep(&bench, "local.csv", &["--engine=spark"]);
    assert!(stderr(&output).contains("--engine=spark: expected local or ray"));
}

#[test]
fn a_run_that_fails_ends_the_sweep_with_its_exit_code() {
    let bench = Bench::new();
    let output = sweep(&bench, "out.csv", &["--no-such-flag"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("the run failed with exit code 2"), "{}", stderr(&output));
    let output = sweep(&bench, "", &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--output: expected the name of a CSV file"));
}

/// A benchmark whose safe states are wrong without failure: it appends its row and says so. Those
/// of the default system with failure are wrong, too, as expected.
const WRONG: &str = r#"#!/usr/bin/env bash
set -eu
system=default large=False failure=False verified=True
for flag in "$@"; do
    case $flag in
        --delay-ms=*) delay=${flag#*=} ;;
        --output=*) output=${flag#*=} ;;
        --safe-state) system=safe_actor ;;
        --large) large=True ;;
        --failure) failure=True ;;
        plot | table) exit 0 ;;
    esac
done
case $system,$failure in default,True | safe_actor,False) verified=False ;; esac
[ -e "$output" ] || echo "system,large,delay_ms,duration,failure,verified" >"$output"
echo "$system,$large,$delay,1.5,$failure,$verified" >>"$output"
[ "$system,$verified" != safe_actor,False ]
"#;

#[test]
fn a_run_that_ended_with_a_wrong_state_is_made_again_by_the_same_command() {
    let bench = Bench::new();
    let program = bench.path("wrong");
    std::fs::write(&program, WRONG).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let wrong = "safe_actor,False,50,1.5,False,False";
    for start in 1..=2 {
        let output = sweep_with(program.to_str().unwrap(), &bench, "out.csv", &["--quick"]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "start {start}: {said}");
        assert!(said.contains("[21/40] safe_actor, delay 50 ms (about"), "start {start}: {said}");
        assert!(said.contains("the same command tries it again"), "{said}");
        let rows = rows(&bench.path("out.csv"));
        assert_eq!(rows.iter().filter(|row| *row == wrong).count(), start, "{rows:?}");
        // What the default system did is done, wrong or not.
        assert_eq!(rows.len(), 20 + start, "{rows:?}");
    }
}
