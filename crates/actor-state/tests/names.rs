//! The local engine gives directories their names; this tool finds them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::Doctor;
use persistent_actor_runtime::{Durability, Node, actor, safe_state, worker_for_tests};
use serde::{Deserialize, Serialize};

worker_for_tests!();

#[derive(Default, Serialize, Deserialize)]
struct Counter {
    counter: u64,
}

#[actor]
impl Counter {
    #[safe_state("counter")]
    fn increment(&mut self, by: u64) -> u64 {
        self.counter += by;
        self.counter
    }

    fn process(&self) -> u32 {
        std::process::id()
    }
}

#[tokio::test]
async fn actors_are_found_by_the_names_that_their_program_gave_them() {
    let doctor = Doctor::new();
    let root = doctor.path("root");
    let node = Node::builder().durability(Durability::Process).open(&root).unwrap();
    for (by, name) in (1u64..).zip(["plain-1_A", "../up", "größe 10%", "."]) {
        let counter = node.actor::<Counter>(name).spawn().await.unwrap();
        assert_eq!(counter.increment(by).await.unwrap(), by);
        let read = doctor.ok(&["get", "--root", "root", name, "counter"]);
        assert_eq!(read, format!("{by}\n"), "while the actor runs");
        let pid = counter.process().await.unwrap();
        let shown = doctor.json(0, &["show", "--root", "root", name, "--json"]);
        assert_eq!(shown["holder"]["pid"], pid, "the worker holds it");
        let complaint = doctor.complaint(2, &["delete", "--root", "root", name, "--yes"]);
        assert!(complaint.contains(&format!("in use by process {pid}")), "{complaint}");
    }
    let rows = doctor.json(0, &["list", "root", "--json"]);
    let mut names: Vec<&str> =
        rows.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, [".", "../up", "größe 10%", "plain-1_A"]);
}
