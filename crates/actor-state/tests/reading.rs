//! Commands that read: what they print, and that they change nothing.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::{BIGNUM, Doctor, assert_expected, blob, call, fingerprint, id, release};
use persistent_actor::{Bytes, Reply, ReplyStatus, codec};
use serde_json::Value;

/// Puts fixed values where every state has its own.
fn normalise(report: &mut Value) {
    assert_eq!(report["state_id"].as_str().unwrap().len(), 32);
    report["state_id"] = "…".into();
    let files = report["files"].as_array().unwrap();
    let sum: u64 = files.iter().map(|file| file["size_bytes"].as_u64().unwrap()).sum();
    assert_eq!(report["disk_bytes"], sum);
    report["disk_bytes"] = "the sum".into();
    for file in report["files"].as_array_mut().unwrap() {
        if file["name"].as_str().unwrap().starts_with("journal") {
            file["size_bytes"] = "capacity".into();
        }
    }
}

#[test]
fn show_gives_everything_as_json() {
    let doctor = Doctor::new();
    doctor.example("state");
    let mut report = doctor.json(0, &["show", "state", "--json"]);
    normalise(&mut report);
    assert_expected("show.json", &(serde_json::to_string_pretty(&report).unwrap() + "\n"));
}

#[test]
fn show_prints_attributes_with_type_size_and_beginning() {
    let doctor = Doctor::new();
    doctor.example("state");
    let text = doctor.ok(&["show", "state"]);
    let attributes = text.split_once("\n\n").unwrap().1;
    assert_expected("show-attributes.txt", attributes);
    assert!(text.contains("Held by   nobody (last process 1)\n"), "{text}");
    assert!(text.contains("Ledger    3 calls of 1 session, "), "{text}");
}

#[test]
fn get_prints_a_value_for_people_for_programs_and_raw() {
    let doctor = Doctor::new();
    doctor.example("state");
    let get = |attribute: &str, flag: &[&str]| {
        let output = doctor.run(&[&["get", "state", attribute], flag].concat());
        assert!(output.status.success());
        output.stdout
    };
    assert_eq!(get("big", &[]), format!("{BIGNUM}\n").into_bytes());
    assert_eq!(get("big", &["--json"]), format!("{BIGNUM}\n").into_bytes());
    assert_eq!(get("table", &[]), b"{\"a\": [1, 2], \"b\": []}\n");
    assert_eq!(get("table", &["--json"]), b"{\"a\":[1,2],\"b\":[]}\n");
    assert_eq!(get("blob", &[]), b"<1048576 bytes, all 04>\n");
    assert_eq!(get("blob", &["--raw"]), vec![4; 1 << 20]);
    assert_eq!(get("counter", &["--raw"]), codec::encode(&12u64).unwrap().inline);
    let json: Value = serde_json::from_slice(&get("blob", &["--json"])).unwrap();
    assert_eq!(json["$bytes"].as_str().unwrap().len(), (1usize << 20).div_ceil(3) * 4);
}

#[test]
fn raw_output_of_a_value_with_large_arrays_is_cbor_that_stands_alone() {
    let doctor = Doctor::new();
    let value = ("two arrays", blob(1), blob(2));
    doctor.open("state").set("pair", &value).unwrap();
    let output = doctor.run(&["get", "state", "pair", "--raw"]);
    let alone = persistent_actor::Encoded { inline: output.stdout, blobs: Vec::new() };
    let (text, one, two): (String, Bytes, Bytes) = codec::decode(&alone).unwrap();
    assert_eq!((text.as_str(), one, two), ("two arrays", blob(1), blob(2)));
}

#[test]
fn list_shows_every_actor_under_a_root_and_says_what_is_wrong() {
    let doctor = Doctor::new();
    doctor.example("root/counter");
    doctor.example("root/%2E%2E%2Fx");
    doctor.example("root/broken");
    common::flip(&doctor.path("root/broken/identity"), 30);
    fs::create_dir(doctor.path("root/new")).unwrap();
    fs::write(doctor.path("root/.lock"), "").unwrap();
    let output = doctor.run(&["list", "root"]);
    assert_eq!(output.status.code(), Some(1), "damage was found");
    assert_expected("list.txt", &common::stdout(&output));
    let complaints = common::stderr(&output);
    assert!(
        complaints.contains("broken: root/broken/identity is damaged at byte 0"),
        "{complaints}"
    );

    let rows = doctor.json(1, &["list", "root", "--json"]);
    let names: Vec<&str> =
        rows.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["../x", "broken", "counter", "new"]);
    let counter = &rows[2];
    assert_eq!(counter["verdict"], "ok");
    assert_eq!((&counter["attributes"], &counter["calls"]), (&Value::from(5), &Value::from(3)));
    assert_eq!(rows[1]["epoch"], Value::Null, "what is not known is null");
    let by_name = doctor.ok(&["get", "--root", "root", "../x", "counter"]);
    assert_eq!(by_name, "12\n");
}

#[test]
fn list_names_the_living_holder() {
    let doctor = Doctor::new();
    let _state = doctor.open("root/counter");
    let rows = doctor.json(0, &["list", "root", "--json"]);
    assert_eq!(rows[0]["holder"]["pid"], std::process::id());
    assert_eq!(rows[0]["holder"]["alive"], true);
}

#[test]
fn diff_tells_attributes_apart_by_their_content() {
    let doctor = Doctor::new();
    doctor.example("one");
    doctor.example("two");
    assert_eq!(doctor.ok(&["diff", "one", "two"]), "");
    let mut state = doctor.open("two");
    let mut changed = blob(4);
    changed.make_mut()[77..80].fill(9);
    state.set("blob", &changed).unwrap();
    state.set("counter", &13u64).unwrap();
    state.set("new", &"x").unwrap();
    drop(state);
    assert_eq!(
        doctor.expect(1, &["diff", "one", "two"]),
        "+ new: \"x\"\n\
         ~ blob: <1048576 bytes, all 04> -> <1048576 bytes, first \
         04040404040404040404040404040404> (3 bytes differ, the first at 77)\n\
         ~ counter: 12 -> 13\n"
    );
    let report = doctor.json(1, &["diff", "two", "one", "--json"]);
    assert_expected("diff.json", &(serde_json::to_string_pretty(&report).unwrap() + "\n"));
}

#[test]
fn a_comparison_with_a_damaged_state_is_no_difference() {
    let doctor = Doctor::new();
    doctor.example("one");
    doctor.example("two");
    common::flip(&doctor.path("two/identity"), 30);
    let complaint = doctor.complaint(2, &["diff", "one", "two"]);
    assert!(complaint.contains("two/identity is damaged at byte 0"), "{complaint}");
}

#[test]
fn calls_and_their_outcomes_are_told() {
    let doctor = Doctor::new();
    doctor.example("state");
    let mut state = doctor.open("state");
    let value = codec::encode("out of range").unwrap();
    let reply = Reply { status: ReplyStatus::Failed, value };
    state.commit_call(id(3), 1, 7, reply, Vec::new()).unwrap();
    drop(state);
    let calls = doctor.json(0, &["calls", "state", "--json"]);
    let mut calls: Vec<Value> = calls.as_array().unwrap().clone();
    for call in &mut calls {
        assert!(call["committed_ms"].as_u64().unwrap() > 1_600_000_000_000);
        call["committed_ms"] = "then".into();
    }
    assert_expected("calls.json", &(serde_json::to_string_pretty(&calls).unwrap() + "\n"));
    assert_eq!(doctor.ok(&["calls", "state"]).lines().count(), 4);

    let outcome =
        |code, number: u64| doctor.expect(code, &["outcome", "state", &id(number).to_string()]);
    assert_eq!(outcome(0, 2), "committed\nsequence 8\nreturned 12\n");
    assert_eq!(outcome(0, 3), "committed\nsequence 9\nfailed \"out of range\"\n");
    assert_eq!(outcome(1, 4), "not committed\n");
    assert_eq!(outcome(3, 0), "forgotten\n", "it was acknowledged");
    let report = doctor.json(0, &["outcome", "state", &id(2).to_string(), "--json"]);
    assert_eq!(report["reply"], 12);
    let report = doctor.json(1, &["outcome", "state", &id(4).to_string(), "--json"]);
    assert_eq!((&report["outcome"], &report["reply"]), (&"not committed".into(), &Value::Null));
}

/// Commands that read, on the states `one` and `two` in `root`.
const READ_ONLY: &[&[&str]] = &[
    &["list", "root"],
    &["show", "root/one"],
    &["show", "root/one", "--json"],
    &["get", "root/one", "blob"],
    &["get", "root/one", "blob", "--raw"],
    &["diff", "root/one", "root/two"],
    &["verify", "root/one"],
    &["verify", "root"],
    &["calls", "root/one"],
    &["outcome", "root/one", "01900000000000000000000000000007:1"],
    &["export", "root/one", "-"],
];

#[test]
fn commands_that_read_change_no_byte_and_no_time() {
    let doctor = Doctor::new();
    for damaged in [false, true] {
        doctor.example("root/one");
        doctor.example("root/two");
        if damaged {
            let slot = common::file(&doctor.path("root/one"), "slot-");
            common::flip(&slot, 5000);
        }
        release(&doctor.path("root/one"));
        let before = fingerprint(doctor.tmp.path());
        for args in READ_ONLY {
            let output = doctor.run(args);
            let code = output.status.code().unwrap();
            assert!(code == 0 || damaged, "{args:?}: {}", common::stderr(&output));
            assert!(fingerprint(doctor.tmp.path()) == before, "{args:?} changed something");
        }
        fs::remove_dir_all(doctor.path("root")).unwrap();
    }
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_running_actor_is_neither_held_up_nor_fenced_and_every_read_is_a_committed_state() {
    let doctor = Doctor::new();
    let mut state = doctor.open("root/one");
    doctor.example("root/two");
    call(&mut state, 0, 0, &blob(0));
    let epoch = state.epoch();
    let (stop, committed) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                // The counter and every byte of the array always agree.
                call(&mut state, number, number, &blob(number as u8));
                state.maintain().unwrap();
                committed.store(number, Ordering::Release);
            }
            number
        });
        // Also when an assertion fails: the scope waits for the writer.
        let stop_writer = StopOnDrop(&stop);
        let mut last = 0;
        for round in 0..8 {
            let wanted = committed.load(Ordering::Acquire) + 1;
            while committed.load(Ordering::Acquire) < wanted {
                assert!(!writer.is_finished(), "the writer goes on");
                std::thread::yield_now();
            }
            let file = doctor.path(&format!("export-{round}"));
            doctor.ok(&["export", "root/one", file.to_str().unwrap()]);
            doctor.ok(&["import", file.to_str().unwrap(), &format!("copy-{round}")]);
            let read = doctor.path(&format!("copy-{round}"));
            let read = persistent_actor::store::inspect(&read).unwrap();
            let counter: u64 = codec::decode(&read.view.attributes["counter"]).unwrap();
            let bytes: Bytes = codec::decode(&read.view.attributes["blob"]).unwrap();
            assert!(bytes == blob(counter as u8), "commit {counter} was read whole");
            assert!(counter + 1 >= wanted && counter >= last, "{counter} is not old: {wanted}");
            last = counter;
            for args in READ_ONLY {
                let output = doctor.run(args);
                let answered = output.status.success() || matches!(args[0], "diff" | "outcome");
                let errors = common::stderr(&output);
                assert!(answered && !errors.contains("error"), "{args:?}: {errors}");
            }
        }
        drop(stop_writer);
        assert!(writer.join().unwrap() > last);
    });
    assert_eq!(state.epoch(), epoch);
    state.set("after", &1).expect("it was not fenced");
}

#[test]
fn values_that_are_no_cbor_are_said_to_be_so() {
    let doctor = Doctor::new();
    let mut state = doctor.open("state");
    let nonsense = persistent_actor::Encoded { inline: vec![0x82, 1], blobs: Vec::new() };
    state.update([("odd", nonsense)]).unwrap();
    drop(state);
    let complaint = doctor.complaint(1, &["get", "state", "odd"]);
    assert_eq!(
        complaint,
        "error: state: attribute \"odd\" is not readable as CBOR: 1 bytes announced, 0 are left \
         at byte 2\n"
    );
    let reports = doctor.json(1, &["verify", "state", "--json"]);
    assert_eq!(reports[0]["damage"][0]["offset"], Value::Null);
    doctor.ok(&["show", "state"]);
}

#[test]
fn a_long_list_is_healthy_though_it_is_only_printed_raw() {
    let doctor = Doctor::new();
    let list = vec![7u8; 4_500_000];
    let reply = Reply { status: ReplyStatus::Returned, value: codec::encode(&list).unwrap() };
    let mut state = doctor.open("state");
    state.set("list", &list).unwrap();
    state.commit_call(id(0), 0, 7, reply, Vec::new()).unwrap();
    drop(state);
    assert!(doctor.ok(&["verify", "state"]).starts_with("state: ok, "));
    let raw = doctor.run(&["get", "state", "list", "--raw"]);
    assert!(raw.status.success(), "{}", common::stderr(&raw));
    assert!(raw.stdout == codec::encode(&list).unwrap().inline);
    for args in [&["get", "state", "list"][..], &["get", "state", "list", "--json"]] {
        assert_eq!(
            doctor.complaint(2, args),
            "error: state: attribute \"list\" is too long to be shown or printed as JSON: it has \
             4500001 data items; at most 4000000 are shown; --raw prints its bytes, which are \
             CBOR\n"
        );
    }
    // All else goes on without the value.
    assert!(doctor.ok(&["show", "state"]).contains("array of 4500000"));
    doctor.ok(&["calls", "state"]);
    let call = id(0).to_string();
    let outcome = doctor.ok(&["outcome", "state", &call]);
    assert!(outcome.ends_with("returned 4500001 data items; at most 4000000 are shown\n"));
    let outcome = doctor.json(0, &["outcome", "state", &call, "--json"]);
    assert_eq!((&outcome["outcome"], &outcome["reply"]), (&"committed".into(), &Value::Null));
    doctor.example("other");
    assert!(doctor.expect(1, &["diff", "state", "other"]).contains("- list: 4500001 data items"));
    doctor.ok(&["export", "state", "file"]);
    doctor.ok(&["import", "file", "copy"]);
    assert_eq!(doctor.ok(&["diff", "state", "copy"]), "");
}

#[test]
fn attributes_are_named_when_one_is_not_found() {
    let doctor = Doctor::new();
    doctor.example("state");
    let complaint = doctor.complaint(2, &["get", "state", "Counter"]);
    assert_eq!(
        complaint,
        "error: state has no attribute \"Counter\"; its attributes: big, blob, counter, name, \
         table\n"
    );
}

#[test]
fn calls_that_the_actor_died_of_are_no_attribute_of_its_user() {
    let doctor = Doctor::new();
    doctor.example("state");
    doctor.ok(&["fork", "state", "twin"]);
    let mut state = doctor.open("twin");
    let run = persistent_actor::SessionId::generate().unwrap();
    let attempt = persistent_actor::Attempt { run, deaths: 5, limit: 5, last: "signal 6".into() };
    assert!(state.note_attempt(common::id(9), "abort", &attempt).unwrap().is_some());
    drop(state);
    common::release(&doctor.path("twin"));
    assert_eq!(doctor.json(0, &["diff", "state", "twin", "--json"])["same"], true);
    let shown = doctor.json(0, &["show", "twin", "--json"]);
    assert_eq!(shown["attributes"].as_array().unwrap().len(), 5);
    assert_eq!(doctor.json(0, &["verify", "twin", "--json"])[0]["attributes"], 5);
    // Another actor has not died of anything.
    doctor.ok(&["fork", "twin", "third"]);
    assert!(doctor.open("third").intents().is_empty());
    // The same actor in another place has.
    doctor.ok(&["export", "twin", "file"]);
    doctor.ok(&["import", "file", "moved"]);
    assert!(doctor.open("moved").intents().poison(common::id(9)).is_some());
}
