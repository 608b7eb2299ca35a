#![allow(unused)]

use persistent_actor_runtime::{actor, safe_state};
use serde::{Deserialize, Serialize};

#[derive(Default, Serialize, Deserialize)]
struct Counter {
    counter: u64,
}

#[actor]
impl Counter {
    #[safe_state]
    fn without_parentheses(&mut self) {}

    #[safe_state()]
    fn without_names(&mut self) {}

    #[safe_state = "counter"]
    fn as_a_value(&mut self) {}

    #[safe_state(counter)]
    fn without_quotes(&mut self) {}

    #[safe_state("counter", 7)]
    fn with_a_number(&mut self) {}

    #[safe_state("counter", "counter")]
    fn twice(&mut self) {}

    #[safe_state("the counter")]
    fn with_a_space(&mut self) {}

    #[safe_state("")]
    fn empty(&mut self) {}

    #[safe_state("self")]
    fn itself(&mut self) {}

    #[safe_state("counter" "other")]
    fn without_a_comma(&mut self) {}

    #[safe_state("counter")]
    #[safe_state("other")]
    fn two_attributes(&mut self) {}
}

fn main() {}
