#![allow(unused)]

use persistent_actor_runtime::{actor, safe_state};
use serde::{Deserialize, Serialize};

use std::fmt::Display;

#[derive(Default, Serialize, Deserialize)]
struct Counter {
    counter: u64,
}

#[actor]
impl Counter {
    fn string(&self, text: &str) {}

    fn slice(&self, numbers: &[u64]) {}

    fn value(&self, number: &mut u64) {}

    fn inside(&self, texts: Vec<Option<&'static str>>) {}

    fn some_type(&self, text: impl Display) {}

    fn pattern(&self, (a, b): (u64, u64)) {}

    fn unnamed(&self, _: u64) {}

    fn conditional(&self, #[cfg(unix)] number: u64) {}
}

fn main() {}
