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
    const ONE: u64 = 1;

    #[safe_state("counter")]
    fn new() -> Self {
        Self { counter: Self::ONE }
    }

    #[cfg_attr(unix, safe_state("counter"))]
    fn conditionally(&mut self) {}

    #[cfg_attr(unix, cfg(windows))]
    fn never(&mut self) {}
}

fn main() {
    Counter::new();
}
