//! What is on disk at the end is looked at: whatever happened to it since the actors are gone is
//! found.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::path::Path;
use std::sync::Arc;

use bench_persistent_actor::actors::{LargeActorHandle, SmallActorHandle};
use bench_persistent_actor::chain;
use bench_persistent_actor::chaos::ChaosPlan;
use bench_persistent_actor::chaos::report::Report;
use bench_persistent_actor::chaos::scene::{Scene, run_disturbed};
use bench_persistent_actor::member::Member;
use bench_persistent_actor::notes::Notes;
use bench_persistent_actor::reopened::{Expected, differences};
use common::Bench;
use persistent_actor::testing::Switches;
use persistent_actor::{Durability, Integer};
use persistent_actor_runtime::worker_for_tests;

worker_for_tests!();

const LEVELS: [Durability; 2] = [Durability::Process, Durability::Power];

/// A scene of two chains with few kills.
async fn scene<M: Member>(durability: Durability, disturb: impl FnOnce(&Path)) -> Report {
    let plan = ChaosPlan {
        seed: 3,
        kills: 4,
        zombies: 0,
        restarts: 0,
        num_actors: 3,
        durability,
        switches: Switches::default(),
    };
    let scene =
        Scene { name: "scene", first_part: 0, chains: 2, num_actors: 3, kills: 4, zombies: 0 };
    let dir = Bench::new();
    let notes = Arc::new(Notes::new(4, "faults", true));
    let mut report = Report::new(&plan);
    run_disturbed::<M>(&plan, &scene, dir.tmp.path(), &notes, &mut report, disturb).await;
    report.judge();
    report
}

/// The directory of an actor of the scene.
const ACTOR: &str = "chain-1-actor-2";

/// Flips a bit of the last state in each journal of an actor: which of them counts depends on when
/// it was killed.
fn flip(actor: &Path) {
    for entry in std::fs::read_dir(actor).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().contains("/journal-") {
            let mut content = std::fs::read(&path).unwrap();
            let last = content.windows(5).rposition(|bytes| bytes == b"state");
            // A kill while the actor started may have left one that holds nothing yet.
            let Some(last) = last else { continue };
            content[last] ^= 1;
            std::fs::write(path, content).unwrap();
        }
    }
}

fn assert_found(report: &Report) {
    assert!(!report.exact, "{report:?}");
    assert!(report.diverged > 0 || report.failures.len() == 1, "{report:?}");
    assert!(report.failures.iter().all(|text| text.contains(ACTOR)), "{report:?}");
    assert!(report.updates.is_clean(), "while they lived, all was right: {report:?}");
}

#[tokio::test]
async fn a_scene_whose_files_are_left_alone_is_exact() {
    for level in LEVELS {
        let report = scene::<SmallActorHandle>(level, |_| ()).await;
        assert!(report.exact, "{report:?}");
        let report = scene::<LargeActorHandle>(level, |_| ()).await;
        assert!(report.exact, "{report:?}");
    }
}

#[tokio::test]
async fn a_flipped_byte_between_the_end_and_the_opening_is_found() {
    for level in LEVELS {
        let disturb = |dir: &Path| flip(&dir.join(ACTOR));
        assert_found(&scene::<SmallActorHandle>(level, disturb).await);
    }
}

#[tokio::test]
async fn a_state_that_is_gone_between_the_end_and_the_opening_is_found() {
    for level in LEVELS {
        let disturb = |dir: &Path| std::fs::remove_dir_all(dir.join(ACTOR)).unwrap();
        assert_found(&scene::<SmallActorHandle>(level, disturb).await);
        assert_found(&scene::<LargeActorHandle>(level, disturb).await);
    }
}

/// How often an actor was opened: each opening has an epoch.
fn openings(actor: &Path) -> u64 {
    let names = std::fs::read_dir(actor).unwrap().map(|entry| entry.unwrap().file_name());
    let epoch = |name: std::ffi::OsString| {
        u64::from_str_radix(name.to_str()?.strip_prefix("epoch-")?, 16).ok()
    };
    names.filter_map(epoch).max().unwrap()
}

#[tokio::test]
async fn a_run_whose_states_are_kept_reads_them_again_at_its_end() {
    let flags = ["--delay-ms=0", "--safe-state", "--num-actors=3", "--num-rounds=4"];
    for (more, actor) in [
        (&[][..], "actor-2"),
        (&["--workload=parallel"], "actor-2"),
        (&["--large"], "actor-2"),
        (&["--chains=2"], ACTOR),
    ] {
        let bench = Bench::new();
        let found = bench.measure(&[&flags, more, &["--state-dir=states"]].concat(), 0);
        assert_eq!(found["verified"], true);
        assert_eq!(openings(&bench.path("states").join(actor)), 2, "{more:?}");
    }
}

#[tokio::test]
async fn what_a_run_has_left_is_compared_actor_by_actor() {
    let bench = Bench::new();
    let flags = ["--delay-ms=0", "--safe-state", "--num-actors=3", "--num-rounds=4"];
    bench.measure(&[&flags[..], &["--state-dir=states"]].concat(), 0);
    let states = chain::final_states::<Integer>(3, 4);
    let applied = chain::calls_of_each(3, chain::num_calls(3, 4));
    let expected = |actor: usize| Expected {
        name: format!("actor-{actor}"),
        state: Some(states[actor].clone()),
        applied: applied[actor],
    };
    let mut expected: Vec<_> = (0..3).map(expected).collect();
    let dir = bench.path("states");
    let find = differences::<SmallActorHandle>;
    assert_eq!(find(&dir, Durability::Power, &expected).await.unwrap(), [""; 0]);
    expected[1].applied += 1;
    let found = find(&dir, Durability::Power, &expected).await.unwrap();
    assert!(found.len() == 1 && found[0].starts_with("actor-1: opened again"), "{found:?}");
}
