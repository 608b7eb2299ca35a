//! What several runs of the same thing say together: median, spread, how sure the median is, and
//! which runs do not belong.
//!
//! Nothing here assumes a distribution: run times are skewed to the right, and a mean with a
//! standard deviation would say little about them.

use serde::Serialize;

use crate::measurement::quantile;

/// The confidence that an interval of a median should have at least.
pub const CONFIDENCE: f64 = 0.95;

/// How far a value may lie from the median, as a modified Z-score, before it is an outlier: the
/// value that Iglewicz and Hoaglin recommend.
pub const OUTLIER_SCORE: f64 = 3.5;

/// A value so near to the median is no outlier, however close together the others lie. Part of
/// the median.
const OUTLIER_LEAST: f64 = 0.05;

/// With fewer values, which of them is the odd one cannot be said.
const OUTLIER_MIN_VALUES: usize = 5;

/// Several measurements of one figure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// How many.
    pub count: usize,
    /// Half are smaller.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// Where the true median lies; `None` when there are too few values to say (below 6).
    pub median_interval: Option<Interval>,
}

/// A confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// The probability that the interval covers the true value, at least [`CONFIDENCE`].
    pub confidence: f64,
}

impl Summary {
    /// Of these values, in any order; `None` when there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            count: sorted.len(),
            median: quantile(&sorted, 0.5)?,
            min: *sorted.first()?,
            max: *sorted.last()?,
            median_interval: median_interval(&sorted),
        })
    }

    /// The distance from the smallest to the largest, as a part of the median.
    pub fn relative_spread(&self) -> f64 {
        (self.max - self.min) / self.median
    }
}

/// The interval of the median from order statistics: of `n` independent values, how many lie below
/// the true median is distributed as `n` tosses of a coin. So the interval from the `j`-th
/// smallest to the `j`-th largest value misses it with twice the probability of fewer than `j`
/// heads. The narrowest interval of at least [`CONFIDENCE`] is given; from fewer than 6 values
/// there is none. (J.-Y. Le Boudec, "Performance Evaluation of Computer and Communication Systems",
/// EPFL Press 2010, theorem 2.1; W. J. Conover, "Practical Nonparametric Statistics", 3rd ed.,
/// Wiley 1999, section 3.2.)
fn median_interval(sorted: &[f64]) -> Option<Interval> {
    let n = sorted.len();
    // The probability of each number of heads, beginning with none, and of so many or fewer. Of
    // many values the first probabilities are smaller than the smallest number above 0, so the
    // logarithm is kept.
    let mut ln_probability = n as f64 * 0.5f64.ln();
    let mut tail = 0.0;
    let mut best = None;
    for j in 0..n / 2 {
        tail += ln_probability.exp();
        ln_probability += ((n - j) as f64 / (j + 1) as f64).ln();
        let confidence = 1.0 - 2.0 * tail;
        if confidence < CONFIDENCE {
            break;
        }
        best = Some(Interval { low: sorted[j], high: sorted[n - 1 - j], confidence });
    }
    best
}

/// How far each value lies from the median, in units that a single odd value cannot stretch: the
/// modified Z-score 0.6745 · (x − median) / MAD, with the median absolute deviation MAD (B. Iglewicz
/// and D. Hoaglin, "How to Detect and Handle Outliers", ASQC Quality Press 1993, section 3.3).
/// Where more than half of the values are equal, MAD is 0, and the mean absolute deviation takes
/// its place with the factor 1 / 1.253314; where all are equal, every score is 0.
pub fn modified_z_scores(values: &[f64]) -> Vec<f64> {
    let Some(centre) = crate::measurement::median(values.to_vec()) else { return Vec::new() };
    let deviations: Vec<f64> = values.iter().map(|x| (x - centre).abs()).collect();
    let mean = deviations.iter().sum::<f64>() / values.len() as f64;
    let unit = match crate::measurement::median(deviations) {
        Some(mad) if mad > 0.0 => mad / 0.6745,
        _ => mean * 1.253_314,
    };
    let score = |x: &f64| if unit > 0.0 { (x - centre) / unit } else { 0.0 };
    values.iter().map(score).collect()
}

/// The values that do not belong, by their places; none of fewer than five values.
pub fn outliers(values: &[f64]) -> Vec<usize> {
    let Some(centre) = crate::measurement::median(values.to_vec()) else { return Vec::new() };
    if values.len() < OUTLIER_MIN_VALUES {
        return Vec::new();
    }
    let scores = modified_z_scores(values);
    let far = |index: &usize| {
        let distance = (values[*index] - centre).abs();
        scores[*index].abs() > OUTLIER_SCORE && distance > OUTLIER_LEAST * centre.abs()
    };
    (0..values.len()).filter(far).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_the_median_is_that_of_the_published_table() {
        let interval = |n: usize| {
            let values: Vec<f64> = (1..=n).map(|value| value as f64).collect();
            median_interval(&values).map(|found| (found.low, found.high, found.confidence))
        };
        // Le Boudec, appendix A.
        for (n, low, high, confidence) in [(6, 1.0, 6.0, 0.969), (9, 2.0, 8.0, 0.961)] {
            let found = interval(n).unwrap();
            assert_eq!((found.0, found.1), (low, high), "{n}");
            assert!((found.2 - confidence).abs() < 0.0005, "{n}: {}", found.2);
        }
        assert_eq!(interval(10).map(|found| (found.0, found.1)), Some((2.0, 9.0)));
        assert_eq!(interval(20).map(|found| (found.0, found.1)), Some((6.0, 15.0)));
        for n in 0..6 {
            assert_eq!(interval(n), None, "{n} values say too little");
        }
    }

    #[test]
    fn the_interval_of_very_many_values_is_no_wider_than_it_need_be() {
        // From 1075 values on, 0.5 to the power of their number is no number above 0 any more.
        for n in [1074, 1075, 1100, 10_000] {
            let values: Vec<f64> = (1..=n).map(f64::from).collect();
            let found = median_interval(&values).unwrap();
            assert!((0.95..0.97).contains(&found.confidence), "{n}: {}", found.confidence);
            let n = f64::from(n);
            let low = n / 2.0 - 0.98 * n.sqrt();
            assert!((found.low - low).abs() <= 1.5, "{n}: rank {}, about {low}", found.low);
            assert_eq!(found.high, n + 1.0 - found.low);
        }
    }

    #[test]
    fn the_interval_covers_the_true_median_as_often_as_it_says() {
        use rand::{RngExt, SeedableRng, rngs::StdRng};
        let mut random = StdRng::seed_from_u64(7);
        let mut covered = 0;
        for _ in 0..2000 {
            // Skewed to the right, as run times are; its median is ln 2.
            let values: Vec<f64> = (0..12).map(|_| -random.random::<f64>().ln()).collect();
            let interval = Summary::of(&values).unwrap().median_interval.unwrap();
            covered += usize::from((interval.low..=interval.high).contains(&2f64.ln()));
        }
        // 12 values: from the 3rd to the 10th, 96.1 %.
        assert!((1890..=1955).contains(&covered), "{covered} of 2000, seed 7");
    }

    #[test]
    fn a_value_far_from_all_others_is_an_outlier_and_others_are_not() {
        assert_eq!(outliers(&[1.0, 1.1, 0.9, 1.05, 3.0, 1.0]), [4]);
        assert_eq!(outliers(&[1.0, 1.1, 0.9, 1.05, 0.95, 1.0]), [0usize; 0]);
        assert_eq!(outliers(&[5.0, 5.0, 5.0, 5.0, 5.0, 9.0]), [5], "MAD is 0");
        assert_eq!(outliers(&[5.0; 9]), [0usize; 0]);
        assert_eq!(outliers(&[1.0, 1.0001, 0.9999, 1.0, 1.01]), [0usize; 0], "1 % is nothing");
        assert_eq!(outliers(&[1.0, 1.0, 9.0]), [0usize; 0], "too few to tell");
    }

    #[test]
    fn one_odd_value_does_not_hide_another() {
        // With mean and standard deviation the two would stretch the unit and pass.
        assert_eq!(outliers(&[1.0, 1.1, 0.9, 1.05, 0.95, 40.0, 60.0]), [5, 6]);
    }

    #[test]
    fn a_summary_of_nothing_is_none() {
        assert_eq!(Summary::of(&[]), None);
        let one = Summary::of(&[2.0]).unwrap();
        assert_eq!((one.median, one.min, one.max, one.median_interval), (2.0, 2.0, 2.0, None));
    }
}
