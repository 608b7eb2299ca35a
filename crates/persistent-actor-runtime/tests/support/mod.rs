//! What the tests share: an actor that keeps book of its calls, nodes, and events.
#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use persistent_actor_runtime::{Durability, Event, EventKind, Node, actor, safe_state};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

/// Counts, in every way that a test wants to see go wrong.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Counter {
    pub(crate) counter: u64,
    pub(crate) hits_since_start: u64,
    /// How many calls of each caller were applied.
    pub(crate) callers: BTreeMap<u32, u32>,
}

#[actor]
impl Counter {
    #[safe_state("counter")]
    pub(crate) fn increment(&mut self, by: u64) -> u64 {
        self.counter += by;
        self.hits_since_start += 1;
        self.counter
    }

    pub(crate) fn value(&self) -> u64 {
        self.counter
    }

    pub(crate) fn hits_since_start(&self) -> u64 {
        self.hits_since_start
    }

    /// Call number `n` of a caller; an error if it is not the next one.
    #[safe_state("counter", "callers")]
    pub(crate) fn count(&mut self, caller: u32, n: u32) -> Result<(u32, u32, u64), String> {
        let next = self.callers.entry(caller).or_default();
        if *next != n {
            return Err(format!("caller {caller}: call {n} came, {next} was expected"));
        }
        *next += 1;
        self.counter += 1;
        Ok((caller, n, self.counter))
    }

    /// Changes the state and then fails.
    #[safe_state("counter")]
    pub(crate) fn fail_after(&mut self, by: u64) -> Result<u64, String> {
        self.counter += by;
        Err(format!("not {}", self.counter))
    }

    /// Changes the state and then panics.
    #[safe_state("counter")]
    pub(crate) fn panic_after(&mut self, by: u64) -> u64 {
        self.counter += by;
        panic!("no more than {}", self.counter)
    }

    /// Ends the process.
    #[safe_state("counter")]
    pub(crate) fn abort(&mut self) -> u64 {
        self.counter += 1000;
        std::process::abort()
    }

    /// Takes until this file is there.
    pub(crate) fn await_file(&self, path: std::path::PathBuf) -> u32 {
        while !path.exists() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        std::process::id()
    }

    /// What the C library takes this thread's id for, and what it is.
    pub(crate) fn thread(&self) -> (i32, i32) {
        let known = rustix::thread::get_clear_child_tid_address().unwrap().unwrap();
        // SAFETY: the kernel writes there when this thread ends, and nobody else.
        let known = unsafe { known.cast::<i32>().read() };
        (known, rustix::thread::gettid().as_raw_nonzero().get())
    }

    /// The process of this actor.
    pub(crate) fn process(&self) -> u32 {
        std::process::id()
    }
}

/// A state root that is removed with the test.
pub(crate) fn state_root() -> TempDir {
    tempfile::tempdir().unwrap()
}

pub(crate) fn node(root: &TempDir, durability: Durability) -> Node {
    Node::builder().durability(durability).open(root.path()).unwrap()
}

/// The events of a node, as they come.
#[derive(Clone, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<Event>>>);

impl Events {
    pub(crate) fn observer(&self) -> impl Fn(&Event) + Send + Sync + use<> {
        let events = self.0.clone();
        move |event| events.lock().unwrap().push(event.clone())
    }

    pub(crate) fn all(&self) -> Vec<Event> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, wanted: impl Fn(&EventKind) -> bool) -> usize {
        self.all().iter().filter(|event| wanted(&event.kind)).count()
    }

    /// The events as single words, for comparison.
    pub(crate) fn words(&self) -> Vec<String> {
        let word = |event: &Event| {
            let debug = format!("{:?}", event.kind);
            debug.split([' ', '{', '(']).next().unwrap().to_owned()
        };
        self.all().iter().map(word).collect()
    }
}

/// Starts a future: what it does before it first waits is done when this returns.
pub(crate) async fn start<F: Future>(future: F) -> Pin<Box<Started<F>>>
where
    F::Output: Unpin,
{
    let mut started = Box::pin(Started { future: Box::pin(future), output: None });
    poll_fn(|cx| {
        if let Poll::Ready(output) = started.future.as_mut().poll(cx) {
            started.output = Some(output);
        }
        Poll::Ready(())
    })
    .await;
    started
}

/// A future that was polled once.
pub(crate) struct Started<F: Future> {
    future: Pin<Box<F>>,
    output: Option<F::Output>,
}

impl<F: Future> Future for Started<F>
where
    F::Output: Unpin,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<F::Output> {
        match self.output.take() {
            Some(output) => Poll::Ready(output),
            None => self.future.as_mut().poll(cx),
        }
    }
}
