#![allow(unused)]

use persistent_actor_runtime::{actor, safe_state};
use serde::{Deserialize, Serialize};

#[derive(Default, Serialize, Deserialize)]
struct Counter {
    counter: u64,
}

trait Count {
    fn increment(&mut self);
}

#[actor]
impl Count for Counter {
    #[safe_state("counter")]
    fn increment(&mut self) {}
}

fn main() {}
