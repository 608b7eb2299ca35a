//! Real states, and runs of the real binary on them.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::SystemTime;

use persistent_actor::{
    ActorState, Bytes, CallId, Durability, Encoded, Integer, Reply, ReplyStatus, SessionId, codec,
};
use serde_json::Value;

/// The session of all calls made here.
pub(crate) const SESSION: SessionId = SessionId(0x0190_0000_0000 << 80 | 7);

/// A number that fits into no machine word.
pub(crate) const BIGNUM: &str = "-1000000000000000000000000000000000000000000000000000000000001";

/// A directory for states, and the binary.
pub(crate) struct Doctor {
    pub(crate) tmp: tempfile::TempDir,
}

impl Doctor {
    pub(crate) fn new() -> Self {
        Self { tmp: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.tmp.path().join(name)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_actor-state"));
        command.args(args).current_dir(self.tmp.path()).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs a command whose standard output is a pipe that nobody reads any more.
    pub(crate) fn run_unread(&self, args: &[&str]) -> Output {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        self.command(args).stdout(writer).output().unwrap()
    }

    /// Runs a command that must end with this exit code, and gives its standard output.
    pub(crate) fn expect(&self, code: i32, args: &[&str]) -> String {
        let output = self.run(args);
        let found = output.status.code();
        assert_eq!(found, Some(code), "{args:?}\n{}{}", stdout(&output), stderr(&output));
        stdout(&output)
    }

    /// Runs a command that must end well.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        self.expect(0, args)
    }

    /// Runs a command that must end with this exit code, and gives its standard error.
    pub(crate) fn complaint(&self, code: i32, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}\n{}", stderr(&output));
        stderr(&output)
    }

    pub(crate) fn json(&self, code: i32, args: &[&str]) -> Value {
        serde_json::from_str(&self.expect(code, args)).unwrap()
    }

    /// Opens the state `name`, to be written by this process.
    pub(crate) fn open(&self, name: &str) -> ActorState {
        open(&self.path(name))
    }

    /// A state with attributes of several kinds and three calls, held by nobody.
    pub(crate) fn example(&self, name: &str) {
        let path = self.path(name);
        let mut state = open(&path);
        state.set("counter", &3u64).unwrap();
        state.set("name", &"visits").unwrap();
        state.set("big", &BIGNUM.parse::<Integer>().unwrap()).unwrap();
        state.set("table", &BTreeMap::from([("a", vec![1, 2]), ("b", vec![])])).unwrap();
        state.set("blob", &blob(1)).unwrap();
        for number in 0..3 {
            call(&mut state, number, number + 10, &blob(number as u8 + 2));
        }
        drop(state);
        release(&path);
    }
}

/// 1 MiB of this byte.
pub(crate) fn blob(fill: u8) -> Bytes {
    Bytes::from(vec![fill; 1 << 20])
}

pub(crate) fn open(path: &Path) -> ActorState {
    ActorState::options().durability(Durability::Process).open(path).unwrap()
}

pub(crate) fn id(sequence: u64) -> CallId {
    CallId { session: SESSION, sequence }
}

/// Commits a call that sets `counter` and `blob` and returns the counter. The caller has the
/// replies of all calls but the last ten.
pub(crate) fn call(state: &mut ActorState, number: u64, counter: u64, blob: &Bytes) {
    let value = codec::encode(&counter).unwrap();
    let reply = Reply { status: ReplyStatus::Returned, value: value.clone() };
    let changes: Vec<(String, Encoded)> =
        vec![("counter".to_owned(), value), ("blob".to_owned(), codec::encode(blob).unwrap())];
    state.commit_call(id(number), number.saturating_sub(10), 7, reply, changes).unwrap();
}

/// Makes the claim of a state that of a process that is gone, as if its program had ended.
pub(crate) fn release(path: &Path) {
    for name in file_names(path) {
        if name.starts_with("epoch-") {
            fs::write(path.join(name), "pid 1\nstart 0\n").unwrap();
        }
    }
}

pub(crate) fn file_names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The one file whose name begins like this.
pub(crate) fn file(path: &Path, prefix: &str) -> PathBuf {
    let names = file_names(path);
    let name = names.iter().rfind(|name| name.starts_with(prefix));
    path.join(name.unwrap_or_else(|| panic!("no {prefix} in {names:?}")))
}

/// Flips a bit of a byte of a file.
pub(crate) fn flip(file: &Path, offset: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[offset] ^= 0x10;
    fs::write(file, bytes).unwrap();
}

/// Every file below a directory: content and time of change.
pub(crate) fn fingerprint(path: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            found.insert(path.clone(), (Vec::new(), metadata.modified().unwrap()));
            found.extend(fingerprint(&path));
        } else {
            let content = match metadata.is_symlink() {
                true => fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes(),
                false => fs::read(&path).unwrap(),
            };
            found.insert(path, (content, metadata.modified().unwrap()));
        }
    }
    found
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Compares with a stored file; `UPDATE_EXPECTED=1` stores what is instead.
pub(crate) fn assert_expected(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/expected").join(name);
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write(&path, found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap();
    assert!(found == expected, "{name} is not as expected; found:\n{found}");
}
