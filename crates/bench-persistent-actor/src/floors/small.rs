//! A call to a small actor, beside a round trip between two processes.
//!
//! All on one processor, as in the benchmark's chain: only one process works at a time.

use std::path::Path;
use std::time::Instant;

use persistent_actor::Durability;
use persistent_actor_runtime::Error;
use tokio::runtime::Runtime;

use super::bare::{Bare, BareTokio, Duty, Ring};
use super::probe::{Probe, Share, Turn, alternate, micros};
use super::what::{Found, Limit, Row, Target, What};
use super::{Context, Effort, FloorsError, crew, system};
use crate::actors::SmallActorHandle;
use crate::member::Member;

const TRIP: What =
    What::us("socket_round_trip", "64 bytes to a bare process and back, tokio on this side");
const BEST: What = What::us(
    "socket_round_trip_poll",
    "64 bytes to a bare process that sleeps in `poll` and back, tokio on this side",
);
const TRIP_SYNC: What = What::us(
    "socket_round_trip_fdatasync",
    "64 bytes to a bare process and back, which before it answers writes them to a prewritten file \
     and syncs it",
);
const NONE: What = What::us("small_call_none", "a call to a small actor, no safe state");
const PROCESS: What = What::us("small_call_process", "a call to a small actor, `process`");
const POWER: What = What::us("small_call_power", "a call to a small actor, `power`");

pub(super) const ROWS: &[Row] = &[
    Row {
        key: "small-none",
        work: "small call, no safe state",
        product: &NONE,
        floors: &[&TRIP],
        target: Target::AtMost(1.3),
    },
    Row {
        key: "small-process",
        work: "small call, process",
        product: &PROCESS,
        floors: &[&NONE],
        target: Target::AtMost(1.2),
    },
    Row {
        key: "small-power",
        work: "small call, power",
        product: &POWER,
        floors: &[&TRIP_SYNC],
        target: Target::AtMost(1.2),
    },
];

pub(super) const LIMITS: &[Limit] = &[Limit { row: "small-none", best: &BEST }];

/// How many actors take turns.
const ACTORS: usize = 2;

pub(super) fn measure(context: &Context<'_>) -> Result<Vec<Found>, FloorsError> {
    let _one = context.on_one_processor();
    let (rounds, times) = match context.effort {
        Effort::Quick => (5, 200),
        Effort::Normal | Effort::Full => (9, 500),
    };
    let product = |durability| Calls::start(context, durability);
    let mut turns = [
        Turn::new(TRIP, Trip::start(context.runtime, Duty::Nothing)?, times),
        Turn::new(BEST, Trip::start(context.runtime, Duty::Poll)?, times),
        Turn::new(NONE, product(Durability::None)?, times),
        Turn::new(PROCESS, product(Durability::Process)?, times),
        Turn::new(TRIP_SYNC, Trip::synced(context.runtime, context.dir)?, times),
        Turn::new(POWER, product(Durability::Power)?, times),
    ];
    alternate(&mut turns, (1, rounds), context.runtime)
}

/// Round trips to a bare process.
struct Trip {
    bare: BareTokio,
}

impl Trip {
    fn start(runtime: &Runtime, duty: Duty<'_>) -> Result<Self, FloorsError> {
        let _inside = runtime.enter();
        let bare = Bare::start(duty).and_then(Bare::with_tokio);
        Ok(Self { bare: bare.map_err(system("start a bare process"))? })
    }

    fn synced(runtime: &Runtime, dir: &Path) -> Result<Self, FloorsError> {
        let file = dir.join("ring");
        Ring::create(&file).map_err(system("make a file"))?;
        Self::start(runtime, Duty::Sync(&file))
    }
}

impl Probe for Trip {
    fn sample(&mut self, runtime: &Runtime, share: &Share) -> Result<Vec<f64>, FloorsError> {
        runtime.block_on(async {
            let mut samples = Vec::new();
            while share.wants_more(samples.len()) {
                let begin = Instant::now();
                self.bare.round_trip().await.map_err(system("ask a bare process"))?;
                samples.push(micros(begin));
            }
            Ok(samples)
        })
    }
}

/// Actors that call each other in a ring, as in the chain.
struct Calls {
    crew: crew::Crew<SmallActorHandle>,
}

impl Calls {
    fn start(context: &Context<'_>, durability: Durability) -> Result<Self, FloorsError> {
        Ok(Self { crew: crew::Crew::start(context, durability, "small", ACTORS)? })
    }
}

impl Probe for Calls {
    fn sample(&mut self, runtime: &Runtime, share: &Share) -> Result<Vec<f64>, FloorsError> {
        runtime.block_on(async {
            let mut samples = Vec::new();
            let mut value = SmallActorHandle::value(1);
            for member in self.crew.members.iter().cycle() {
                if !share.wants_more(samples.len()) {
                    break;
                }
                let begin = Instant::now();
                let reply = member.process(0, value).await.map_err(Error::from)?;
                samples.push(micros(begin));
                // The next argument: of constant size, over any number of calls.
                drop(reply);
                value = SmallActorHandle::value(1);
            }
            Ok(samples)
        })
    }
}
