//! Runs the real binary.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// A run of the binary with a temporary directory of its own.
pub(crate) struct Bench {
    pub(crate) tmp: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self { tmp: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.tmp.path().join(name)
    }

    /// Where the binary puts its temporary directories.
    pub(crate) fn system_tmp(&self) -> PathBuf {
        self.path("tmp")
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        std::fs::create_dir_all(self.system_tmp()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_bench-persistent-actor"));
        command.args(args).current_dir(self.tmp.path()).env("TMPDIR", self.system_tmp());
        command.stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    pub(crate) fn start(&self, args: &[&str]) -> Child {
        let mut command = self.command(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs to the end and gives the figures; the exit code must be this.
    pub(crate) fn measure(&self, args: &[&str], exit_code: i32) -> Value {
        let json = self.path("measurement.json");
        let flag = format!("--json={}", json.display());
        let output = self.run(&[args, &[&flag]].concat());
        assert_eq!(output.status.code(), Some(exit_code), "{args:?}: {}", stderr(&output));
        serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap()
    }

    /// Nothing may be left of a run.
    pub(crate) fn assert_clean(&self) {
        let left: Vec<_> = std::fs::read_dir(self.system_tmp()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Compares with a stored file; `UPDATE_EXPECTED=1` stores what is instead.
pub(crate) fn assert_expected(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/expected").join(name);
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert!(found == expected, "{name} is not as expected; found:\n{found}");
}

/// Waits until something is true, for at most a minute.
pub(crate) fn wait_until(what: &str, mut is_true: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !is_true() {
        assert!(std::time::Instant::now() < end, "waited in vain until {what}");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// The processes whose parent is this one, and theirs.
pub(crate) fn descendants(pid: u32) -> Vec<u32> {
    let mut all = Vec::new();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        let Ok(tasks) = std::fs::read_dir(format!("/proc/{parent}/task")) else { continue };
        for task in tasks.flatten() {
            let children = std::fs::read_to_string(task.path().join("children"));
            let children = children.unwrap_or_default();
            for child in children.split_whitespace().map(|pid| pid.parse::<u32>().unwrap()) {
                all.push(child);
                parents.push(child);
            }
        }
    }
    all
}

/// Whether the process is there and not a zombie.
pub(crate) fn is_running(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().starts_with(" Z"))
}

/// Whether this line of a timeline tells of a call of `process` that was answered.
pub(crate) fn is_reply(line: &str) -> bool {
    line.contains("\"name\":\"process\"") && line.contains("\"status\":\"returned\"")
}
