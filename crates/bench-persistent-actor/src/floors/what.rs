//! What is measured, and the rows of the table that relate it.

use serde::Serialize;

/// In what something is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Unit {
    /// Microseconds.
    Us,
    /// Per second.
    PerS,
    /// Mebibytes.
    Mib,
    /// Times that something took place.
    Count,
    /// One thing divided by another.
    Ratio,
}

/// Something that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct What {
    /// Its name in JSON and CSV.
    pub(super) key: &'static str,
    /// For people.
    pub(super) text: &'static str,
    pub(super) unit: Unit,
}

impl What {
    const fn new(key: &'static str, text: &'static str, unit: Unit) -> Self {
        Self { key, text, unit }
    }

    pub(super) const fn us(key: &'static str, text: &'static str) -> Self {
        Self::new(key, text, Unit::Us)
    }

    pub(super) const fn per_s(key: &'static str, text: &'static str) -> Self {
        Self::new(key, text, Unit::PerS)
    }

    pub(super) const fn mib(key: &'static str, text: &'static str) -> Self {
        Self::new(key, text, Unit::Mib)
    }

    pub(super) const fn count(key: &'static str, text: &'static str) -> Self {
        Self::new(key, text, Unit::Count)
    }

    /// The ratio of a row whose product and floor took turns: the median of the ratios of the
    /// turns. On a machine whose speed changes meanwhile, that of the medians says less.
    pub(super) const fn ratio_in_turns(row: &'static str, text: &'static str) -> Self {
        Self::new(row, text, Unit::Ratio)
    }

    /// A value of it, for people.
    pub(super) fn show(&self, value: f64) -> String {
        match self.unit {
            Unit::Us if value < 1000.0 => format!("{value:.1} µs"),
            Unit::Us if value < 1e6 => format!("{:.2} ms", value / 1e3),
            Unit::Us => format!("{:.2} s", value / 1e6),
            Unit::PerS if value < 10_000.0 => format!("{value:.0} /s"),
            Unit::PerS => format!("{:.1} k/s", value / 1e3),
            Unit::Mib => format!("{value:.2} MiB"),
            Unit::Count => format!("{value:.0}"),
            Unit::Ratio => format!("{value:.2}"),
        }
    }
}

/// What one repetition found of one thing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Found {
    pub(super) what: What,
    pub(super) value: f64,
}

/// What a ratio should be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Target {
    AtMost(f64),
    AtLeast(f64),
}

impl Target {
    pub(super) fn is_met(self, ratio: f64) -> bool {
        match self {
            Self::AtMost(most) => ratio <= most,
            Self::AtLeast(least) => ratio >= least,
        }
    }

    /// By how much the ratio misses the target, as a part of the target; below 0 if it is met.
    pub(super) fn missed_by(self, ratio: f64) -> f64 {
        match self {
            Self::AtMost(most) => ratio / most - 1.0,
            Self::AtLeast(least) => 1.0 - ratio / least,
        }
    }

    pub(super) fn text(self) -> String {
        match self {
            Self::AtMost(most) => format!("≤ {most}"),
            Self::AtLeast(least) => format!("≥ {least}"),
        }
    }
}

/// One row of the table: something that the product does, related to what a bare program needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// Its name for `--only`, in JSON and CSV.
    pub(super) key: &'static str,
    /// What is done.
    pub(super) work: &'static str,
    /// What the product needs for it.
    pub(super) product: &'static What,
    /// What it is divided by, summed up; with none the value itself has a target.
    pub(super) floors: &'static [&'static What],
    pub(super) target: Target,
}

impl Row {
    /// The ratio in one repetition: that of the turns, if there were turns. `None` if something was
    /// not measured in it.
    pub(super) fn ratio(&self, found: &[Found]) -> Option<f64> {
        let in_turns =
            found.iter().find(|one| one.what.unit == Unit::Ratio && one.what.key == self.key);
        in_turns.map(|one| one.value).or_else(|| self.ratio_of_medians(found))
    }

    /// The same, of the product's value and the floors'.
    pub(super) fn ratio_of_medians(&self, found: &[Found]) -> Option<f64> {
        let value = |what: &What| find(found, what);
        let product = value(self.product)?;
        match self.floors {
            [] => Some(product),
            floors => {
                let floor = floors.iter().map(|what| value(what)).sum::<Option<f64>>()?;
                Some(product / floor)
            }
        }
    }
}

/// The best that is known for a row, although it is not what the row divides by.
///
/// If not even this meets the row's target, it is out of reach here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    /// The row's key.
    pub(super) row: &'static str,
    pub(super) best: &'static What,
}

/// The value of something.
pub(super) fn find(found: &[Found], what: &What) -> Option<f64> {
    found.iter().find(|one| one.what == *what).map(|one| one.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: What = What::us("call", "a call");
    const TRIP: What = What::us("trip", "a round trip");
    const SYNC: What = What::us("sync", "a sync");

    fn found(what: What, value: f64) -> Found {
        Found { what, value }
    }

    #[test]
    fn a_row_relates_the_product_to_the_sum_of_its_floors() {
        let target = Target::AtMost(1.2);
        let floors = &[&TRIP, &SYNC];
        let row = Row { key: "call", work: "a call", product: &CALL, floors, target };
        let all = [found(CALL, 150.0), found(TRIP, 10.0), found(SYNC, 90.0)];
        assert_eq!(row.ratio(&all), Some(1.5));
        assert_eq!(row.ratio(&all[..2]), None, "what was not measured has no ratio");
        assert_eq!(Row { floors: &[], ..row }.ratio(&all), Some(150.0));
    }

    #[test]
    fn a_ratio_that_was_found_in_turns_counts_for_its_row() {
        let (target, floors): (_, &[&What]) = (Target::AtMost(1.2), &[&TRIP]);
        let row = Row { key: "call", work: "a call", product: &CALL, floors, target };
        let all = |key| {
            let in_turns = What::ratio_in_turns(key, "a call beside a round trip");
            [found(CALL, 12.0), found(TRIP, 10.0), found(in_turns, 1.1)]
        };
        assert_eq!(row.ratio(&all("call")), Some(1.1));
        assert_eq!(row.ratio_of_medians(&all("call")), Some(1.2));
        assert_eq!(row.ratio(&all("sync")), Some(1.2), "that of another row");
    }

    #[test]
    fn a_target_is_missed_by_a_part_of_it() {
        assert!(Target::AtMost(1.2).is_met(1.2) && !Target::AtMost(1.2).is_met(1.21));
        assert!(Target::AtLeast(5.0).is_met(5.0) && !Target::AtLeast(5.0).is_met(4.9));
        assert!((Target::AtMost(1.2).missed_by(1.8) - 0.5).abs() < 1e-9);
        assert!((Target::AtLeast(5.0).missed_by(4.0) - 0.2).abs() < 1e-9);
        assert!(Target::AtLeast(5.0).missed_by(6.0) < 0.0);
    }

    #[test]
    fn values_are_shown_in_units_that_people_read() {
        assert_eq!(CALL.show(8.94), "8.9 µs");
        assert_eq!(CALL.show(12_345.0), "12.35 ms");
        assert_eq!(CALL.show(2.5e6), "2.50 s");
        assert_eq!(What::per_s("x", "x").show(275_123.0), "275.1 k/s");
    }
}
