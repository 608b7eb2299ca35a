//! Many actors started at once until each has answered, beside as many bare processes; and the
//! memory of an idle one.

use std::path::Path;
use std::time::Instant;

use persistent_actor::Durability;
use persistent_actor_runtime::{Error, Handle};
use tokio::task::JoinSet;

use super::bare::{Bare, Duty};
use super::probe::micros;
use super::what::{Found, Limit, Row, Target, What};
use super::{Context, Effort, FloorsError, crew, system};
use crate::actors::{SmallActor, SmallActorHandle};
use crate::long_run::Memory;
use crate::measurement::median;

const BARE_20: What = What::us("start_20_bare", "20 bare processes started, first answer of all");
const NONE_20: What = What::us("start_20_none", "20 actors started, first reply of all");
const POWER_20: What =
    What::us("start_20_power", "20 actors with new states started, `power`, first reply of all");
const BARE_1000: What =
    What::us("start_1000_bare", "1 000 bare processes started, first answer of all");
const NONE_1000: What = What::us("start_1000_none", "1 000 actors started, first reply of all");
const POWER_1000: What = What::us(
    "start_1000_power",
    "1 000 actors with new states started, `power`, first reply of all",
);
const MADE_20: What = What::us(
    "start_20_made",
    "20 bare processes started, each makes a directory with a file and syncs both, first answer of all",
);
const MADE_1000: What = What::us(
    "start_1000_made",
    "1 000 bare processes started, each makes a directory with a file and syncs both, first answer of all",
);
const PSS_20: What = What::mib("pss_20", "proportional memory of an idle small actor, one of 20");
const PSS_1000: What =
    What::mib("pss_1000", "proportional memory of an idle small actor, one of 1 000");
const PSS_BARE: What = What::mib("pss_bare", "proportional memory of a bare process, one of 20");

const TARGET: Target = Target::AtMost(1.5);
const MIB: Target = Target::AtMost(1.0);

pub(super) const ROWS: &[Row] = &[
    Row {
        key: "start-20",
        work: "first reply from 20 actors, no safe state",
        product: &NONE_20,
        floors: &[&BARE_20],
        target: TARGET,
    },
    Row {
        key: "start-20-power",
        work: "first reply from 20 actors, power",
        product: &POWER_20,
        floors: &[&BARE_20],
        target: TARGET,
    },
    Row {
        key: "start-1000",
        work: "first reply from 1 000 actors, no safe state",
        product: &NONE_1000,
        floors: &[&BARE_1000],
        target: TARGET,
    },
    Row {
        key: "start-1000-power",
        work: "first reply from 1 000 actors, power",
        product: &POWER_1000,
        floors: &[&BARE_1000],
        target: TARGET,
    },
    Row {
        key: "memory-20",
        work: "memory (PSS) of an idle small actor, one of 20",
        product: &PSS_20,
        floors: &[],
        target: MIB,
    },
    Row {
        key: "memory-1000",
        work: "memory (PSS) of an idle small actor, one of 1 000",
        product: &PSS_1000,
        floors: &[],
        target: MIB,
    },
];

pub(super) const LIMITS: &[Limit] = &[
    Limit { row: "start-20-power", best: &MADE_20 },
    Limit { row: "start-1000-power", best: &MADE_1000 },
];

const ROWS_20: [&str; 3] = ["start-20", "start-20-power", "memory-20"];
const ROWS_1000: [&str; 3] = ["start-1000", "start-1000-power", "memory-1000"];

/// Of how many processes the memory is looked at.
const LOOKED_AT: usize = 20;

pub(super) fn measure(context: &Context<'_>) -> Result<Vec<Found>, FloorsError> {
    let mut found = Vec::new();
    if ROWS_20.iter().any(|row| context.wants(row)) {
        let rounds = if context.effort == Effort::Quick { 3 } else { 7 };
        let times = compare(context, 20, rounds)?;
        found.extend(times.found([BARE_20, NONE_20, POWER_20, MADE_20], PSS_20));
        found.push(Found { what: PSS_BARE, value: times.bare_mib });
    }
    if ROWS_1000.iter().any(|row| context.wants(row)) && context.effort != Effort::Quick {
        let times = compare(context, 1000, 3)?;
        found.extend(times.found([BARE_1000, NONE_1000, POWER_1000, MADE_1000], PSS_1000));
    }
    Ok(found)
}

/// Start-up times of bare processes, of actors without safe state and at `power`, and of bare
/// processes that make a file.
#[derive(Default)]
struct Times {
    samples: [Vec<f64>; 4],
    bare_mib: f64,
    actor_mib: f64,
}

impl Times {
    fn found(&self, what: [What; 4], memory: What) -> Vec<Found> {
        let times = what.into_iter().zip(&self.samples);
        let mut found: Vec<Found> = times
            .filter_map(|(what, samples)| Some(Found { what, value: median(samples.clone())? }))
            .collect();
        found.push(Found { what: memory, value: self.actor_mib });
        found
    }
}

fn compare(context: &Context<'_>, processes: usize, rounds: usize) -> Result<Times, FloorsError> {
    let mut times = Times::default();
    for round in 0..rounds {
        let (time, mib) = bare(processes, None)?;
        times.samples[0].push(time);
        times.bare_mib = mib;
        for (index, durability) in [(1, Durability::None), (2, Durability::Power)] {
            let name = format!("start-{processes}-{round}");
            let (time, mib) = actors(context, durability, &name, processes)?;
            times.samples[index].push(time);
            if durability == Durability::Power {
                times.actor_mib = mib;
            }
        }
        let made = context.dir.join(format!("made-{processes}-{round}"));
        std::fs::create_dir(&made).map_err(system("make a directory"))?;
        times.samples[3].push(bare(processes, Some(&made))?.0);
    }
    Ok(times)
}

/// Starts bare processes; the time until all have answered, and the memory of one. Each first makes
/// a directory of its own in `dir`, if there is one.
fn bare(processes: usize, dir: Option<&Path>) -> Result<(f64, f64), FloorsError> {
    let mut all = Vec::with_capacity(processes);
    let begin = Instant::now();
    for process in 0..processes {
        let own = dir.map(|dir| dir.join(format!("process-{process}")));
        let duty = own.as_deref().map_or(Duty::Nothing, Duty::Make);
        let mut bare = Bare::start(duty).map_err(system("start a bare process"))?;
        bare.send().map_err(system("ask a bare process"))?;
        all.push(bare);
    }
    for bare in &mut all {
        bare.receive().map_err(system("ask a bare process"))?;
    }
    let time = micros(begin);
    let pids: Vec<u32> = all.iter().map(Bare::pid).collect();
    Ok((time, mean_pss_mib(&pids)?))
}

/// Starts actors, all at once; the time until all have answered, and the memory of one.
fn actors(
    context: &Context<'_>,
    durability: Durability,
    name: &str,
    actors: usize,
) -> Result<(f64, f64), FloorsError> {
    let mut crew = crew::Crew::empty(context, durability, name)?;
    context.runtime.block_on(async {
        let begin = Instant::now();
        let mut starting = JoinSet::new();
        for actor in 0..actors {
            let spawning = crew.node.actor::<SmallActor>(format!("actor-{actor}")).spawn();
            starting.spawn(async move {
                let member: SmallActorHandle = spawning.await?;
                member.applied().await?;
                Ok::<_, Error>(member)
            });
        }
        while let Some(member) = starting.join_next().await {
            crew.members.push(member.map_err(std::io::Error::other).map_err(Error::from)??);
        }
        let time = micros(begin);
        let pids: Vec<u32> = crew.members.iter().map(|member| pid(member)).collect();
        Ok((time, mean_pss_mib(&pids)?))
    })
}

fn pid(member: &Handle<SmallActor>) -> u32 {
    member.pid()
}

/// The mean over some of these processes.
fn mean_pss_mib(pids: &[u32]) -> Result<f64, FloorsError> {
    let every = pids.len().div_ceil(LOOKED_AT).max(1);
    let looked_at: Vec<&u32> = pids.iter().step_by(every).collect();
    let mut bytes = 0;
    for pid in &looked_at {
        let memory = Memory::of(**pid).map_err(system("read the memory of a process"))?;
        bytes += memory.pss_bytes;
    }
    Ok(bytes as f64 / f64::from(1 << 20) / looked_at.len() as f64)
}
