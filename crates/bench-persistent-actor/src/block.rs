//! Actors whose state is an array of any size, changed in part or as a whole: [`Block`], which is
//! replaced, [`Tracked`], whose changes are found by comparison, and [`Pages`], whose are told.

use std::future::Future;

use persistent_actor_runtime::{
    Bytes, CallError, Node, PagedBytes, SpawnError, TrackedBytes, actor, safe_state,
};
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

    /// Changes `len` bytes from `at` on, in a copy.
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

/// The same, changed in place: nobody is told where.
#[derive(Default, Serialize, Deserialize)]
pub struct Tracked {
    data: TrackedBytes,
}

#[actor]
impl Tracked {
    /// Replaces the state by `len` bytes of this value, all of it written.
    #[safe_state("data")]
    pub fn fill(&mut self, len: u64, value: u8) {
        self.data = TrackedBytes::from(vec![value; len as usize]);
    }

    /// Changes `len` bytes from `at` on.
    #[safe_state("data")]
    pub fn change(&mut self, at: u64, len: u64, value: u8) {
        let (at, len) = (at as usize, len as usize);
        self.data[at..at + len].fill(value);
    }

    /// The byte at this place; `None` beyond the end.
    pub fn byte(&self, at: u64) -> Option<u8> {
        self.data.get(at as usize).copied()
    }
}

/// The same in pages: what changes is told to the state, not found by comparison.
#[derive(Default, Serialize, Deserialize)]
pub struct Pages {
    data: PagedBytes,
}

#[actor]
impl Pages {
    /// Replaces the state by `len` bytes of this value, all of it written.
    #[safe_state("data")]
    pub fn fill(&mut self, len: u64, value: u8) {
        self.data = PagedBytes::zeroed(len as usize);
        self.data.visit_mut(0..len as usize, |_, part| part.fill(value));
    }

    /// Changes `len` bytes from `at` on.
    #[safe_state("data")]
    pub fn change(&mut self, at: u64, len: u64, value: u8) {
        let (at, len) = (at as usize, len as usize);
        self.data.visit_mut(at..at + len, |_, part| part.fill(value));
    }

    /// The byte at this place; `None` beyond the end.
    pub fn byte(&self, at: u64) -> Option<u8> {
        let at = at as usize;
        (at < self.data.len()).then(|| self.data.get(at..at + 1)[0])
    }
}

/// An actor whose state is an array of any size.
pub trait Array: Clone + Send + 'static {
    /// What tells its states from others'.
    const KIND: &'static str;

    /// Starts an actor and waits until it is ready.
    fn spawn(node: &Node, name: &str) -> impl Future<Output = Result<Self, SpawnError>> + Send;
    /// Replaces the state by `len` bytes of this value.
    fn fill(&self, len: u64, value: u8) -> impl Future<Output = Result<(), CallError>> + Send;
    /// Changes `len` bytes from `at` on.
    fn change(
        &self,
        at: u64,
        len: u64,
        value: u8,
    ) -> impl Future<Output = Result<(), CallError>> + Send;
    /// The byte at this place; `None` beyond the end.
    fn byte(&self, at: u64) -> impl Future<Output = Result<Option<u8>, CallError>> + Send;
}

macro_rules! array {
    ($handle:ty, $actor:ty, $kind:literal) => {
        impl Array for $handle {
            const KIND: &'static str = $kind;

            async fn spawn(node: &Node, name: &str) -> Result<Self, SpawnError> {
                node.actor::<$actor>(name).spawn().await
            }

            async fn fill(&self, len: u64, value: u8) -> Result<(), CallError> {
                self.fill(len, value).await
            }

            async fn change(&self, at: u64, len: u64, value: u8) -> Result<(), CallError> {
                self.change(at, len, value).await
            }

            async fn byte(&self, at: u64) -> Result<Option<u8>, CallError> {
                self.byte(at).await
            }
        }
    };
}

array!(BlockHandle, Block, "block");
array!(TrackedHandle, Tracked, "tracked");
array!(PagesHandle, Pages, "pages");
