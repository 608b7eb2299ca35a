//! Arrays that are changed in place: what a call changes outlives its process, what a failed call
//! changes does not even outlive the call.

#![allow(clippy::unwrap_used, reason = "a test may panic and tell")]

mod support;

use persistent_actor_runtime::{
    Bytes, Durability, KillPoint, PagedBytes, TrackedBytes, actor, safe_state, worker_for_tests,
};
use serde::{Deserialize, Serialize};
use support::state_root;

worker_for_tests!();

const LEN: usize = 1 << 20;

/// Two arrays that are to hold the same.
#[derive(Serialize, Deserialize)]
struct Tables {
    paged: PagedBytes,
    tracked: TrackedBytes,
}

impl Default for Tables {
    fn default() -> Self {
        Self { paged: PagedBytes::zeroed(LEN), tracked: TrackedBytes::from(vec![0; LEN]) }
    }
}

#[actor]
impl Tables {
    #[safe_state("paged", "tracked")]
    fn put(&mut self, at: usize, value: u8, fails: bool) -> Result<usize, String> {
        self.paged.write(at, &[value; 5000]);
        self.tracked[at..at + 5000].fill(value);
        if fails { Err(format!("not at {at}")) } else { Ok(at) }
    }

    fn paged(&self) -> PagedBytes {
        self.paged.clone()
    }

    fn tracked(&self) -> TrackedBytes {
        self.tracked.clone()
    }

    #[safe_state("paged")]
    fn replace(&mut self, by: Bytes) -> Bytes {
        self.paged = PagedBytes::from(&by[..]);
        by
    }
}

async fn check(tables: &TablesHandle, expected: &[u8]) {
    assert!(tables.paged().await.unwrap().to_vec() == expected, "paged");
    assert!(tables.tracked().await.unwrap()[..] == *expected, "tracked");
}

#[tokio::test]
async fn what_a_call_changed_in_place_outlives_the_process_and_what_a_failed_one_did_does_not() {
    for durability in [Durability::Process, Durability::Power] {
        let root = state_root();
        let node = support::node(&root, durability);
        let tables = node.actor::<Tables>("tables").spawn().await.unwrap();
        let mut expected = vec![0; LEN];
        for round in 0..12u8 {
            let at = usize::from(round) * 70_001;
            tables.put(at, round + 1, false).await.unwrap();
            expected[at..at + 5000].fill(round + 1);
            let error = tables.put(at / 2, 99, true).await.unwrap_err().to_string();
            assert!(error.contains("not at"), "{error}");
            if round % 3 == 0 {
                check(&tables, &expected).await;
                tables.kill().await.unwrap();
            }
            check(&tables, &expected).await;
        }
        node.shutdown().await;
        drop((tables, node));
        let node = support::node(&root, durability);
        let tables = node.actor::<Tables>("tables").spawn().await.unwrap();
        check(&tables, &expected).await;
    }
}

#[tokio::test]
async fn a_change_in_place_that_was_committed_before_a_kill_is_answered_from_its_record() {
    let root = state_root();
    let node = support::node(&root, Durability::Power);
    let tables = node.actor::<Tables>("tables").spawn().await.unwrap();
    let mut expected = vec![0; LEN];
    for point in [KillPoint::BeforeRun, KillPoint::BeforeCommit, KillPoint::AfterCommit] {
        tables.kill_during_next_call(point);
        assert_eq!(tables.put(LEN - 5000, 7, false).await.unwrap(), LEN - 5000);
        expected[LEN - 5000..].fill(7);
        check(&tables, &expected).await;
    }
    let whole = Bytes::from(vec![5; LEN]);
    assert!(tables.replace(whole.clone()).await.unwrap() == whole);
    tables.kill().await.unwrap();
    assert!(tables.paged().await.unwrap().to_vec() == whole[..]);
}
