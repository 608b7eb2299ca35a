//! A writer is killed with SIGKILL while it commits; a new process opens the state and loads it.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use rand::RngExt;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

use super::Scratch;
use crate::catalogue::{Entry, Level, entries};
use crate::engine::{Setup, Update};
use crate::pattern::Pattern;

/// How many commits are acknowledged before the kill, at least.
const COMMITS: u64 = 23;

/// One turn of a row.
pub(crate) struct Turn {
    pub(crate) loaded: Loaded,
    /// Acknowledged commits that are gone.
    pub(crate) lost: u64,
}

/// What the process that reopened the state reports.
#[derive(Serialize, Deserialize)]
pub(crate) struct Loaded {
    pub(crate) open_us: f64,
    pub(crate) load_us: f64,
    /// The generation found; 0 when there was no state.
    generation: u64,
}

/// Kills a writer at a random moment after [`COMMITS`] commits and reopens what it left.
pub(crate) fn turn(entry: &Entry, len: usize, parent: &Path, random: &mut StdRng) -> Result<Turn> {
    let scratch = Scratch::create(parent)?;
    let setup = Setup { dir: scratch.path(), len };
    let acknowledged = kill_while_committing(entry, &setup, random)
        .with_context(|| format!("kill a writer of {}", entry.name))?;
    let output = child_command("child-load", entry, &setup)?.output().context("run a reader")?;
    if !output.status.success() {
        let log = String::from_utf8_lossy(&output.stderr);
        bail!("{} cannot be opened after a kill: {}", entry.name, log.trim());
    }
    let loaded: Loaded = serde_json::from_slice(&output.stdout).context("read a report")?;
    Ok(Turn { lost: acknowledged.saturating_sub(loaded.generation), loaded })
}

fn child_command(mode: &str, entry: &Entry, setup: &Setup<'_>) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("find this program")?);
    command.arg(mode).args(["--engine", entry.name, "--level", entry.level.name()]);
    command.arg("--dir").arg(setup.dir).args(["--len", &setup.len.to_string()]);
    command.stdin(Stdio::null());
    Ok(command)
}

/// A child that does not outlive this program's interest in it.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Gives the number of commits that the child said were done.
fn kill_while_committing(entry: &Entry, setup: &Setup<'_>, random: &mut StdRng) -> Result<u64> {
    let child = child_command("child-commit", entry, setup)?
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("start a writer")?;
    let mut child = Killed(child);
    let mut acks = child.0.stdout.take().context("the writer has no output")?;
    let mut errors = child.0.stderr.take().context("the writer has no error output")?;
    let enough = COMMITS + random.random_range(0..8);
    for _ in 0..enough {
        let mut ack = [0; 1];
        if acks.read_exact(&mut ack).is_err() {
            let mut log = String::new();
            errors.read_to_string(&mut log)?;
            bail!("the writer ended by itself: {}", log.trim());
        }
    }
    child.0.kill().context("kill the writer")?;
    child.0.wait().context("wait for the writer")?;
    // What it had said before it died is still in the pipe.
    let mut rest = Vec::new();
    acks.read_to_end(&mut rest)?;
    Ok(enough + rest.len() as u64)
}

/// Finds an engine by its name.
fn find(engine: &str, level: Level) -> Result<Entry> {
    let found = entries().into_iter().find(|entry| entry.name == engine && entry.level == level);
    found.with_context(|| format!("no engine is called {engine:?} at level {}", level.name()))
}

/// The writer: commits for ever, one byte of output for each commit.
pub(crate) fn child_commit(engine: &str, level: Level, setup: &Setup<'_>) -> Result<()> {
    let pattern = Pattern::new(setup.len);
    let mut state = (find(engine, level)?.open)(setup)?;
    let mut output = std::io::stdout().lock();
    for generation in 1.. {
        let value = pattern.value(generation);
        state.commit(&Update { value: &value, changed: 0..value.len() })?;
        output.write_all(&[1])?;
        output.flush()?;
        state.upkeep()?;
    }
    Ok(())
}

/// The reader: opens the state, loads it, and says how long that took and what was there.
pub(crate) fn child_load(engine: &str, level: Level, setup: &Setup<'_>) -> Result<()> {
    let entry = find(engine, level)?;
    let start = Instant::now();
    let mut state = (entry.open)(setup)?;
    let opened = start.elapsed();
    let value = state.load()?;
    let loaded = start.elapsed() - opened;
    let generation = match &value {
        None => 0,
        Some(value) => {
            let generation = Pattern::new(setup.len).generation(value);
            generation.context("the value is a mixture of several commits")?
        }
    };
    ensure!(generation != 0 || value.is_none(), "the value was never committed");
    let micros = |time: std::time::Duration| time.as_secs_f64() * 1e6;
    let loaded = Loaded { open_us: micros(opened), load_us: micros(loaded), generation };
    let mut output = std::io::stdout().lock();
    serde_json::to_writer(&mut output, &loaded)?;
    Ok(output.flush()?)
}
