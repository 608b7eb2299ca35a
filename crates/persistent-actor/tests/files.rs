//! The file store in a real directory: what is there, what is refused, what is private.

// Tests look at the files behind the store's back.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use persistent_actor::{
    ActorState, Bytes, CallId, CallOutcome, Durability, Encoded, LedgerLimits, OpenError, Reply,
    ReplyStatus, SessionId, StateError, StoreError, codec, store,
};

fn open(path: &Path) -> ActorState {
    ActorState::options().durability(Durability::Process).open(path).unwrap()
}

fn refused(path: &Path) -> OpenError {
    match ActorState::options().create(false).open(path) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => error,
    }
}

fn files(path: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(prefix))
        .collect();
    files.sort();
    files
}

#[test]
fn what_was_committed_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    for durability in [Durability::Process, Durability::Power] {
        let path = dir.path().join(durability.name());
        let large = Bytes::from(vec![7; 1 << 20]);
        let text = "x".repeat(100_000);
        let mut state = ActorState::options().durability(durability).open(&path).unwrap();
        state.set("small", &1u64).unwrap();
        state.set("large", &large).unwrap();
        state.set("text", &text).unwrap();
        let view = state.view().clone();
        drop(state);
        for _ in 0..3 {
            let state = ActorState::options().durability(durability).open(&path).unwrap();
            assert_eq!(state.view(), &view);
            assert_eq!(state.get::<Bytes>("large").unwrap().unwrap(), large);
            assert_eq!(state.get::<String>("text").unwrap().unwrap(), text);
        }
        assert_eq!(files(&path, "epoch-").len(), 1);
        assert_eq!(files(&path, "journal-").len(), 1);
        assert_eq!(files(&path, "slot-").len(), 2);
        assert_eq!(files(&path, "temporary-").len(), 0);
    }
}

#[test]
fn large_arrays_are_there_wherever_their_batches_end() {
    // Batches end at 1/2, 1, 2, 4, 6 MiB and so on of the file, the content begins at 4096.
    let ends = [1, 2, 4, 8, 12].map(|halves: usize| (halves << 19) - 4096);
    for durability in [Durability::Process, Durability::Power] {
        let dir = tempfile::tempdir().unwrap();
        let options = ActorState::options().durability(durability);
        for len in ends.into_iter().flat_map(|end| [end - 1, end, end + 1, end + 70_000]) {
            let mut state = options.clone().open(dir.path()).unwrap();
            let mut content: Vec<u8> = (0..len).map(|at| (at * 31 / 7) as u8).collect();
            state.set("large", &Bytes::from(content.clone())).unwrap();
            // Few pages, on both sides of each end: to a second slot, then to the first again.
            for round in 0..2 {
                for at in ends.into_iter().flat_map(|end| [end - 1, end, end - 70_000]) {
                    content.get_mut(at).into_iter().for_each(|byte| *byte ^= 1 + round);
                }
                state.set("large", &Bytes::from(content.clone())).unwrap();
            }
            drop(state);
            let state = options.clone().open(dir.path()).unwrap();
            let found = state.get::<Bytes>("large").unwrap().unwrap();
            assert!(found[..] == content[..], "{len} bytes at {durability}");
        }
    }
}

/// Who was waited for writes no more: what it left need not be made anew.
#[test]
fn a_free_slot_of_an_incarnation_that_has_ended_is_used_again_and_the_rest_removed_later() {
    use std::os::unix::fs::MetadataExt;
    let inodes = |path: &Path| -> Vec<u64> {
        files(path, "slot-").iter().map(|file| fs::metadata(file).unwrap().ino()).collect()
    };
    for durability in [Durability::Process, Durability::Power] {
        let dir = tempfile::tempdir().unwrap();
        let options = || ActorState::options().durability(durability);
        let content = |byte| Bytes::from(vec![byte; 300_000]);
        let mut state = options().open(dir.path()).unwrap();
        for byte in 1..=3 {
            state.set("large", &content(byte)).unwrap();
        }
        let epoch = state.epoch();
        drop(state);
        let before = inodes(dir.path());
        assert_eq!(before.len(), 2, "two slots take turns");

        let mut state = options().ended([epoch]).open(dir.path()).unwrap();
        assert_eq!(files(dir.path(), "journal-").len(), 2, "the old one waits to be removed");
        state.set("large", &content(4)).unwrap();
        let mut after = inodes(dir.path());
        after.sort_unstable();
        let mut expected = before.clone();
        expected.sort_unstable();
        assert_eq!(after, expected, "no file was made");
        assert_eq!(files(dir.path(), "journal-").len(), 1);
        drop(state);
        let state = options().open(dir.path()).unwrap();
        assert_eq!(state.get::<Bytes>("large").unwrap().unwrap(), content(4));
    }
}

#[test]
fn a_slot_of_an_incarnation_that_may_still_write_is_not_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let options = || ActorState::options().durability(Durability::Process);
    let mut old = options().open(dir.path()).unwrap();
    for byte in 1..=3 {
        old.set("large", &Bytes::from(vec![byte; 300_000])).unwrap();
    }
    let free = files(dir.path(), "slot-");
    // Another epoch than the one that has ended.
    let mut state = options().ended([old.epoch() + 1]).open(dir.path()).unwrap();
    state.set("large", &Bytes::from(vec![4; 300_000])).unwrap();
    let epochs: Vec<_> =
        files(dir.path(), "slot-").into_iter().filter(|f| !free.contains(f)).collect();
    assert_eq!(epochs.len(), 1, "a new file was made");
    old.set("large", &Bytes::from(vec![5; 300_000])).unwrap_err();
    drop(state);
    let state = options().open(dir.path()).unwrap();
    let kept = state.get::<Bytes>("large").unwrap().unwrap();
    assert!(kept.iter().all(|byte| *byte == 4), "what the superseded one wrote is nowhere");
}

/// It may have been mapped by whoever came after its writer.
#[test]
fn a_slot_is_not_used_again_while_somebody_lives_who_came_after_its_writer() {
    use std::io::Read;
    let dir = tempfile::tempdir().unwrap();
    let options = || ActorState::options().durability(Durability::Power);
    let content = |byte| Bytes::from(vec![byte; 300_000]);
    let mut first = options().open(dir.path()).unwrap();
    first.set("large", &content(1)).unwrap();
    let ended = first.epoch();
    drop(first);
    let mut read = Vec::new();
    let mut slot = fs::File::open(&files(dir.path(), "slot-")[0]).unwrap();

    let mut second = options().open(dir.path()).unwrap();
    second.set("large", &content(2)).unwrap();
    let mut third = options().ended([ended]).open(dir.path()).unwrap();
    for byte in 3..6 {
        third.set("large", &content(byte)).unwrap();
    }
    slot.read_to_end(&mut read).unwrap();
    assert!(read[4096..].iter().all(|byte| *byte == 1), "it is what the second has found");
    second.set("large", &content(9)).unwrap_err();
}

#[test]
fn names_that_are_the_librarys_own_are_refused_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = ActorState::open(dir.path().join("state")).unwrap();
    state.set("good", &1).unwrap();
    let changes = || vec![("good", codec::encode(&2).unwrap()), ("\0intents", Encoded::default())];
    let error = state.update(changes()).unwrap_err();
    assert!(matches!(&error, StateError::Reserved { attribute } if attribute == "\0intents"));
    let id = CallId { session: SessionId(1 << 80), sequence: 0 };
    let reply = Reply { status: ReplyStatus::Returned, value: codec::encode(&()).unwrap() };
    let owned = changes().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let error = state.commit_call(id, 0, 0, reply, owned).unwrap_err();
    assert!(matches!(&error, StoreError::Reserved { attribute } if attribute == "\0intents"));
    assert_eq!(state.outcome(id), CallOutcome::NotCommitted);
    state.set("good", &3).unwrap();
    drop(state);
    let state = ActorState::open(dir.path().join("state")).unwrap();
    assert_eq!(state.get("good").unwrap(), Some(3));
}

/// The slot of the one is used for the other, and nothing in it has to change.
#[test]
fn an_array_with_the_bytes_of_a_forgotten_text_is_still_an_array() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let limits = LedgerLimits { max_calls: 0, ..LedgerLimits::default() };
    let options = ActorState::options().durability(Durability::Process).ledger_limits(limits);
    let text = codec::encode(&"x".repeat(100_000)).unwrap();
    let array = Bytes::from(&text.inline[..]);
    let mut state = options.clone().open(&path).unwrap();
    let id = CallId { session: SessionId(1 << 80), sequence: 0 };
    let reply = Reply { status: ReplyStatus::Returned, value: text };
    state.commit_call(id, 0, 0, reply, Vec::new()).unwrap();
    state.set("array", &array).unwrap();
    assert_eq!(files(&path, "slot-").len(), 1, "the slot was used again");
    drop(state);
    let inspected = store::inspect(&path).unwrap();
    assert!(inspected.view.attributes["array"] == codec::encode(&array).unwrap());
    let state = options.open(&path).unwrap();
    assert!(state.get::<Bytes>("array").unwrap().unwrap() == array);
}

#[test]
fn an_attribute_that_is_named_twice_gets_its_last_value() {
    let dir = tempfile::tempdir().unwrap();
    let text = |letter: &str, len| codec::encode(&letter.repeat(len)).unwrap();
    for len in [10, 100_000] {
        let path = dir.path().join(len.to_string());
        let mut state = open(&path);
        state.set("text", &"c".repeat(len)).unwrap();
        let old = state.encoded("text").cloned().unwrap();
        state.update([("text", text("a", len)), ("text", text("b", len))]).unwrap();
        assert!(state.encoded("text") == Some(&text("b", len)));
        drop(state);
        let mut state = open(&path);
        assert!(state.encoded("text") == Some(&text("b", len)), "{len} after reopening");
        state.update([("text", text("a", len)), ("text", old.clone())]).unwrap();
        assert!(state.encoded("text") == Some(&old));
        state.update([("text", text("a", len)), ("text", old.clone())]).unwrap();
        assert!(state.encoded("text") == Some(&old), "{len} as it was before");
    }
}

#[test]
fn many_commits_take_bounded_space() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = open(dir.path());
    for n in 0..50_000u64 {
        state.set("n", &n).unwrap();
    }
    assert_eq!(files(dir.path(), "journal-").len(), 1);
    let bytes: u64 =
        files(dir.path(), "").iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(bytes <= 2 * (1 << 20) + 4096, "{bytes} bytes");
    drop(state);
    assert_eq!(open(dir.path()).get::<u64>("n").unwrap(), Some(49_999));
}

#[test]
fn a_large_value_alternates_between_two_slots() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = open(dir.path());
    let mut content = vec![0u8; 300_000];
    for n in 0..200 {
        content[n * 1400] = n as u8;
        state.set("large", &Bytes::from(content.clone())).unwrap();
    }
    assert_eq!(files(dir.path(), "slot-").len(), 2);
    drop(state);
    assert_eq!(open(dir.path()).get::<Bytes>("large").unwrap().unwrap()[..], content[..]);
}

#[test]
fn no_state_is_not_found_and_nothing_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("missing");
    assert!(matches!(refused(&path), OpenError::NotFound { .. }));
    assert!(!path.exists());
    assert!(matches!(refused(dir.path()), OpenError::NotFound { .. }));
    assert_eq!(files(dir.path(), "").len(), 0);
}

#[test]
fn a_journal_that_was_removed_is_damage_not_a_new_state() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).set("n", &1).unwrap();
    fs::remove_file(&files(dir.path(), "journal-")[0]).unwrap();
    for create in [false, true] {
        let error = ActorState::options().create(create).open(dir.path()).map(drop).unwrap_err();
        assert!(error.to_string().contains("journal that belongs to it is missing"), "{error}");
    }
}

#[test]
fn a_directory_used_for_something_else_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.tex"), "chapter 1").unwrap();
    let error = ActorState::open(dir.path()).map(drop).unwrap_err();
    assert!(matches!(&error, OpenError::NotAState { found, .. } if found == "thesis.tex"));
    assert_eq!(files(dir.path(), "").len(), 1);
}

#[test]
fn state_files_are_private() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b");
    open(&path).set("large", &Bytes::from(vec![1; 100_000])).unwrap();
    for directory in [dir.path().join("a"), path.clone()] {
        assert_eq!(fs::metadata(directory).unwrap().permissions().mode() & 0o7777, 0o700);
    }
    for file in files(&path, "") {
        let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, 0o600, "{}", file.display());
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o770)).unwrap();
    assert!(matches!(refused(&path), OpenError::NotPrivate { .. }));
}

#[test]
fn links_are_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (real, link) = (dir.path().join("real"), dir.path().join("link"));
    open(&real).set("n", &1).unwrap();
    symlink(&real, &link).unwrap();
    assert!(matches!(refused(&link), OpenError::Unreadable { operation: "open", .. }));
    let journal = &files(&real, "journal-")[0];
    let elsewhere = dir.path().join("elsewhere");
    fs::rename(journal, &elsewhere).unwrap();
    symlink(&elsewhere, journal).unwrap();
    assert!(matches!(refused(&real), OpenError::Unreadable { operation: "open", .. }));
}

#[test]
fn a_newer_format_is_refused_before_its_writer_is_fenced() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = open(dir.path());
    state.set("n", &1).unwrap();
    let journal = &files(dir.path(), "journal-")[0];
    let good = fs::read(journal).unwrap();
    let mut newer = good.clone();
    newer[8] = 4;
    fs::write(journal, &newer).unwrap();
    let error = refused(dir.path());
    assert!(matches!(error, OpenError::NewerVersion { found: 4, supported: 3, .. }), "{error}");
    fs::write(journal, &good).unwrap();
    state.set("n", &2).unwrap();
}

#[test]
fn files_swapped_between_states_are_damage() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (dir.path().join("one"), dir.path().join("other"));
    for path in [&one, &other] {
        open(path).set("large", &Bytes::from(vec![1; 100_000])).unwrap();
    }
    for kind in ["journal-", "slot-"] {
        let (mine, theirs) = (&files(&one, kind)[0], &files(&other, kind)[0]);
        let good = fs::read(mine).unwrap();
        fs::copy(theirs, mine).unwrap();
        let error = refused(&one);
        assert!(matches!(error, OpenError::Damaged { .. }), "{kind}: {error}");
        assert!(error.to_string().contains("another state"), "{kind}: {error}");
        fs::write(mine, good).unwrap();
    }
}

#[test]
fn a_name_too_long_is_refused_and_the_store_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = open(dir.path());
    let error = state.update([("x".repeat(70_000), codec::encode(&1).unwrap())]).unwrap_err();
    assert!(matches!(error, StateError::Store(StoreError::TooLarge { limit: 65535, .. })));
    state.set("n", &2).unwrap();
    drop(state);
    assert_eq!(open(dir.path()).get::<u64>("n").unwrap(), Some(2));
}

#[test]
fn inspecting_changes_nothing_and_fences_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = open(dir.path());
    state.set("n", &1).unwrap();
    state.set("large", &Bytes::from(vec![1; 100_000])).unwrap();
    let contents = || {
        let read = |path: PathBuf| (fs::read(&path).unwrap(), path);
        files(dir.path(), "").into_iter().map(read).collect::<Vec<_>>()
    };
    let before = contents();
    let inspection = persistent_actor::store::inspect(dir.path()).unwrap();
    assert_eq!(&inspection.view, state.view());
    assert_eq!((inspection.epoch, inspection.claimed_epoch), (1, 1));
    assert!(inspection.holder.contains(&format!("pid {}\n", std::process::id())));
    assert!(contents() == before);
    state.set("n", &2).unwrap();
}
