//! Things that are timed in turn with each other.

use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use super::FloorsError;
use super::what::{Found, What};
use crate::measurement::median;

/// Something that is timed.
pub(super) trait Probe {
    /// Does it as often as the share allows and gives the time of each. Microseconds.
    fn sample(&mut self, runtime: &Runtime, share: &Share) -> Result<Vec<f64>, FloorsError>;
}

/// How long a turn lasts at most. A slow machine gets fewer samples instead of more time.
const TURN: Duration = Duration::from_millis(400);

/// So many samples a turn has in any case.
const LEAST: usize = 2;

/// What a probe may do in one turn.
pub(super) struct Share {
    times: usize,
    end: Instant,
}

impl Share {
    pub(super) fn wants_more(&self, done: usize) -> bool {
        done < self.times && (done < LEAST || Instant::now() < self.end)
    }
}

/// A probe, what it measures, and how often it is done at most before the next has its turn.
pub(super) struct Turn {
    pub(super) what: What,
    pub(super) probe: Box<dyn Probe>,
    pub(super) times: usize,
}

impl Turn {
    pub(super) fn new(what: What, probe: impl Probe + 'static, times: usize) -> Self {
        Self { what, probe: Box::new(probe), times }
    }
}

/// Lets all take turns, so often, after some turns that do not count: the first are slow, while
/// caches, files and buffers are cold. The medians.
pub(super) fn alternate(
    turns: &mut [Turn],
    (warm_up, rounds): (usize, usize),
    runtime: &Runtime,
) -> Result<Vec<Found>, FloorsError> {
    let mut samples: Vec<Vec<f64>> = vec![Vec::new(); turns.len()];
    for round in 0..warm_up + rounds {
        for (turn, samples) in turns.iter_mut().zip(&mut samples) {
            let share = Share { times: turn.times, end: Instant::now() + TURN };
            let times = turn.probe.sample(runtime, &share)?;
            if round >= warm_up {
                samples.extend(times);
            }
        }
    }
    let found = turns.iter().zip(samples);
    Ok(found
        .filter_map(|(turn, samples)| Some(Found { what: turn.what, value: median(samples)? }))
        .collect())
}

/// The time that something took, in microseconds.
pub(super) fn micros(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1e6
}
