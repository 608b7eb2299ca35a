#![allow(unused)]

use persistent_actor_runtime::{actor, safe_state};
use serde::{Deserialize, Serialize};

#[derive(Default, Serialize, Deserialize)]
struct Counter {
    counter: u64,
}

#[actor]
impl Counter {
    async fn waits(&self) {}

    unsafe fn is_unsafe(&self) {}

    extern "C" fn is_extern(&self) {}

    fn has_a_type_parameter<T>(&self) {}

    fn has_a_lifetime<'a>(&'a self) {}

    fn has_a_condition(&self)
    where
        Self: Sized,
    {
    }

    fn ends_the_process(&mut self) -> ! {
        std::process::abort()
    }
}

fn main() {}
