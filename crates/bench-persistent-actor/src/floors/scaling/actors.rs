//! Throughput and latency of calls against the number of actors that are called at once.

use std::time::Instant;

use persistent_actor::Durability;
use persistent_actor_runtime::Error;

use super::super::{Context, Effort, FloorsError, crew};
use crate::actors::SmallActorHandle;
use crate::crowd::{self, Called};
use crate::measurement::median;

/// About so many calls a point gets at most, all actors together.
const CALLS: usize = 6000;

/// And about so much time. Seconds.
const TIME_S: f64 = 0.5;

/// How often each point is measured.
const ROUNDS: usize = 3;

/// 1 to 1 000 actors.
pub(super) fn points(effort: Effort) -> Vec<usize> {
    match effort {
        Effort::Quick => vec![1, 4, 16, 64],
        Effort::Normal | Effort::Full => vec![1, 2, 5, 10, 20, 50, 100, 200, 500, 1000],
    }
}

pub(super) fn measure(
    context: &Context<'_>,
    actors: usize,
) -> Result<Vec<Vec<String>>, FloorsError> {
    let mut rows = Vec::new();
    for durability in [Durability::None, Durability::Process, Durability::Power] {
        let crew = crew::Crew::<SmallActorHandle>::start(context, durability, "crowd", actors)?;
        let called = calls(context, &crew, actors)?;
        let of = |figure: fn(&Called) -> f64| {
            median(called.iter().map(figure).collect()).unwrap_or(f64::NAN)
        };
        rows.push(vec![
            actors.to_string(),
            durability.to_string(),
            format!("{:.1}", of(|called| called.per_s)),
            format!("{:.2}", of(|called| called.us.median)),
            format!("{:.2}", of(|called| called.us.p99)),
        ]);
    }
    Ok(rows)
}

fn calls(
    context: &Context<'_>,
    crew: &crew::Crew<SmallActorHandle>,
    actors: usize,
) -> Result<Vec<Called>, FloorsError> {
    let call = |times| {
        let called = crowd::calls(crew.members.clone(), times, crowd::process);
        let called = context.runtime.block_on(called);
        called.map(|(called, _)| called).map_err(|error| FloorsError::Engine(Error::from(error)))
    };
    // The first calls are slow, and tell how many fit.
    call(2)?;
    let begin = Instant::now();
    let few = 4;
    call(few)?;
    let each = begin.elapsed().as_secs_f64() / few as f64;
    let times = ((TIME_S / each) as usize).min(CALLS / actors).max(few);
    (0..ROUNDS).map(|_| call(times)).collect()
}
