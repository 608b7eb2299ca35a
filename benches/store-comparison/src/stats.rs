//! From single times to rows: percentiles within a round, medians and ranges over rounds.

use serde::Serialize;

/// What one round of a row measured.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) max_us: f64,
    pub(crate) commits: u64,
}

impl Round {
    /// Of times in nanoseconds; `None` if there are none.
    pub(crate) fn of(mut times_ns: Vec<u64>) -> Option<Self> {
        times_ns.sort_unstable();
        let max = *times_ns.last()?;
        Some(Self {
            p50_us: percentile(&times_ns, 50),
            p99_us: percentile(&times_ns, 99),
            max_us: max as f64 / 1e3,
            commits: times_ns.len() as u64,
        })
    }
}

/// The nearest-rank percentile of sorted times in nanoseconds, in microseconds.
fn percentile(sorted_ns: &[u64], percent: usize) -> f64 {
    let rank = (sorted_ns.len() * percent).div_ceil(100).max(1);
    sorted_ns.get(rank - 1).map_or(0.0, |ns| *ns as f64 / 1e3)
}

/// A value that was measured in several rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of one value per round; `None` if there are none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            1 => values[middle],
            _ => f64::midpoint(values[middle - 1], values[middle]),
        };
        Some(Self { median, min, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let round = Round::of((1..=200).rev().map(|us| us * 1000).collect()).unwrap();
        assert_eq!((round.p50_us, round.p99_us, round.max_us), (100.0, 198.0, 200.0));
        assert_eq!(Round::of(vec![7000]).unwrap().p99_us, 7.0);
        assert!(Round::of(vec![]).is_none());
    }

    #[test]
    fn a_spread_has_the_middle_of_its_rounds() {
        let spread = Spread::of([3.0, 1.0, 2.0]).unwrap();
        assert_eq!(spread, Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Spread::of([1.0, 4.0]).unwrap().median, 2.5);
    }
}
