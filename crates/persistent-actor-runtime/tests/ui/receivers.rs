#![allow(unused)]

use persistent_actor_runtime::{actor, safe_state};
use serde::{Deserialize, Serialize};

#[derive(Default, Serialize, Deserialize)]
struct Counter {
    counter: u64,
}

#[actor]
impl Counter {
    #[safe_state("counter")]
    fn unchangeable(&self) {}

    fn by_value(self) {}

    fn by_mutable_value(mut self) {}

    fn boxed(self: Box<Self>) {}

    fn with_a_lifetime(&'static self) {}
}

fn main() {}
