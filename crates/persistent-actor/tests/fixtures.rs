//! A state directory that was written by format version 1 and is stored with the tests. It must
//! open for ever, with the values that it was written with. No test writes to it.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use persistent_actor::{
    ActorState, Admission, Bytes, CallId, Integer, Reply, ReplyStatus, SessionId, codec, store,
};

const SESSION: SessionId = SessionId((1_700_000_000_000 << 80) | 5);

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1")
}

fn large() -> Bytes {
    Bytes::build(100_000, |out| {
        for (place, byte) in out.iter_mut().enumerate() {
            *byte = (place / 1000) as u8;
        }
    })
}

fn big() -> Integer {
    "4376166261294246568712".parse().unwrap()
}

/// What the fixture holds, written by the means of today. `FIXTURE_OUT` names a directory to
/// make a fixture for a new version in; the stored ones stay as they are.
fn write(path: &Path) {
    let mut state = ActorState::open(path).unwrap();
    let text = "twenty-two. ".repeat(60);
    state.update([("text", codec::encode(&text).unwrap())]).unwrap();
    for sequence in 0..3u64 {
        let reply = if sequence == 1 {
            Reply { status: ReplyStatus::Failed, value: codec::encode("no").unwrap() }
        } else {
            Reply { status: ReplyStatus::Returned, value: codec::encode(&large()).unwrap() }
        };
        let changes = match sequence {
            0 => vec![("big".to_owned(), codec::encode(&big()).unwrap())],
            2 => vec![("large".to_owned(), reply.value.clone())],
            _ => Vec::new(),
        };
        let id = CallId { session: SESSION, sequence };
        state.commit_call(id, sequence.min(1), 40 + sequence, reply, changes).unwrap();
    }
}

fn check(path: &Path) {
    let mut options = ActorState::options().create(false);
    options = options.ledger_limits(persistent_actor::LedgerLimits {
        max_age: std::time::Duration::MAX,
        ..Default::default()
    });
    let state = options.open(path).unwrap();
    assert_eq!(state.sequence(), 4);
    assert_eq!(state.attributes().count(), 3);
    assert_eq!(state.get::<String>("text").unwrap().unwrap(), "twenty-two. ".repeat(60));
    assert_eq!(state.get::<Integer>("big").unwrap().unwrap(), big());
    assert!(state.get::<Bytes>("large").unwrap().unwrap() == large());
    let admit = |sequence, digest| state.admit(CallId { session: SESSION, sequence }, digest);
    assert_eq!(admit(0, 40), Admission::Expired);
    let failed = Reply { status: ReplyStatus::Failed, value: codec::encode("no").unwrap() };
    assert_eq!(admit(1, 41), Admission::Replay(failed));
    assert_eq!(admit(2, 999), Admission::IdReused);
    let Admission::Replay(reply) = admit(2, 42) else { panic!("call 2 is not in the ledger") };
    assert!(codec::decode::<Bytes>(&reply.value).unwrap() == large());
    assert_eq!(admit(3, 0), Admission::Fresh);
}

#[test]
fn a_state_of_version_1_opens_with_its_values() {
    let inspected = store::inspect(&copy(&fixture()).1).unwrap();
    assert_eq!(inspected.view.sequence, 4);
    let (_dir, path) = copy(&fixture());
    check(&path);
    // And once more, rewritten by today's program.
    check(&path);
}

#[test]
fn todays_program_writes_what_the_fixture_holds() {
    let dir = tempfile::tempdir().unwrap();
    let path = std::env::var("FIXTURE_OUT").map_or(dir.path().join("state"), PathBuf::from);
    write(&path);
    let (_dir, path) = copy(&path);
    check(&path);
}

/// A private copy, as git does not keep the permissions.
fn copy(from: &Path) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), path.join(entry.file_name())).unwrap();
    }
    (dir, path)
}
