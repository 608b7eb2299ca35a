//! The whole benchmark as a child process: killed at random instants, and resumed.
//!
//! What a kill of the program leaves is what the machine makes of it: its workers are killed by
//! the kernel a moment later, each for itself, while the next program is already starting. The
//! driver does not wait for them.

use std::fs;
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use persistent_actor::{Durability, Integer};
use rand::RngExt;
use rand::rngs::StdRng;
use rustix::process::Signal;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::chain;
use crate::chaos::report::Report;
use crate::chaos::{ChaosError, ChaosPlan};
use crate::notes::Notes;
use crate::run_file;
use crate::workload::wait;

/// The executable of this process, even if its file was replaced since.
const THIS_EXECUTABLE: &str = "/proc/self/exe";

/// How often one run is killed at most before it may come to its end.
const MAX_KILLS_OF_ONE_RUN: u64 = 10;

/// How many chains work at once, and how many actors each has.
const CHAINS: usize = 16;
const ACTORS_OF_CHAIN: usize = 3;

/// How many actors with large states a run has at most.
const LARGE_ACTORS: usize = 4;

/// How long a run may take that nobody kills.
const LIVENESS: Duration = Duration::from_secs(300);

/// How often a child is looked at. A signal handler would be exact, and would reap the workers of
/// the other scenes, too.
const POLL: Duration = Duration::from_millis(2);

/// What a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A chain of actors with small states.
    Small,
    /// A chain of actors with large states.
    Large,
    /// Many chains at once, whose actors share syncs.
    Chains,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Small, Self::Large, Self::Chains];

    /// A run that is killed is killed this late at the latest; the time includes its start.
    fn life(self) -> Duration {
        Duration::from_millis(match self {
            Self::Small => 120,
            Self::Large | Self::Chains => 400,
        })
    }

    /// How many calls a chain makes, about, so that a run outlasts several kills.
    fn calls(self) -> u64 {
        match self {
            Self::Small => 4000,
            Self::Large => 120,
            Self::Chains => 1200,
        }
    }

    fn actors(self, plan: &ChaosPlan) -> usize {
        match self {
            Self::Small => plan.num_actors,
            Self::Large => plan.num_actors.min(LARGE_ACTORS),
            Self::Chains => ACTORS_OF_CHAIN,
        }
    }

    fn chains(self) -> usize {
        if self == Self::Chains { CHAINS } else { 1 }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Small => "small states",
            Self::Large => "large states",
            Self::Chains => "many chains",
        }
    }
}

/// One benchmark that is to end with the right state.
struct Program {
    dir: PathBuf,
    kind: Kind,
    num_actors: usize,
    num_rounds: u64,
}

/// A child that does not outlive this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if it is gone and waited for already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Kills programs until the plan is fulfilled, and adds what came of it to `report`.
///
/// # Errors
/// See [`ChaosError`].
pub async fn run(
    plan: &ChaosPlan,
    dir: &Path,
    notes: &Notes,
    report: &mut Report,
) -> Result<(), ChaosError> {
    let mut random = plan.random(u64::MAX);
    let each = plan.restarts.div_ceil(Kind::ALL.len() as u64).min(MAX_KILLS_OF_ONE_RUN);
    let mut kinds = Kind::ALL.into_iter().cycle().enumerate();
    while report.program_kills < plan.restarts
        && let Some((number, kind)) = kinds.next()
    {
        let num_actors = kind.actors(plan);
        let program = Program {
            dir: dir.join(format!("program-{number}")),
            kind,
            num_actors,
            num_rounds: (kind.calls() / (num_actors as u64 - 1)).max(2),
        };
        let kills = each.min(plan.restarts - report.program_kills);
        if !program.run(plan, kills, &mut random, notes, report).await? {
            return Ok(());
        }
    }
    Ok(())
}

impl Program {
    /// Kills the program up to `kills` times, then lets it come to its end. `false` if it failed.
    async fn run(
        &self,
        plan: &ChaosPlan,
        kills: u64,
        random: &mut StdRng,
        notes: &Notes,
        report: &mut Report,
    ) -> Result<bool, ChaosError> {
        make_dir(&self.dir)?;
        for before in 0..kills {
            let mut child = self.start(plan)?;
            wait(self.kind.life().mul_f64(random.random())).await;
            let killed = child.0.kill().and_then(|()| child.0.wait());
            let status = killed.map_err(|source| self.error("wait for a program in", source))?;
            // It may have come to its end before, be it a bad one.
            if !was_killed(status) {
                return self.ended(&mut child, status, before, report);
            }
            report.program_kills += 1;
            notes.step_done();
        }
        let mut child = self.start(plan)?;
        let end = Instant::now() + LIVENESS;
        while Instant::now() < end {
            let looked = child.0.try_wait();
            let status = looked.map_err(|source| self.error("wait for a program in", source))?;
            if let Some(status) = status {
                return self.ended(&mut child, status, kills, report);
            }
            sleep(POLL).await;
        }
        report.failures.push(format!("{}: a run did not end in {LIVENESS:?}", self.name()));
        Ok(false)
    }

    fn start(&self, plan: &ChaosPlan) -> Result<Running, ChaosError> {
        let state_dir = self.dir.join("state");
        let mut command = Command::new(THIS_EXECUTABLE);
        command
            .args(["--delay-ms=0", "--safe-state", "--quiet", "--end-with-parent"])
            .arg(format!("--num-actors={}", self.num_actors))
            .arg(format!("--num-rounds={}", self.num_rounds))
            .arg(match plan.durability {
                Durability::Process => "--durability=process",
                _ => "--durability=power",
            })
            .arg("--json")
            .arg(self.result())
            .arg("--state-dir")
            .arg(&state_dir);
        match self.kind {
            Kind::Small => {}
            Kind::Large => drop(command.arg("--large")),
            // Each chain is on its own; together they need all processors.
            Kind::Chains => {
                command.arg("--all-processors").arg(format!("--chains={CHAINS}"));
            }
        }
        if !plan.switches.dedup {
            command.arg("--without-dedup");
        }
        // Whether the run had begun when it was killed.
        if state_dir.join(run_file::NAME).exists() {
            command.arg("--resume");
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        // Ctrl-C is our business, not the child's.
        command.process_group(0);
        command.spawn().map(Running).map_err(ChaosError::Start)
    }

    /// Judges a run that ended by itself, after so many kills.
    fn ended(
        &self,
        child: &mut Running,
        status: ExitStatus,
        killed: u64,
        report: &mut Report,
    ) -> Result<bool, ChaosError> {
        let mut said = String::new();
        if let Some(stderr) = &mut child.0.stderr {
            // What cannot be read is missing from a message, no more.
            let _ = stderr.read_to_string(&mut said);
        }
        let text = fs::read(self.result()).unwrap_or_default();
        let result: Value = serde_json::from_slice(&text).unwrap_or_default();
        let count = |field: &str| result["updates"][field].as_u64().unwrap_or_default();
        report.updates.lost += count("lost");
        report.updates.doubled += count("doubled");
        report.updates.unexplained += count("unexplained");
        if !status.success() || result["verified"] != true {
            let said = said.trim();
            report.failures.push(format!("{} ended with {status}: {said}", self.name()));
            return Ok(false);
        }
        let diverged = self.diverged(&result);
        report.diverged += diverged;
        let calls = chain::num_calls(self.num_actors, self.num_rounds);
        report.calls += calls * self.kind.chains() as u64;
        // One that nobody interrupted shows nothing.
        report.programs_completed += u64::from(killed > 0);
        fs::remove_dir_all(&self.dir).map_err(|source| self.error("remove", source))?;
        Ok(diverged == 0)
    }

    /// How many of the final states that the program printed are not the right ones.
    fn diverged(&self, result: &Value) -> u64 {
        let (actors, rounds) = (self.num_actors, self.num_rounds);
        let of_chain: Vec<String> = match self.kind {
            Kind::Large => {
                chain::final_states::<u8>(actors, rounds).iter().map(u8::to_string).collect()
            }
            Kind::Small | Kind::Chains => chain::final_states::<Integer>(actors, rounds)
                .iter()
                .map(Integer::to_string)
                .collect(),
        };
        let right = vec![of_chain; self.kind.chains()].concat();
        let found = result["final_states"].as_array().map_or(&[][..], Vec::as_slice);
        let same = |(right, found): &(&String, &Value)| found.as_str() == Some(right.as_str());
        let same = right.iter().zip(found).filter(same).count();
        (right.len() - same) as u64
    }

    fn result(&self) -> PathBuf {
        self.dir.join("result.json")
    }

    fn name(&self) -> String {
        let dir = self.dir.file_name().unwrap_or_default();
        format!("{}, {}", dir.display(), self.kind.name())
    }

    fn error(&self, operation: &'static str, source: std::io::Error) -> ChaosError {
        ChaosError::Io { operation, path: self.dir.clone(), source }
    }
}

/// Whether a program died of our signal. Any other one is its own doing, or somebody else's.
fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(Signal::KILL.as_raw())
}

/// Makes a directory that is private to the user.
fn make_dir(path: &Path) -> Result<(), ChaosError> {
    fs::DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(path)
        .map_err(|source| ChaosError::Io { operation: "make", path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn report() -> Report {
        let args = crate::cli::Cli::parse_from(["bench", "--chaos=1"]).run;
        Report::new(&ChaosPlan::new(1, &args))
    }

    /// A program that has ended in this way, with the right states, after so many kills.
    fn ended(status: ExitStatus, killed: u64) -> Report {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("program-0");
        make_dir(&dir).unwrap();
        let program = Program { dir, kind: Kind::Small, num_actors: 2, num_rounds: 3 };
        let states = chain::final_states::<Integer>(2, 3);
        let states: Vec<String> = states.iter().map(Integer::to_string).collect();
        let result = serde_json::json!({ "verified": true, "final_states": states });
        fs::write(program.result(), result.to_string()).unwrap();
        let mut child = Running(Command::new("true").stderr(Stdio::piped()).spawn().unwrap());
        let mut report = report();
        let is_right = program.ended(&mut child, status, killed, &mut report).unwrap();
        assert_eq!(is_right, report.failures.is_empty());
        report
    }

    #[test]
    fn only_sigkill_is_a_kill_of_ours() {
        assert!(was_killed(ExitStatus::from_raw(Signal::KILL.as_raw())));
        for signal in [Signal::ABORT, Signal::SEGV, Signal::TERM, Signal::INT] {
            assert!(!was_killed(ExitStatus::from_raw(signal.as_raw())), "{signal:?}");
        }
        assert!(!was_killed(ExitStatus::from_raw(0)) && !was_killed(ExitStatus::from_raw(1 << 8)));
    }

    #[test]
    fn a_program_that_ended_by_another_signal_is_a_failure() {
        let report = ended(ExitStatus::from_raw(Signal::ABORT.as_raw()), 1);
        assert!(report.failures[0].contains("ended with signal: 6"), "{:?}", report.failures);
        assert_eq!((report.program_kills, report.programs_completed), (0, 0));
    }

    #[test]
    fn only_runs_that_were_interrupted_count_as_resumed_to_their_end() {
        for (killed, completed) in [(0, 0), (1, 1), (7, 1)] {
            let report = ended(ExitStatus::from_raw(0), killed);
            assert_eq!(report.failures, [""; 0]);
            assert_eq!(report.programs_completed, completed, "{killed} kills");
            assert_eq!(report.calls, 3, "what it did counts all the same");
        }
    }
}
