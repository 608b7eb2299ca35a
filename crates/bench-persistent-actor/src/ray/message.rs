//! The lines between this program and the Python driver: one JSON object each.
//!
//! This program writes one line, [`Run`], and keeps the pipe open; its end means that the driver
//! is to stop. The driver answers with [`Message`]s. Integers without limit are decimal texts,
//! times nanoseconds of `CLOCK_MONOTONIC`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cli::Workload;
use crate::faults::{Kill, Moment};
use crate::ray::RayError;
use crate::ray::settings::RaySettings;
use crate::scenario::{Kills, Scenario, System};

/// What the driver is to do.
#[derive(Debug, Serialize)]
pub struct Run<'a> {
    system: System,
    durability: String,
    large: bool,
    delay_ms: u64,
    num_actors: usize,
    num_rounds: u64,
    workload: Workload,
    in_flight: u64,
    kills: Vec<PlannedKill>,
    read_around_kills: bool,
    state_dir: &'a Path,
    address: Option<&'a str>,
    temp_dir: &'a Path,
}

/// A kill that the driver is to carry out.
#[derive(Debug, Serialize)]
struct PlannedKill {
    at_call: u64,
    actor: usize,
    /// After this part of a call's time; `None`: in the call, after its commit.
    part: Option<f64>,
}

impl<'a> Run<'a> {
    /// The run of this scenario.
    pub fn of(
        scenario: &Scenario,
        settings: &'a RaySettings,
        plan: &[Kill],
        state_dir: &'a Path,
        temp_dir: &'a Path,
    ) -> Self {
        let kill = |kill: &Kill| PlannedKill {
            at_call: kill.at_call,
            actor: kill.actor,
            part: match kill.moment {
                Moment::Part(part) => Some(part),
                Moment::AfterCommit => None,
            },
        };
        Self {
            system: scenario.system,
            durability: scenario.durability.to_string(),
            large: scenario.large,
            delay_ms: scenario.delay_ms,
            num_actors: scenario.num_actors,
            num_rounds: scenario.num_rounds,
            workload: scenario.workload,
            in_flight: scenario.in_flight,
            kills: plan.iter().map(kill).collect(),
            read_around_kills: matches!(scenario.kills, Kills::Spread(_)),
            state_dir,
            address: settings.address.as_deref(),
            temp_dir,
        }
    }

    /// How long no call may be answered although all is well. Milliseconds.
    pub(crate) fn longest_wait_ms(&self) -> u64 {
        self.delay_ms.saturating_mul(self.in_flight + 2)
    }
}

/// What the driver says.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Message {
    /// The cluster is there.
    Cluster {
        /// The version of Ray.
        ray: String,
        /// The version of Python.
        python: String,
    },
    /// All actors answer.
    Started(Started),
    /// Calls were answered.
    Calls {
        /// In the order of their replies.
        calls: Vec<Call>,
    },
    /// An actor was killed, and its next process has answered.
    Kill(KillTold),
    /// The rounds are over and the final states read; the cluster is still there.
    Done(Done),
    /// The run cannot be made, or has failed.
    Error {
        /// Which.
        reason: Reason,
        /// For `missing`, the packages, separated by spaces; for `python`, its version; otherwise
        /// a text.
        message: String,
    },
}

/// Why the driver gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// The interpreter is too old.
    Python,
    /// Packages are missing.
    Missing,
    /// The cluster could not be started or joined.
    Connect,
    /// Something failed.
    Failed,
}

/// All actors answer.
#[derive(Debug, Deserialize)]
pub struct Started {
    /// When the first was started.
    pub begin_ns: u64,
    /// When all had answered.
    pub ready_ns: u64,
    /// The process of each actor.
    pub pids: Vec<u32>,
}

/// A call that was answered, as an array.
#[derive(Debug, Deserialize)]
pub struct Call {
    /// Which actor.
    pub actor: usize,
    /// When it was called.
    pub sent_ns: u64,
    /// When the reply was there.
    pub replied_ns: u64,
    /// What it was to add; `None` when its state was read.
    pub argument: Option<String>,
    /// The state in the reply.
    pub state: String,
}

/// An actor was killed.
#[derive(Debug, Deserialize)]
pub struct KillTold {
    /// Which.
    pub actor: usize,
    /// At which call of the plan.
    pub at_call: u64,
    /// Its state before, if it was read.
    pub before: Option<String>,
    /// Its state after, if it was read.
    pub after: Option<String>,
    /// When it was killed.
    pub killed_ns: u64,
    /// When a call that was made after the kill, or that had died with it, was answered.
    pub replied_ns: u64,
    /// The process that was killed.
    pub killed_pid: u32,
    /// The next one.
    pub pid: u32,
}

/// The end of the rounds.
#[derive(Debug, Deserialize)]
pub struct Done {
    /// The time of all rounds.
    pub duration_ns: u64,
    /// The final states; `None` for mixed bytes.
    pub states: Vec<Option<String>>,
    /// The process of each actor.
    pub pids: Vec<u32>,
    /// How often processes were replaced.
    pub restarts: u64,
}

impl Started {
    /// Whether it is about the actors of this scenario.
    ///
    /// # Errors
    /// [`RayError::Protocol`]
    pub fn check(&self, scenario: &Scenario) -> Result<(), RayError> {
        one_each("processes", self.pids.len(), scenario)
    }
}

impl Done {
    /// Whether it is about the actors of this scenario.
    ///
    /// # Errors
    /// [`RayError::Protocol`]
    pub fn check(&self, scenario: &Scenario) -> Result<(), RayError> {
        one_each("processes", self.pids.len(), scenario)?;
        one_each("states", self.states.len(), scenario)
    }
}

fn one_each(what: &str, found: usize, scenario: &Scenario) -> Result<(), RayError> {
    if found == scenario.num_actors {
        return Ok(());
    }
    let problem = format!("it told of {found} {what} of {} actors", scenario.num_actors);
    Err(RayError::Protocol { problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drivers_lines_are_read() {
        let line = r#"{"type":"calls","calls":[[2,10,20,null,"1"],[0,30,45,"1","255"]]}"#;
        let Message::Calls { calls } = serde_json::from_str(line).unwrap() else { panic!() };
        assert_eq!((calls[1].actor, calls[1].replied_ns, &*calls[1].state), (0, 45, "255"));
        assert_eq!((&calls[0].argument, calls[1].argument.as_deref()), (&None, Some("1")));
        let line = r#"{"type":"error","reason":"missing","message":"ray"}"#;
        let message: Message = serde_json::from_str(line).unwrap();
        assert!(matches!(message, Message::Error { reason: Reason::Missing, .. }));
        for wrong in [r#"{"type":"calls","calls":[[1,2]]}"#, r#"{"type":"other"}"#, "hello"] {
            assert!(serde_json::from_str::<Message>(wrong).is_err(), "{wrong}");
        }
    }
}
