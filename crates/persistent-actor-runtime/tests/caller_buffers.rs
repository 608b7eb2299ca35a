//! The caller's own buffers are used again, too. Alone in its file: other tests would make buffers
//! in the same process.

#![allow(clippy::unwrap_used, reason = "a test may panic and tell")]

use persistent_actor_runtime::__private::buffers_made;
use persistent_actor_runtime::{Bytes, Node, actor, worker_for_tests};
use serde::{Deserialize, Serialize};

worker_for_tests!();

#[derive(Default, Serialize, Deserialize)]
struct Sum {}

#[actor]
impl Sum {
    fn sum(&self, bytes: Bytes) -> u64 {
        bytes.iter().map(|byte| u64::from(*byte)).sum()
    }
}

#[tokio::test]
async fn arguments_built_one_after_the_other_share_few_buffers() {
    let node = Node::in_memory().unwrap();
    let sum = node.actor::<Sum>("sum").spawn().await.unwrap();
    for round in 0..50u8 {
        let argument = Bytes::build(100_000, |out| out.fill(round));
        assert_eq!(sum.sum(argument).await.unwrap(), 100_000 * u64::from(round));
        // On the heap: copied into a buffer in order to be sent.
        let argument = Bytes::from(vec![round; 100_000]);
        assert_eq!(sum.sum(argument).await.unwrap(), 100_000 * u64::from(round));
    }
    let made = buffers_made();
    assert!((1..=4).contains(&made), "{made} buffers for 100 calls");
}
