//! Damage of every kind: `verify` finds it and names it, `repair` says what is lost and leaves a
//! state that opens.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use common::{Doctor, blob, call, file, fingerprint, flip, open, release};
use persistent_actor::store::GroupJournal;
use persistent_actor::{ActorState, Bytes, codec};
use serde_json::Value;

/// A state after commits 1 to 6: one attribute set before the calls, then calls 0 to 4, each of
/// which sets `counter` to its number plus 100 and `blob` to an array of that many.
fn six_commits(doctor: &Doctor, name: &str) -> std::path::PathBuf {
    let path = doctor.path(name);
    let mut state = open(&path);
    state.set("name", &"kept").unwrap();
    for number in 0..5 {
        call(&mut state, number, number + 100, &blob(number as u8));
    }
    drop(state);
    release(&path);
    path
}

fn finding(doctor: &Doctor) -> (String, Value, String) {
    let reports = doctor.json(1, &["verify", "state", "--json"]);
    assert_eq!(reports[0]["verdict"], "damaged");
    let damage = reports[0]["damage"].as_array().unwrap();
    let first = &damage[0];
    let text = |field: &str| first[field].as_str().unwrap().to_owned();
    (text("file"), first["offset"].clone(), text("reason"))
}

/// Where the records of a journal start: the snapshot, then the commits.
fn records(journal: &Path) -> Vec<usize> {
    let bytes = fs::read(journal).unwrap();
    let mut starts = Vec::new();
    let mut position = 512;
    while position + 40 <= bytes.len() {
        if 512 - position % 512 < 40 {
            position = position.next_multiple_of(512);
            continue;
        }
        let field = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let (len, kind) = (field(position + 4), field(position + 24));
        if kind == 1 || kind == 2 {
            starts.push(position);
            assert!(len <= 464, "only short records here");
            position += (40 + len).next_multiple_of(8) + 8;
        } else {
            position = (position + 1).next_multiple_of(512);
        }
    }
    starts
}

fn counter(path: &Path) -> Option<u64> {
    let state = open(path);
    let counter = state.get("counter").unwrap();
    let bytes: Option<Bytes> = state.get("blob").unwrap();
    if let Some(bytes) = bytes {
        assert!(bytes == blob(counter.unwrap_or(100) as u8 - 100), "array and counter agree");
    }
    counter
}

#[test]
fn a_flipped_byte_in_any_kind_of_file_is_found_and_named() {
    let doctor = Doctor::new();
    let cases: &[(&str, usize, u64, &str)] = &[
        ("identity", 30, 0, "its checksum is wrong"),
        ("journal-", 3, 0, "the file does not start like a journal"),
        ("journal-", 33, 0, "the checksum of the journal header is wrong"),
        ("journal-", 512 + 50, 512, "the checksum of the record is wrong"),
        ("slot-", 1, 0, "the file does not start like a slot"),
        ("slot-", 20, 0, "the checksum of the slot header is wrong"),
        ("slot-", 4096 + 70_000, 4096, "the checksum of the content is wrong"),
    ];
    for (prefix, place, offset, reason) in cases {
        let path = six_commits(&doctor, "state");
        // The large values that are in use: of two slots, one holds a superseded value.
        let slots = common::file_names(&path).into_iter().filter(|name| name.starts_with(prefix));
        for name in slots {
            flip(&path.join(name), *place);
        }
        let (file, found, why) = finding(&doctor);
        assert!(file.starts_with(prefix), "{file}");
        assert_eq!((found, why.as_str()), (Value::from(*offset), *reason), "{prefix} {place}");
        fs::remove_dir_all(&path).unwrap();
    }
}

#[test]
fn a_missing_a_short_and_a_foreign_file_are_found_and_named() {
    let doctor = Doctor::new();
    let path = six_commits(&doctor, "state");
    let slot = |path: &Path| file(path, "slot-");
    fs::remove_file(slot(&path)).unwrap();
    assert_eq!(finding(&doctor).2, "the journal refers to it, but it is missing");

    fs::remove_dir_all(&path).unwrap();
    six_commits(&doctor, "state");
    for name in common::file_names(&path).iter().filter(|name| name.starts_with("slot-")) {
        fs::File::options().write(true).open(path.join(name)).unwrap().set_len(4096 + 10).unwrap();
    }
    assert_eq!(finding(&doctor).2, "1048576 bytes should be there, 10 are");

    fs::remove_dir_all(&path).unwrap();
    six_commits(&doctor, "state");
    let journal = file(&path, "journal-");
    fs::File::options().write(true).open(&journal).unwrap().set_len(1024).unwrap();
    let reason = finding(&doctor).2;
    assert!(
        reason.starts_with("the file should have ") && reason.ends_with("it has 1024"),
        "{reason}"
    );

    fs::remove_dir_all(&path).unwrap();
    six_commits(&doctor, "state");
    let other = six_commits(&doctor, "other");
    fs::copy(other.join("identity"), path.join("identity")).unwrap();
    assert_eq!(finding(&doctor).2, "the journal belongs to another state");
    let complaint = doctor.complaint(1, &["repair", "state", "--yes"]);
    assert_eq!(
        complaint,
        "error: state cannot be repaired: the identity and the journal come from different \
         states; put the right one back\n"
    );
}

#[test]
fn verify_checks_all_states_under_a_root() {
    let doctor = Doctor::new();
    six_commits(&doctor, "root/good");
    let bad = six_commits(&doctor, "root/bad");
    fs::create_dir(doctor.path("root/new")).unwrap();
    assert!(doctor.ok(&["verify", "root/good"]).starts_with("root/good: ok, sequence 6, "));
    flip(&bad.join("identity"), 40);
    let text = doctor.expect(1, &["verify", "root"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "root/bad: damaged");
    assert_eq!(lines[1], "  identity: byte 0: its checksum is wrong");
    assert!(lines[2].starts_with("root/good: ok, "), "{text}");
    assert!(lines[3].starts_with("root/new: empty"), "{text}");
}

#[test]
fn a_root_whose_only_actor_never_saved_anything_is_fine_and_a_state_that_is_not_there_is_not() {
    let doctor = Doctor::new();
    fs::create_dir_all(doctor.path("root/new")).unwrap();
    assert!(doctor.ok(&["verify", "root"]).starts_with("root/new: empty"));
    assert_eq!(doctor.json(0, &["verify", "root", "--json"])[0]["verdict"], "empty");
    for args in [&["verify", "root/new"][..], &["verify", "missing"]] {
        assert!(doctor.expect(2, args).contains(": empty"), "{args:?}");
    }
}

#[test]
fn all_damage_is_listed_not_only_the_first() {
    let doctor = Doctor::new();
    let path = six_commits(&doctor, "state");
    flip(&path.join("identity"), 40);
    flip(&file(&path, "journal-"), 20);
    let text = doctor.expect(1, &["verify", "state"]);
    assert_eq!(text.lines().count(), 3, "{text}");
}

#[test]
fn a_damaged_identity_or_journal_header_costs_nothing() {
    let doctor = Doctor::new();
    for (prefix, place) in [("identity", 40), ("journal-", 20)] {
        let path = six_commits(&doctor, "state");
        flip(&file(&path, prefix), place);
        let text = doctor.ok(&["repair", "state", "--yes"]);
        assert!(text.contains("kept: the whole state after commit 6 (3 attributes)\n"), "{text}");
        assert!(!text.contains("lost:"), "{text}");
        assert_eq!(counter(&path), Some(104));
        assert_eq!(open(&path).view().ledger.len(), 5, "calls are remembered");
        for name in fs::read_dir(doctor.tmp.path()).unwrap() {
            fs::remove_dir_all(name.unwrap().path()).unwrap();
        }
    }
}

#[test]
fn a_damaged_record_costs_the_commits_from_there_on_and_they_are_named() {
    let doctor = Doctor::new();
    let path = six_commits(&doctor, "state");
    let journal = file(&path, "journal-");
    let starts = records(&journal);
    assert_eq!(starts.len(), 7, "a snapshot and six commits");
    // Commit 6: the large values of commit 5 are still there, those of older ones are not.
    flip(&journal, starts[6] + 60);
    let before = fingerprint(&path);
    let plan = doctor.ok(&["repair", "state", "--output", "repaired"]);
    let name = journal.file_name().unwrap().to_str().unwrap();
    assert_eq!(
        plan,
        format!(
            "state: damaged\n  {name}: byte {}: the checksum of the record is wrong\n\
             kept: the whole state after commit 5 (3 attributes)\n\
             lost: commit 6: it cannot be read\n",
            starts[6]
        )
    );
    assert!(fingerprint(&path) == before, "the original is as it was");
    assert_eq!(counter(&doctor.path("repaired")), Some(103));
    let reopened = open(&doctor.path("repaired"));
    assert_eq!(reopened.sequence(), 5);
}

#[test]
fn large_values_that_were_overwritten_make_repair_say_so_or_go_further_back() {
    let doctor = Doctor::new();
    let path = six_commits(&doctor, "state");
    let journal = file(&path, "journal-");
    let starts = records(&journal);
    // Commit 4 is the first that cannot be read; the arrays of commit 3 were overwritten since.
    flip(&journal, starts[4] + 60);
    let text = doctor.ok(&["repair", "state", "--output", "whole"]);
    assert!(text.contains("lost: commits 4 to 6: commit 4 cannot be read"), "{text}");
    assert!(text.contains("lost: commits 2 to 3: they need large values"), "{text}");
    assert!(text.contains("kept: the whole state after commit 1 (1 attribute)\n"), "{text}");
    assert!(text.contains("lost: the effect of call"), "{text}");
    let state = open(&doctor.path("whole"));
    assert_eq!(state.get::<String>("name").unwrap().as_deref(), Some("kept"));
    assert_eq!(state.get::<u64>("counter").unwrap(), None);
    drop(state);

    let text = doctor.ok(&["repair", "state", "--output", "partial", "--drop-unreadable"]);
    assert!(text.contains("kept: what can be read of the state after commit 3"), "{text}");
    assert!(text.contains("lost: attribute blob\n"), "{text}");
    let state = open(&doctor.path("partial"));
    assert_eq!(state.get::<u64>("counter").unwrap(), Some(101));
    assert_eq!(state.get::<Bytes>("blob").unwrap(), None);
}

/// A state after three commits that shared syncs with others, as a killed program leaves it, and
/// without the group journal.
fn without_group_journal(doctor: &Doctor, root: &str) -> std::path::PathBuf {
    let root = doctor.path(root);
    let options = ActorState::options();
    let group = Arc::new(GroupJournal::open(&root, &options).unwrap());
    let mut state = GroupJournal::open_state(&group, "counter", options).unwrap();
    for count in 1..=3u64 {
        let ticket = state.update([("counter", codec::encode(&count).unwrap())]).unwrap();
        group.wait(ticket).unwrap();
    }
    drop((state, group));
    release(&root.join("counter"));
    fs::remove_dir_all(root.join(".group")).unwrap();
    root.join("counter")
}

#[test]
fn a_state_whose_group_journal_is_missing_is_repaired_from_what_is_left_and_the_loss_is_named() {
    let doctor = Doctor::new();
    let path = without_group_journal(&doctor, "root");
    let complaint = doctor.complaint(2, &["show", "root/counter"]);
    assert!(complaint.contains("or repair the state from what is left"), "{complaint}");
    assert!(doctor.expect(2, &["verify", "root"]).starts_with("root/counter: unreadable: "));
    let before = fingerprint(&doctor.path("root"));
    let text = doctor.ok(&["repair", "root/counter", "--output", "repaired"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "root/counter: damaged");
    assert!(lines[1].starts_with("  ../.group: byte 0: the group journal "), "{text}");
    assert!(lines[1].ends_with(", which may hold the newest commits, is missing"), "{text}");
    assert_eq!(lines[2], "kept: the whole state after commit 3 (1 attribute)");
    assert_eq!(lines[3..], ["lost: commit 4 and later ones, if there were any"]);
    let repaired = doctor.path("repaired");
    assert!(fingerprint(&doctor.path("root")) == before, "the original is as it was");
    assert_eq!(open(&repaired).get("counter").unwrap(), Some(3u64));
    doctor.ok(&["verify", "repaired"]);

    doctor.ok(&["repair", "root/counter", "--yes"]);
    assert_eq!(open(&path).get("counter").unwrap(), Some(3u64));
}

#[test]
fn repair_makes_a_copy_first_and_asks() {
    let doctor = Doctor::new();
    let path = six_commits(&doctor, "state");
    flip(&path.join("identity"), 40);
    let before = fingerprint(doctor.tmp.path());
    let complaint = doctor.complaint(2, &["repair", "state"]);
    assert_eq!(
        complaint,
        "error: nothing was done: standard input is not a terminal, so there is nobody to ask; \
         expected --yes\n"
    );
    assert!(fingerprint(doctor.tmp.path()) == before);

    let original: Vec<(String, Vec<u8>)> = common::file_names(&path)
        .into_iter()
        .map(|name| (name.clone(), fs::read(path.join(name)).unwrap()))
        .collect();
    doctor.ok(&["repair", "state/", "--yes"]);
    let names = common::file_names(doctor.tmp.path());
    assert_eq!(names.len(), 2, "nothing else is left: {names:?}");
    let backup = names.iter().find(|name| name.starts_with("state.backup-2")).unwrap();
    for (name, content) in original {
        assert!(fs::read(doctor.path(backup).join(&name)).unwrap() == content, "{name}");
    }
    assert_eq!(doctor.ok(&["repair", "state", "--yes"]), "state: ok, there is nothing to repair\n");
    assert_eq!(counter(&path), Some(104));
}

#[test]
fn a_state_without_a_readable_snapshot_is_left_alone() {
    let doctor = Doctor::new();
    let path = six_commits(&doctor, "state");
    flip(&file(&path, "journal-"), 512 + 45);
    let before = fingerprint(doctor.tmp.path());
    let complaint = doctor.complaint(1, &["repair", "state", "--yes"]);
    assert_eq!(
        complaint,
        "error: state cannot be repaired: the snapshot at the beginning of the journal is \
         damaged\n"
    );
    assert!(fingerprint(doctor.tmp.path()) == before);
}

#[test]
fn a_state_in_use_is_not_repaired() {
    let doctor = Doctor::new();
    let mut state = doctor.open("state");
    state.set("x", &1).unwrap();
    flip(&doctor.path("state/identity"), 40);
    let complaint = doctor.complaint(2, &["repair", "state", "--yes"]);
    let pid = std::process::id();
    assert_eq!(complaint, format!("error: state is in use by process {pid}; stop it first\n"));
}

#[test]
fn no_flipped_byte_makes_the_doctor_panic_or_hide_anything() {
    let doctor = Doctor::new();
    let path = doctor.path("state");
    let mut state = open(&path);
    state.set("text", &"x".repeat(700)).unwrap();
    call(&mut state, 0, 7, &Bytes::from(vec![1; 70_000]));
    drop(state);
    release(&path);
    let whole = persistent_actor::store::inspect(&path).unwrap().view;
    for name in common::file_names(&path) {
        let file = path.join(&name);
        let bytes = fs::read(&file).unwrap();
        // Every byte of what is small, a sample of the rest.
        let places = (0..bytes.len()).filter(|n| *n < 2600 && n % 7 == 0 || n % 4801 == 0);
        for place in places {
            let mut changed = bytes.clone();
            changed[place] ^= 0x10;
            fs::write(&file, &changed).unwrap();
            match persistent_actor::store::inspect(&path) {
                Ok(found) => assert!(found.view == whole, "{name} byte {place} does not matter"),
                Err(error) => {
                    let salvage = persistent_actor::store::salvage(&path);
                    let salvage = salvage.unwrap_or_else(|_| Default::default());
                    let named = salvage.damage.iter().any(|damage| damage.file == name);
                    let newer = matches!(error, persistent_actor::OpenError::NewerVersion { .. });
                    assert!(named || newer, "{name} byte {place}: {error}: {salvage:?}");
                }
            }
        }
        fs::write(&file, &bytes).unwrap();
    }
    let _: u64 = codec::decode(&whole.attributes["counter"]).unwrap();
}
