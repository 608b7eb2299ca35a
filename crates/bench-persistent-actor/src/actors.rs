//! The two kinds of actors of the workload.

use std::time::Duration;

use persistent_actor_runtime::{Bytes, Integer, actor, safe_state};
use serde::{Deserialize, Serialize};

use crate::timer;

/// The size of a large state. Bytes.
pub const LARGE_BYTES: usize = 10 * 1024 * 1024;

/// An actor whose state is an integer without limit, 1 at first.
#[derive(Serialize, Deserialize)]
pub struct SmallActor {
    state: Integer,
    applied: u64,
}

impl Default for SmallActor {
    fn default() -> Self {
        Self { state: Integer::from(1), applied: 0 }
    }
}

#[actor]
impl SmallActor {
    /// The state.
    pub fn get_data(&self) -> Integer {
        self.state.clone()
    }

    /// How many calls of `process` have taken effect. Committed with the state, so that a run
    /// that was interrupted can tell where it stands; see [`crate::resume`].
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// Sleeps, adds `arg` to the state and returns the state.
    #[safe_state("state", "applied")]
    pub fn process(&mut self, delay_ms: u64, arg: Integer) -> Integer {
        timer::sleep(Duration::from_millis(delay_ms));
        self.state += &arg;
        self.applied += 1;
        self.state.clone()
    }
}

/// An actor whose state is 10 MiB of bytes, all 1 at first.
#[derive(Serialize, Deserialize)]
pub struct LargeActor {
    state: Bytes,
    applied: u64,
}

impl Default for LargeActor {
    fn default() -> Self {
        Self { state: Bytes::build(LARGE_BYTES, |out| out.fill(1)), applied: 0 }
    }
}

#[actor]
impl LargeActor {
    /// The state.
    pub fn get_data(&self) -> Bytes {
        self.state.clone()
    }

    /// How many calls of `process` have taken effect. Committed with the state, so that a run
    /// that was interrupted can tell where it stands; see [`crate::resume`].
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// Sleeps, adds `arg` to the state byte by byte (wrapping) and returns the state.
    #[safe_state("state", "applied")]
    pub fn process(&mut self, delay_ms: u64, arg: Bytes) -> Bytes {
        timer::sleep(Duration::from_millis(delay_ms));
        self.state = sum(&self.state, &arg);
        self.applied += 1;
        self.state.clone()
    }
}

/// The sum byte by byte, wrapping, in new memory: the old state stays whole, and the new one is
/// shared with the reply instead of copied. What `b` lacks counts as 0.
pub fn sum(a: &Bytes, b: &Bytes) -> Bytes {
    Bytes::build(a.len(), |out| {
        for ((out, a), b) in out.iter_mut().zip(&a[..]).zip(&b[..]) {
            *out = a.wrapping_add(*b);
        }
        let both = a.len().min(b.len());
        out[both..].copy_from_slice(&a[both..]);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_added_one_by_one_and_wrap() {
        let sum = sum(&Bytes::from(vec![1, 200, 255]), &Bytes::from(vec![1, 100, 1]));
        assert_eq!(&sum[..], [2, 44, 0]);
        let shorter = super::sum(&Bytes::from(vec![1, 2, 3]), &Bytes::from(vec![1]));
        assert_eq!(&shorter[..], [2, 2, 3]);
    }
}
