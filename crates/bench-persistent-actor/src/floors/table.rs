//! The floors as text and as JSON.

use std::fmt::Write;

use serde::Serialize;
use serde_json::json;

use super::{Found, What};

/// A call related to the floors that it cannot avoid.
#[derive(Clone, Debug, Serialize)]
struct Ratio {
    what: What,
    /// The floors, summed up.
    floors: &'static [What],
    ratio: f64,
    /// What the ratio should not exceed, where there is a target for it.
    target_ratio: Option<f64>,
    /// What the median should not exceed, where there is a target for it. Microseconds.
    target_us: Option<f64>,
}

/// A call, its floors, and the most that it should cost: as a ratio, or in microseconds.
type Target = (What, &'static [What], Option<f64>, Option<f64>);

const TARGETS: [Target; 6] = [
    (What::SmallNone, &[What::SocketTokio], None, Some(30.0)),
    (What::SmallProcess, &[What::SocketTokio], None, None),
    (What::SmallPower, &[What::SocketFdatasync], Some(1.5), None),
    (What::LargeNone, &[What::Add], None, Some(4000.0)),
    (What::LargeProcess, &[What::Add], None, None),
    (What::LargePower, &[What::Add, What::WriteLarge], None, Some(20_000.0)),
];

fn median_us(found: &[Found], what: What) -> Option<f64> {
    found.iter().find(|found| found.what == what).map(|found| found.median_us)
}

fn ratios(found: &[Found]) -> Vec<Ratio> {
    let ratio = |(what, floors, target_ratio, target_us): (_, &'static [What], _, _)| {
        let floor: Option<f64> = floors.iter().map(|floor| median_us(found, *floor)).sum();
        let ratio = median_us(found, what)? / floor?;
        Some(Ratio { what, floors, ratio, target_ratio, target_us })
    };
    TARGETS.into_iter().filter_map(ratio).collect()
}

/// One JSON object: what was found, and the ratios.
pub(super) fn json(found: &[Found]) -> String {
    let value = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "optimised": !cfg!(debug_assertions),
        "found": found,
        "ratios": ratios(found),
    });
    format!("{value:#}\n")
}

/// Two tables.
pub(super) fn text(found: &[Found]) -> String {
    let mut text = format!("{:<40}{:>12}   {}\n", "what", "median µs", "(medians of the repeats)");
    for one in found {
        let range = format!("({:.1} to {:.1})", one.low_us, one.high_us);
        let _ = writeln!(text, "{:<40}{:>12.1}   {range}", one.what.text(), one.median_us);
    }
    let _ = writeln!(text, "\n{:<40}{:>12}   floor", "call", "× floor");
    for ratio in ratios(found) {
        let floors: Vec<&str> = ratio.floors.iter().map(|floor| floor.text()).collect();
        let target = match (ratio.target_ratio, ratio.target_us) {
            (Some(most), _) => format!("; target: at most {most} ×"),
            (_, Some(most)) => format!("; target: at most {most} µs"),
            _ => String::new(),
        };
        let _ = writeln!(
            text,
            "{:<40}{:>12.2}   {}{target}",
            ratio.what.text(),
            ratio.ratio,
            floors.join(" + ")
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(what: What, median_us: f64) -> Found {
        Found { what, median_us, low_us: median_us, high_us: median_us }
    }

    #[test]
    fn a_call_is_related_to_the_sum_of_its_floors() {
        let all = [
            found(What::Add, 1000.0),
            found(What::WriteLarge, 9000.0),
            found(What::LargePower, 15_000.0),
        ];
        let ratios = ratios(&all);
        assert_eq!(ratios.len(), 1, "what was not measured has no ratio");
        assert_eq!(ratios[0].ratio, 1.5);
        assert!(text(&all).contains("target: at most 20000 µs"));
    }
}
