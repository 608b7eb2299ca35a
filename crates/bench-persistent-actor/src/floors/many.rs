//! 256 actors called at once: `power` beside no safe state, and beside bare processes that sync a
//! file of their own each.

use std::io;
use std::sync::Arc;

use persistent_actor::Durability;
use persistent_actor_runtime::Error;

use super::bare::{Bare, BareTokio, Duty, Ring};
use super::shared_sync::SharedSync;
use super::what::{Found, Limit, Row, Target, What};
use super::{Context, Effort, FloorsError, crew, system};
use crate::actors::SmallActorHandle;
use crate::crowd::{self, Called};
use crate::measurement::median;

const NONE: What = What::per_s("many_none", "calls of 256 actors at once, no safe state");
const POWER: What = What::per_s("many_power", "calls of 256 actors at once, `power`");
const SINGLE: What = What::per_s(
    "many_bare_syncs",
    "256 bare processes asked at once, each syncs a prewritten file of its own before it answers",
);
const SHARED: What = What::per_s(
    "many_bare_shared",
    "256 bare processes asked at once, which answer at once and sleep in `poll`; one prewritten \
     file, one `fdatasync` for all whose answers wait",
);
const SHARED_BY_NONE: What = What::ratio_in_turns(
    "many_bare",
    "the same bare processes with the shared `fdatasync`, by without any, turn by turn",
);
const POWER_BY_NONE: What = What::ratio_in_turns(
    "many-none",
    "calls of 256 actors at once, `power` by no safe state, turn by turn",
);
const P50: What = What::us("many_power_p50", "the median call of 256 actors at once, `power`");
const P99: What = What::us("many_power_p99", "the 99 % call of 256 actors at once, `power`");

pub(super) const ROWS: &[Row] = &[
    Row {
        key: "many-none",
        work: "256 actors at once, power beside no safe state",
        product: &POWER,
        floors: &[&NONE],
        target: Target::AtLeast(0.7),
    },
    Row {
        key: "many-syncs",
        work: "256 actors at once, power beside a sync for each",
        product: &POWER,
        floors: &[&SINGLE],
        target: Target::AtLeast(5.0),
    },
    Row {
        key: "many-tail",
        work: "256 actors at once, power, 99 % call beside median",
        product: &P99,
        floors: &[&P50],
        target: Target::AtMost(4.0),
    },
];

pub(super) const LIMITS: &[Limit] = &[
    Limit { row: "many-none", best: &SHARED_BY_NONE },
    Limit { row: "many-syncs", best: &SHARED },
];

/// How many actors.
const ACTORS: usize = 256;

pub(super) fn measure(context: &Context<'_>) -> Result<Vec<Found>, FloorsError> {
    let (rounds, bare_rounds, calls) = match context.effort {
        Effort::Quick => (2, 2, 20),
        Effort::Normal | Effort::Full => (21, 7, 60),
    };
    let [none, power] = Actors::measure(context, rounds, calls)?;
    let [single, shared, only] = measure_bare(context, bare_rounds, calls)?;
    let of = |samples: &[Called], figure: fn(&Called) -> f64| {
        median(samples.iter().map(figure).collect())
    };
    let found = [
        (NONE, of(&none, |called| called.per_s)),
        (POWER, of(&power, |called| called.per_s)),
        (POWER_BY_NONE, in_turns(&power, &none)),
        (SINGLE, of(&single, |called| called.per_s)),
        (SHARED, of(&shared, |called| called.per_s)),
        (SHARED_BY_NONE, in_turns(&shared, &only)),
        (P50, of(&power, |called| called.us.median)),
        (P99, of(&power, |called| called.us.p99)),
    ];
    Ok(found.into_iter().filter_map(|(what, v)| Some(Found { what, value: v? })).collect())
}

/// The median ratio of the rates.
fn in_turns(these: &[Called], those: &[Called]) -> Option<f64> {
    median(these.iter().zip(those).map(|(this, that)| this.per_s / that.per_s).collect())
}

/// Actors that are called at once.
struct Actors(crew::Crew<SmallActorHandle>);

impl Actors {
    /// Without safe state and at `power`, in turns. The first turn is for warming up.
    fn measure(
        context: &Context<'_>,
        rounds: usize,
        calls: usize,
    ) -> Result<[Vec<Called>; 2], FloorsError> {
        let none = Self::start(context, Durability::None)?;
        let power = Self::start(context, Durability::Power)?;
        let mut samples = [Vec::new(), Vec::new()];
        for round in 0..=rounds {
            let called = [none.call(context, calls)?, power.call(context, calls)?];
            if round > 0 {
                samples.iter_mut().zip(called).for_each(|(samples, called)| samples.push(called));
            }
        }
        none.check(context, (rounds + 1) * calls)?;
        power.check(context, (rounds + 1) * calls)?;
        Ok(samples)
    }

    fn start(context: &Context<'_>, durability: Durability) -> Result<Self, FloorsError> {
        Ok(Self(crew::Crew::start(context, durability, "many", ACTORS)?))
    }

    fn call(&self, context: &Context<'_>, calls: usize) -> Result<Called, FloorsError> {
        let called = crowd::calls(self.0.members.clone(), calls, crowd::process);
        let called = context.runtime.block_on(called);
        called.map(|(called, _)| called).map_err(|error| FloorsError::Engine(error.into()))
    }

    /// Every call took effect once.
    fn check(&self, context: &Context<'_>, calls: usize) -> Result<(), FloorsError> {
        context.runtime.block_on(async {
            for member in &self.0.members {
                if member.applied().await.map_err(Error::from)? != calls as u64 {
                    return Err(FloorsError::Wrong("calls were lost or doubled"));
                }
            }
            Ok(())
        })
    }
}

/// Bare processes that sync a file each, those that share a sync, and the same without a sync, in turns.
/// The first turn is for warming up.
fn measure_bare(
    context: &Context<'_>,
    rounds: usize,
    calls: usize,
) -> Result<[Vec<Called>; 3], FloorsError> {
    let (mut syncing, mut answering) = (bare(context, true)?, bare(context, false)?);
    let shared = SharedSync::create(&context.dir.join("shared")).map_err(system("make a file"))?;
    let mut samples: [Vec<Called>; 3] = Default::default();
    for round in 0..=rounds {
        let called = [
            bare_calls(context, &mut syncing, calls, None)?,
            bare_calls(context, &mut answering, calls, Some(&shared))?,
            bare_calls(context, &mut answering, calls, None)?,
        ];
        if round > 0 {
            samples.iter_mut().zip(called).for_each(|(samples, called)| samples.push(called));
        }
    }
    Ok(samples)
}

/// Processes that answer, each after a sync of a file of its own, or at once and as cheaply as they
/// can.
fn bare(context: &Context<'_>, syncs: bool) -> Result<Vec<BareTokio>, FloorsError> {
    let _inside = context.runtime.enter();
    let start = |number: usize| {
        if !syncs {
            return Bare::start(Duty::Poll)?.with_tokio();
        }
        let file = context.dir.join(format!("ring-{number}"));
        Ring::create(&file)?;
        Bare::start(Duty::Sync(&file))?.with_tokio()
    };
    let all: Result<Vec<BareTokio>, _> = (0..ACTORS).map(start).collect();
    all.map_err(system("start a bare process"))
}

/// Asks all at once; an answer counts when it is in the file that all share, if there is one.
fn bare_calls(
    context: &Context<'_>,
    all: &mut Vec<BareTokio>,
    calls: usize,
    shared: Option<&Arc<SharedSync>>,
) -> Result<Called, FloorsError> {
    let owned = std::mem::take(all);
    let shared = shared.cloned();
    let called = crowd::calls(owned, calls, move |mut bare: BareTokio| {
        let shared = shared.clone();
        async move {
            bare.round_trip().await?;
            if let Some(shared) = shared {
                shared.commit().await?;
            }
            Ok::<_, io::Error>(bare)
        }
    });
    let (called, owned) = context.runtime.block_on(called).map_err(system("ask a bare process"))?;
    *all = owned;
    Ok(called)
}
