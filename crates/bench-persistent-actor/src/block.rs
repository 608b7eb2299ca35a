//! [`Block`]: an actor whose state is an array of any size, changed in part or as a whole.

use persistent_actor_runtime::{Bytes, actor, safe_state};
use serde::{Deserialize, Serialize};

/// An actor whose state is an array of bytes; empty at first.
#[derive(Default, Serialize, Deserialize)]
pub struct Block {
    data: Bytes,
}

#[actor]
impl Block {
    /// Replaces the state by `len` bytes of this value, all of it written.
    #[safe_state("data")]
    pub fn fill(&mut self, len: u64, value: u8) {
        self.data = Bytes::build(len as usize, |out| out.fill(value));
    }

    /// Changes `len` bytes from `at` on in place; nobody is told which.
    #[safe_state("data")]
    pub fn change(&mut self, at: u64, len: u64, value: u8) {
        let (at, len) = (at as usize, len as usize);
        self.data.make_mut()[at..at + len].fill(value);
    }

    /// The byte at this place; `None` beyond the end.
    pub fn byte(&self, at: u64) -> Option<u8> {
        self.data.get(at as usize).copied()
    }
}
