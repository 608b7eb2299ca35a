#![allow(unused)]

use persistent_actor_runtime::actor;

struct Counter<T> {
    counter: T,
}

#[actor]
impl<T: Copy> Counter<T> {
    fn get(&self) -> T {
        self.counter
    }
}

#[actor]
impl Counter<u64> {}

trait Count {}

#[actor]
impl dyn Count {}

fn main() {}
