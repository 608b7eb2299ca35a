//! Logarithmic axes: from values to positions, and where the ticks go.

/// A logarithmic axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogScale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl LogScale {
    /// The values `low` to `high` (above 0) on the positions `from` to `to`.
    pub fn new((low, high): (f64, f64), (from, to): (f64, f64)) -> Self {
        Self { low, high, from, to }
    }

    /// The position of a value.
    pub fn position(&self, value: f64) -> f64 {
        let part = (value / self.low).ln() / (self.high / self.low).ln();
        self.from + part * (self.to - self.from)
    }

    /// Whether the value lies on the axis.
    pub fn contains(&self, value: f64) -> bool {
        value >= self.low * (1.0 - 1e-9) && value <= self.high * (1.0 + 1e-9)
    }
}

/// The smallest and the largest of the values, widened by the factor `margin` on both sides and
/// to at least `least`.
pub fn range(values: impl Iterator<Item = f64>, margin: f64, least: (f64, f64)) -> (f64, f64) {
    let start = (f64::INFINITY, 0.0_f64);
    let (low, high) = values.fold(start, |(low, high), v| (low.min(v), high.max(v)));
    ((low / margin).min(least.0), (high * margin).max(least.1))
}

/// Round values on a logarithmic axis: 1, 2 and 5 times powers of ten over a wide range, evenly
/// spaced round numbers over a narrow one.
pub fn ticks(low: f64, high: f64) -> Vec<f64> {
    if high / low >= 20.0 { decades(low, high) } else { even(low, high) }
}

fn decades(low: f64, high: f64) -> Vec<f64> {
    let exponents = low.log10().floor() as i32..=high.log10().ceil() as i32;
    exponents
        .flat_map(|exponent| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(exponent)))
        .filter(|&tick| tick >= low * (1.0 - 1e-9) && tick <= high * (1.0 + 1e-9))
        .collect()
}

fn even(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / 6.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|digit| digit * power)
        .into_iter()
        .find(|step| *step >= rough)
        .unwrap_or(10.0 * power);
    let first = (low / step).ceil() as i64;
    let last = (high / step).floor() as i64;
    (first..=last).map(|n| n as f64 * step).filter(|tick| *tick > 0.0).collect()
}

/// A tick's label: as few digits as needed.
pub fn label(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_and_middle_of_an_axis_are_where_they_belong() {
        let scale = LogScale::new((10.0, 1000.0), (0.0, 100.0));
        assert_eq!(scale.position(10.0), 0.0);
        assert!((scale.position(100.0) - 50.0).abs() < 1e-9);
        assert!((scale.position(1000.0) - 100.0).abs() < 1e-9);
        assert!(scale.contains(10.0) && !scale.contains(9.0));
    }

    #[test]
    fn ticks_are_round_and_readable_over_any_range() {
        let labels = |low, high| ticks(low, high).into_iter().map(label).collect::<Vec<_>>();
        assert_eq!(labels(0.7, 60.0), ["1", "2", "5", "10", "20", "50"]);
        assert_eq!(labels(0.8, 1.25), ["0.8", "0.9", "1", "1.1", "1.2"]);
        assert_eq!(labels(0.95, 5.2), ["1", "2", "3", "4", "5"]);
        for (low, high) in [(0.5, 2.0), (0.99, 1.013), (0.1, 3.0), (1.0, 19.0)] {
            assert!((3..=9).contains(&ticks(low, high).len()), "{low} {high}");
        }
    }
}
