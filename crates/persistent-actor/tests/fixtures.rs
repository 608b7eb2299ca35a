//! State directories that were written by each format version and are stored with the tests. They
//! must open for ever, with the values that they were written with. No test writes to them.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use persistent_actor::{
    ActorState, Admission, Bytes, CallId, Integer, PagedBytes, Reply, ReplyStatus, SessionId,
    codec, store,
};

const SESSION: SessionId = SessionId((1_700_000_000_000 << 80) | 5);

fn fixture(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/v{version}"))
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

/// What the fixtures hold, written by the means of today. `FIXTURE_OUT` names a directory to
/// make a fixture for a new version in; the stored ones stay as they are.
fn write(path: &Path) {
    write_version_1(path);
    let mut state = ActorState::open(path).unwrap();
    let mut paged = PagedBytes::zeroed(100_000);
    for place in [0, 50_000, 99_990] {
        state.set("paged", &paged).unwrap();
        paged.write(place, b"0123456789");
    }
    state.set("paged", &paged).unwrap();
}

fn write_version_1(path: &Path) {
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

fn check(path: &Path, version: u32) {
    let mut options = ActorState::options().create(false);
    options = options.ledger_limits(persistent_actor::LedgerLimits {
        max_age: std::time::Duration::MAX,
        ..Default::default()
    });
    let state = options.open(path).unwrap();
    let (commits, attributes) = if version == 1 { (4, 3) } else { (8, 4) };
    assert_eq!(state.sequence(), commits);
    assert_eq!(state.attributes().count(), attributes);
    if version > 1 {
        let paged = state.get::<PagedBytes>("paged").unwrap().unwrap();
        assert_eq!((paged.len(), paged.get(50_000..50_010)), (100_000, b"0123456789".to_vec()));
        assert_eq!(paged.to_vec().iter().filter(|byte| **byte != 0).count(), 30);
    }
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
fn a_state_of_each_version_opens_with_its_values() {
    for version in [1, 2] {
        let inspected = store::inspect(&copy(&fixture(version)).1).unwrap();
        assert_eq!(inspected.view.sequence, if version == 1 { 4 } else { 8 });
        let (_dir, path) = copy(&fixture(version));
        check(&path, version);
        // And once more, rewritten by today's program.
        check(&path, version);
    }
}

#[test]
fn todays_program_writes_what_the_fixtures_hold() {
    let dir = tempfile::tempdir().unwrap();
    let path = std::env::var("FIXTURE_OUT").map_or(dir.path().join("state"), PathBuf::from);
    write(&path);
    let (_dir, path) = copy(&path);
    check(&path, 2);
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
