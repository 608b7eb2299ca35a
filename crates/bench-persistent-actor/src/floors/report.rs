//! The table, for people and as JSON and CSV.

use std::fmt::Write;

use serde::{Serialize, Serializer};
use serde_json::json;

use super::Effort;
use super::what::{Found, Limit, Row, Target, Unit, What, find};
use crate::machine_load::MachineLoad;
use crate::measurement::median;
use crate::statistics::Summary;
use crate::warnings::Warning;

/// A ratio whose runs differ by more than this part of their median is told to be noisy.
const NOISY: f64 = 0.3;

/// All that was found.
pub(super) struct Report {
    pub(super) effort: Effort,
    pub(super) rows: Vec<Row>,
    pub(super) limits: Vec<Limit>,
    /// What each run found.
    pub(super) runs: Vec<Vec<Found>>,
    pub(super) machine: MachineLoad,
    pub(super) warnings: Vec<Warning>,
}

/// One row over all runs.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Line {
    key: &'static str,
    work: &'static str,
    product: Value,
    floors: Vec<Value>,
    /// The product by the sum of its floors, in each run; without floors the product itself.
    ratios: Vec<f64>,
    ratio: Summary,
    target: Target,
    is_met: bool,
    /// By how much the median ratio misses its target, as a part of it; below 0 if it is met.
    missed_by: f64,
    /// What cannot be done better, if that was measured.
    best: Option<Best>,
}

/// What cannot be done better, in the place of a row's product.
#[derive(Clone, Debug, Serialize)]
struct Best {
    value: Value,
    ratio: f64,
}

/// A thing with its median over all runs.
#[derive(Clone, Debug, Serialize)]
struct Value {
    #[serde(flatten)]
    what: What,
    median: f64,
    #[serde(serialize_with = "rounded")]
    runs: Vec<f64>,
}

fn rounded<S: Serializer>(values: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter().map(|value| (value * 1e4).round() / 1e4))
}

impl Report {
    fn value(&self, what: &What) -> Option<Value> {
        let runs: Vec<f64> = self.runs.iter().filter_map(|found| find(found, what)).collect();
        Some(Value { what: *what, median: median(runs.clone())?, runs })
    }

    fn line(&self, row: &Row) -> Option<Line> {
        let ratios: Vec<f64> = self.runs.iter().filter_map(|found| row.ratio(found)).collect();
        let ratio = Summary::of(&ratios)?;
        let limit = self.limits.iter().find(|limit| limit.row == row.key);
        Some(Line {
            key: row.key,
            work: row.work,
            product: self.value(row.product)?,
            floors: row.floors.iter().filter_map(|what| self.value(what)).collect(),
            ratios,
            ratio,
            target: row.target,
            is_met: row.target.is_met(ratio.median),
            missed_by: row.target.missed_by(ratio.median),
            best: limit.and_then(|limit| self.best(row, limit)),
        })
    }

    fn best(&self, row: &Row, limit: &Limit) -> Option<Best> {
        let ratio = |found: &Vec<Found>| match limit.best.unit {
            Unit::Ratio => find(found, limit.best),
            _ => Row { product: limit.best, ..*row }.ratio_of_medians(found),
        };
        let ratios = self.runs.iter().filter_map(ratio).collect();
        Some(Best { value: self.value(limit.best)?, ratio: median(ratios)? })
    }

    fn lines(&self) -> Vec<Line> {
        self.rows.iter().filter_map(|row| self.line(row)).collect()
    }

    /// Everything that was measured, also what no row needs.
    fn values(&self) -> Vec<Value> {
        let mut all: Vec<What> = Vec::new();
        for found in self.runs.iter().flatten() {
            if !all.contains(&found.what) {
                all.push(found.what);
            }
        }
        all.iter().filter_map(|what| self.value(what)).collect()
    }

    /// One JSON object.
    pub(super) fn json(&self) -> serde_json::Value {
        let warnings: Vec<String> = self.warnings.iter().map(Warning::to_string).collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "optimised": !cfg!(debug_assertions),
            "effort": self.effort,
            "repeat": self.runs.len(),
            "machine": self.machine,
            "warnings": warnings,
            "rows": self.lines(),
            "measured": self.values(),
        })
    }

    /// A line for each row and run.
    pub(super) fn csv(&self) -> Result<Vec<u8>, csv::Error> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record([
            "row", "work", "run", "product", "floor", "unit", "ratio", "target", "met",
        ])?;
        for row in &self.rows {
            for (run, found) in self.runs.iter().enumerate() {
                let (Some(ratio), Some(product)) = (row.ratio(found), find(found, row.product))
                else {
                    continue;
                };
                let floor: f64 = row.floors.iter().filter_map(|what| find(found, what)).sum();
                writer.write_record([
                    row.key,
                    row.work,
                    &(run + 1).to_string(),
                    &format!("{product:.3}"),
                    &if row.floors.is_empty() { String::new() } else { format!("{floor:.3}") },
                    &unit_name(row.product),
                    &format!("{ratio:.4}"),
                    &row.target.text(),
                    if row.target.is_met(ratio) { "True" } else { "False" },
                ])?;
            }
        }
        writer.into_inner().map_err(|error| error.into_error().into())
    }

    /// The table for people: Markdown that reads well as it is.
    pub(super) fn text(&self) -> String {
        let lines = self.lines();
        let header = ["work", "measured", "floor", "ratio", "runs", "target", ""];
        let mut cells = vec![header.map(str::to_owned)];
        cells.extend(lines.iter().map(Line::cells));
        let mut text = aligned(&cells);
        let met = lines.iter().filter(|line| line.is_met).count();
        let unreachable = lines.iter().filter(|line| line.is_out_of_reach()).count();
        let unreachable = match unreachable {
            0 => String::new(),
            count => format!(", {count} out of reach of bare programs, too"),
        };
        let _ = writeln!(
            text,
            "\n{met} of {} targets met{unreachable}; medians of {} runs, the range of the runs beside \
             them.",
            lines.len(),
            self.runs.len()
        );
        text.push_str("\nWhat is divided by what:\n");
        for line in &lines {
            let _ = writeln!(text, "- {} ({}): {}", line.work, line.key, line.division());
        }
        text
    }
}

fn unit_name(what: &What) -> String {
    serde_json::to_value(what.unit)
        .ok()
        .and_then(|u| Some(u.as_str()?.to_owned()))
        .unwrap_or_default()
}

impl Line {
    fn cells(&self) -> [String; 7] {
        let is_ratio = !self.floors.is_empty();
        let show = |value: f64| match is_ratio {
            true => format!("{value:.2}"),
            false => self.product.what.show(value),
        };
        let floor: f64 = self.floors.iter().map(|floor| floor.median).sum();
        let floor = self.floors.first().map(|first| first.what.show(floor));
        let unit = if is_ratio { "" } else { " MiB" };
        [
            self.work.to_owned(),
            self.product.what.show(self.product.median),
            floor.unwrap_or_default(),
            if is_ratio { show(self.ratio.median) } else { String::new() },
            format!("{} – {}", show(self.ratio.min), show(self.ratio.max)),
            format!("{}{unit}", self.target.text()),
            self.verdict(),
        ]
    }

    /// Whether not even what cannot be done better meets the target.
    fn is_out_of_reach(&self) -> bool {
        let is_met = |best: &Best| self.target.is_met(best.ratio);
        !self.is_met && self.best.as_ref().is_some_and(|best| !is_met(best))
    }

    fn verdict(&self) -> String {
        let runs = self.ratios.iter().filter(|ratio| self.target.is_met(**ratio)).count();
        let mut text = match self.is_met {
            true => "met".to_owned(),
            false => format!("MISSED by {:.0} %", 100.0 * self.missed_by),
        };
        if let Some(best) = self.best.as_ref().filter(|_| !self.is_met) {
            let reach = if self.is_out_of_reach() { "out of reach: " } else { "" };
            let _ = write!(text, ", {reach}at best {:.2}", best.ratio);
        }
        if runs > 0 && runs < self.ratios.len() {
            let _ = write!(text, " (met in {runs} of {} runs)", self.ratios.len());
        }
        if self.ratio.relative_spread() > NOISY {
            text.push_str(", noisy");
        }
        text
    }

    fn division(&self) -> String {
        let floors: Vec<&str> = self.floors.iter().map(|floor| floor.what.text).collect();
        let mut text = match floors.is_empty() {
            true => self.product.what.text.to_owned(),
            false => format!("{} / {}", self.product.what.text, floors.join(" + ")),
        };
        if let Some(Best { value, .. }) = &self.best {
            let (what, best) = (value.what, value.what.show(value.median));
            let _ = write!(text, "; at best {best}: {}", what.text);
        }
        text
    }
}

/// A Markdown table whose columns are aligned; all but the first and the last to the right.
fn aligned(cells: &[[String; 7]]) -> String {
    let width = |column: usize| {
        cells.iter().map(|row| row[column].chars().count()).max().unwrap_or_default().max(3)
    };
    let widths: Vec<usize> = (0..7).map(width).collect();
    let is_left = |column: usize| column == 0 || column == 6;
    let mut text = String::new();
    for (number, row) in cells.iter().enumerate() {
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            let _ = match is_left(column) {
                true => write!(text, "| {cell:<width$} "),
                false => write!(text, "| {cell:>width$} "),
            };
        }
        text.push_str("|\n");
        if number == 0 {
            for (column, width) in widths.iter().enumerate() {
                let dashes = "-".repeat(width + 1);
                text.push_str(&match is_left(column) {
                    true => format!("|{dashes}-"),
                    false => format!("|{dashes}:"),
                });
            }
            text.push_str("|\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: What = What::us("call", "a call");
    const TRIP: What = What::us("trip", "a round trip");
    const MEMORY: What = What::mib("memory", "the memory of an actor");

    const LEAST: What = What::us("least", "a wish");

    fn report(calls: &[f64]) -> Report {
        report_beside(calls, 11.0)
    }

    /// The same with what the small call cannot be faster than.
    fn report_beside(calls: &[f64], least: f64) -> Report {
        let row = Row {
            key: "small",
            work: "small call",
            product: &CALL,
            floors: &[&TRIP],
            target: Target::AtMost(1.3),
        };
        let memory = Row {
            key: "memory",
            work: "memory",
            product: &MEMORY,
            floors: &[],
            target: Target::AtMost(1.0),
        };
        let run = |&call: &f64| {
            vec![
                Found { what: CALL, value: call },
                Found { what: TRIP, value: 10.0 },
                Found { what: LEAST, value: least },
                Found { what: MEMORY, value: 0.5 },
            ]
        };
        Report {
            effort: Effort::Quick,
            rows: vec![row, memory],
            limits: vec![Limit { row: "small", best: &LEAST }],
            runs: calls.iter().map(run).collect(),
            machine: MachineLoad {
                wall_s: 1.0,
                processors: 2,
                others_s: None,
                stolen_s: None,
                load_average_before: None,
            },
            warnings: Vec::new(),
        }
    }

    #[test]
    fn the_table_says_what_was_met_and_what_was_missed_by_how_much() {
        let text = report(&[12.0, 13.0, 12.5]).text();
        assert!(text.starts_with("| work "), "{text}");
        assert!(text.contains("1.20 – 1.30"), "{text}");
        assert!(text.contains("met |") && text.contains("2 of 2 targets met"), "{text}");
        let missed = report(&[26.0, 25.9, 26.1]).text();
        assert!(missed.contains("MISSED by 100 %"), "{missed}");
        assert!(missed.contains("1 of 2 targets met"), "{missed}");
        assert!(
            missed.contains("- small call (small): a call / a round trip; at best"),
            "{missed}"
        );
        assert!(missed.contains("≤ 1 MiB"), "{missed}");
    }

    #[test]
    fn a_target_that_no_program_could_meet_is_told_to_be_out_of_reach() {
        let text = report_beside(&[26.0, 25.9, 26.1], 20.0).text();
        assert!(text.contains("MISSED by 100 %, out of reach: at best 2.00"), "{text}");
        assert!(text.contains("1 of 2 targets met, 1 out of reach"), "{text}");
        assert!(text.contains("a call / a round trip; at best 20.0 µs: a wish\n"), "{text}");
        let within = report_beside(&[26.0, 25.9, 26.1], 12.0).text();
        assert!(within.contains("MISSED by 100 %, at best 1.20 |"), "{within}");
        assert!(!within.contains("out of reach"), "{within}");
        let met = report_beside(&[12.0, 12.0, 12.0], 20.0).text();
        assert!(!met.contains("out of reach"), "what was met was not: {met}");
    }

    #[test]
    fn the_best_of_a_ratio_that_was_found_in_turns_is_a_ratio() {
        const TURNS: What = What::ratio_in_turns("turns", "both barely");
        let mut report = report(&[26.0]);
        report.limits = vec![Limit { row: "small", best: &TURNS }];
        report.runs[0].push(Found { what: TURNS, value: 1.5 });
        let text = report.text();
        assert!(text.contains("MISSED by 100 %, out of reach: at best 1.50"), "{text}");
        assert!(text.contains("; at best 1.50: both barely\n"), "{text}");
    }

    #[test]
    fn a_target_that_is_met_in_some_runs_only_is_told_so() {
        let text = report(&[12.0, 12.9, 13.5]).text();
        assert!(text.contains("met (met in 2 of 3 runs)"), "{text}");
        let noisy = report(&[10.0, 12.0, 16.0]).text();
        assert!(noisy.contains("noisy"), "{noisy}");
    }

    #[test]
    fn json_and_csv_hold_every_run() {
        let report = report(&[12.0, 13.0, 14.0]);
        let json = report.json();
        assert_eq!(json["rows"][0]["ratios"].as_array().unwrap().len(), 3);
        assert_eq!(json["rows"][0]["ratio"]["median"], 1.3);
        assert_eq!(json["rows"][0]["is_met"], true);
        assert_eq!(json["rows"][0]["target"]["at_most"], 1.3);
        assert_eq!(json["measured"].as_array().unwrap().len(), 4);
        assert_eq!(json["rows"][0]["best"]["ratio"], 1.1);
        let csv = String::from_utf8(report.csv().unwrap()).unwrap();
        assert_eq!(csv.lines().count(), 1 + 2 * 3);
        assert!(csv.contains("small,small call,1,12.000,10.000,us,1.2000,≤ 1.3,True\n"), "{csv}");
        assert!(csv.contains("memory,memory,3,0.500,,mib,0.5000,≤ 1,True\n"), "{csv}");
    }
}
