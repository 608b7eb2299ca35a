#![allow(unused)]

use persistent_actor_runtime::{actor, safe_state};
use serde::{Deserialize, Serialize};

#[derive(Default, Serialize, Deserialize)]
struct Counter {
    counter: u64,
}

#[actor]
impl Counter {
    #[safe_state("counter", "conuter")]
    fn increment(&mut self) {
        self.counter += 1;
    }
}

fn main() {}
