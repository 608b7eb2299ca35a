//! Counts its own runs. Kill it whenever you like and run it again: no count is lost, none is
//! doubled.
//!
//! `cargo run --example counter`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use persistent_actor_runtime::{Node, Result, actor, safe_state};
use serde::{Deserialize, Serialize};

#[derive(Default, Serialize, Deserialize)]
struct Counter {
    counter: u64,
    hits_since_start: u64,
}

#[actor]
impl Counter {
    /// `counter` outlives the process, `hits_since_start` does not.
    #[safe_state("counter")]
    fn increment(&mut self, by: u64) -> u64 {
        self.counter += by;
        self.hits_since_start += 1;
        self.counter
    }

    /// Changes nothing, so it leaves no record and costs no sync.
    fn hits_since_start(&self) -> u64 {
        self.hits_since_start
    }
}

#[persistent_actor_runtime::main]
async fn main() -> Result<()> {
    let dir = std::env::args().nth(1).unwrap_or_else(|| "state".to_owned());
    let node = Node::open(dir)?; // durability: power by default
    let counter = node.actor::<Counter>("visits").spawn().await?;

    println!("counted: {}", counter.increment(1).await?);
    counter.kill().await?; // as `kill -9` from outside would
    println!("counted: {}", counter.increment(1).await?);
    println!("since the kill: {}", counter.hits_since_start().await?);

    node.shutdown().await;
    Ok(())
}
