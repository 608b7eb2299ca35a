//! A counter that does not forget: the first example of persistent-actor.

use std::path::PathBuf;

use clap::Parser;
use persistent_actor_runtime::{KillPoint, Node, Result, actor, safe_state};
use serde::{Deserialize, Serialize};

/// A plain struct. Each actor of this type lives in an operating system process of its own.
#[derive(Default, Serialize, Deserialize)]
struct Counter {
    count: u64,
}

#[actor]
impl Counter {
    /// `count` is saved together with the reply, before the reply leaves.
    #[safe_state("count")]
    fn increment(&mut self) -> u64 {
        self.count += 1;
        self.count
    }
}

/// Counts in an actor that is replaced, killed, and killed again, and never miscounts.
///
/// The counts go to standard output, one a line; what happens in between goes to standard error.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Directory that keeps the state, so that the next run of the program goes on counting
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

#[persistent_actor_runtime::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let scratch = tempfile::tempdir()?;
    let node = Node::open(args.state_dir.as_deref().unwrap_or(scratch.path()))?;

    // A new actor each time, the same state.
    for _ in 0..3 {
        let counter = node.actor::<Counter>("counter").spawn().await?;
        show(counter.increment().await?);
        counter.stop().await?;
    }

    let counter = node.actor::<Counter>("counter").spawn().await?;
    note("kill -9 between two increments");
    counter.kill().await?;
    show(counter.increment().await?);

    note("kill -9 after the commit, before the reply: the retry is answered, not run again");
    counter.kill_during_next_call(KillPoint::AfterCommit);
    show(counter.increment().await?);
    show(counter.increment().await?);

    if let Some(dir) = &args.state_dir {
        note(&format!("run it again: the count goes on from {}", dir.display()));
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the counts are the program's output")]
fn show(count: u64) {
    println!("{count}");
}

#[expect(clippy::print_stderr, reason = "notes are for the reader, not for pipes")]
fn note(text: &str) {
    eprintln!("  # {text}");
}
