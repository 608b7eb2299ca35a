#![allow(unused)]

use persistent_actor_runtime::{Result, actor};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;

#[derive(Default, Serialize, Deserialize)]
struct Counter {
    counter: u64,
}

#[actor]
impl Counter {
    fn with_the_error_of_the_library(&self) -> Result<u64> {
        Ok(self.counter)
    }

    fn with_the_error_of_another(&self) -> io::Result<u64> {
        Ok(self.counter)
    }

    fn without_a_value(&self) -> fmt::Result {
        Ok(())
    }

    fn string(&self) -> &str {
        "text"
    }

    fn inside(&self) -> Option<&[u64]> {
        None
    }

    fn some_type(&self) -> impl fmt::Display {
        self.counter
    }
}

fn main() {}
