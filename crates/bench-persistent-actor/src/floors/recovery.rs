//! From a kill to the next reply, beside a bare process that is killed, noticed, started anew and
//! that loads a file of the same size before it answers.

use std::path::{Path, PathBuf};
use std::time::Instant;

use persistent_actor::Durability;
use persistent_actor_runtime::Error;

use super::bare::{Bare, Duty, prewritten};
use super::probe::micros;
use super::what::{Found, Row, Target, What};
use super::{Context, Effort, FloorsError, crew, system};
use crate::actors::{LARGE_BYTES, LargeActorHandle, SmallActorHandle};
use crate::measurement::median;
use crate::member::Member;

const BARE_SMALL: What = What::us(
    "bare_recovery_small",
    "a bare process killed, the kill noticed, started anew, 4 KiB loaded, answer",
);
const BARE_LARGE: What = What::us(
    "bare_recovery_large",
    "a bare process with 10 MiB killed, the kill noticed, started anew, 10 MiB loaded, answer",
);
const SMALL_PROCESS: What =
    What::us("recovery_small_process", "a small actor killed, until its next reply, `process`");
const SMALL_POWER: What =
    What::us("recovery_small_power", "a small actor killed, until its next reply, `power`");
const LARGE_PROCESS: What = What::us(
    "recovery_large_process",
    "an actor of 10 MiB killed, until its next reply, `process`",
);
const LARGE_POWER: What =
    What::us("recovery_large_power", "an actor of 10 MiB killed, until its next reply, `power`");

const TARGET: Target = Target::AtMost(1.5);

pub(super) const ROWS: &[Row] = &[
    Row {
        key: "recovery-small-process",
        work: "kill to next reply, small, process",
        product: &SMALL_PROCESS,
        floors: &[&BARE_SMALL],
        target: TARGET,
    },
    Row {
        key: "recovery-small-power",
        work: "kill to next reply, small, power",
        product: &SMALL_POWER,
        floors: &[&BARE_SMALL],
        target: TARGET,
    },
    Row {
        key: "recovery-large-process",
        work: "kill to next reply, 10 MiB, process",
        product: &LARGE_PROCESS,
        floors: &[&BARE_LARGE],
        target: TARGET,
    },
    Row {
        key: "recovery-large-power",
        work: "kill to next reply, 10 MiB, power",
        product: &LARGE_POWER,
        floors: &[&BARE_LARGE],
        target: TARGET,
    },
];

/// How large the file of a small state is. Bytes.
const SMALL_BYTES: usize = 4096;

pub(super) fn measure(context: &Context<'_>) -> Result<Vec<Found>, FloorsError> {
    let kills = match context.effort {
        Effort::Quick => 5,
        Effort::Normal | Effort::Full => 15,
    };
    let mut found = small(context, kills)?;
    found.extend(large(context, kills)?);
    Ok(found)
}

fn small(context: &Context<'_>, kills: usize) -> Result<Vec<Found>, FloorsError> {
    let mut bare = Victim::start(context.dir, "small", SMALL_BYTES)?;
    let process = Crew::<SmallActorHandle>::start(context, Durability::Process, "small")?;
    let power = Crew::<SmallActorHandle>::start(context, Durability::Power, "small")?;
    let mut samples = [const { Vec::new() }; 3];
    for kill in 0..=kills {
        let times = [bare.recover()?, process.recover(context)?, power.recover(context)?];
        if kill > 0 {
            samples.iter_mut().zip(times).for_each(|(samples, time)| samples.push(time));
        }
    }
    Ok(medians([BARE_SMALL, SMALL_PROCESS, SMALL_POWER], samples))
}

fn large(context: &Context<'_>, kills: usize) -> Result<Vec<Found>, FloorsError> {
    let mut bare = Victim::start(context.dir, "large", LARGE_BYTES)?;
    let process = Crew::<LargeActorHandle>::start(context, Durability::Process, "large")?;
    let power = Crew::<LargeActorHandle>::start(context, Durability::Power, "large")?;
    let mut samples = [const { Vec::new() }; 3];
    for kill in 0..=kills {
        let times = [bare.recover()?, process.recover(context)?, power.recover(context)?];
        if kill > 0 {
            samples.iter_mut().zip(times).for_each(|(samples, time)| samples.push(time));
        }
    }
    Ok(medians([BARE_LARGE, LARGE_PROCESS, LARGE_POWER], samples))
}

fn medians<const N: usize>(what: [What; N], samples: [Vec<f64>; N]) -> Vec<Found> {
    let pairs = what.into_iter().zip(samples);
    pairs.filter_map(|(what, samples)| Some(Found { what, value: median(samples)? })).collect()
}

/// A bare process with a file to load.
struct Victim {
    bare: Bare,
    file: PathBuf,
}

impl Victim {
    fn start(dir: &Path, name: &str, len: usize) -> Result<Self, FloorsError> {
        let file = dir.join(format!("{name}-file"));
        prewritten(&file, len).map_err(system("make a file"))?;
        let mut bare = Bare::start(Duty::Load(&file)).map_err(system("start a bare process"))?;
        let answered = bare.send().and_then(|()| bare.receive());
        answered.map_err(system("ask a bare process"))?;
        Ok(Self { bare, file })
    }

    /// Kills the process and waits for the answer of the next. Microseconds.
    fn recover(&mut self) -> Result<f64, FloorsError> {
        let begin = Instant::now();
        self.bare.kill().map_err(system("kill a bare process"))?;
        self.bare = Bare::start(Duty::Load(&self.file)).map_err(system("start a bare process"))?;
        let answered = self.bare.send().and_then(|()| self.bare.receive());
        answered.map_err(system("ask a bare process"))?;
        Ok(micros(begin))
    }
}

/// An actor that is killed.
struct Crew<M: Member>(crew::Crew<M>);

impl<M: Member> Crew<M> {
    fn start(
        context: &Context<'_>,
        durability: Durability,
        name: &str,
    ) -> Result<Self, FloorsError> {
        Ok(Self(crew::Crew::start(context, durability, name, 1)?))
    }

    /// Calls the actor, kills it and waits for its next reply: a read, so that no commit is
    /// counted. Microseconds from the kill.
    fn recover(&self, context: &Context<'_>) -> Result<f64, FloorsError> {
        context.runtime.block_on(async {
            let Some(member) = self.0.members.first() else { return Ok(f64::NAN) };
            let reply = member.process(0, M::value(1)).await.map_err(Error::from)?;
            drop(reply);
            let applied = member.applied().await.map_err(Error::from)?;
            let begin = Instant::now();
            member.kill().await.map_err(Error::from)?;
            let after = member.applied().await.map_err(Error::from)?;
            let time = micros(begin);
            match applied == after {
                true => Ok(time),
                false => Err(FloorsError::Wrong("an actor came back with another state")),
            }
        })
    }
}
