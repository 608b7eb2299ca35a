//! The relative run times as text.

use std::fmt::Write;

use crate::plot::data::{BASELINE, Comparison, LOCAL, Series};

/// One table for each size: a row per delay, a column per system with and without failure.
pub fn render(comparison: &Comparison) -> String {
    let mut text = String::new();
    for (large, size) in [(false, "Small"), (true, "Large")] {
        let series = comparison.series(large);
        if series.is_empty() {
            continue;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        let _ = writeln!(text, "{size} state: run time relative to {BASELINE} without failure");
        for row in rows(&series) {
            text.push_str(&row);
        }
    }
    text
}

/// The name of a series in tables and legends.
pub fn name(series: &Series) -> String {
    let failure = if series.failure { ", failure" } else { "" };
    let wrong = if series.wrong == Some(true) { " (wrong state)" } else { "" };
    format!("{}{}{failure}{wrong}", series.system, on(&series.engine))
}

/// What follows a system's name to tell its engine; nothing for the local one.
pub fn on(engine: &str) -> String {
    match engine {
        LOCAL => String::new(),
        "ray" => " on Ray".to_owned(),
        other => format!(" on {other}"),
    }
}

fn rows(series: &[Series]) -> Vec<String> {
    let mut delays: Vec<f64> =
        series.iter().flat_map(|series| series.points.iter().map(|point| point.delay_ms)).collect();
    delays.sort_by(f64::total_cmp);
    delays.dedup();
    let mut lines = vec![{
        let mut head = vec!["delay ms".to_owned(), format!("{BASELINE} s")];
        head.extend(series.iter().map(name));
        head
    }];
    lines.extend(delays.into_iter().map(|delay_ms| line(series, delay_ms)));
    align(&lines)
}

fn line(series: &[Series], delay_ms: f64) -> Vec<String> {
    let at = |series: &Series| series.points.iter().find(|p| p.delay_ms == delay_ms).copied();
    let baselines = series.iter().filter(|series| series.system == BASELINE && !series.failure);
    // The local engine comes first if it is there.
    let baseline = baselines.min_by_key(|series| series.engine != LOCAL);
    let base = baseline.and_then(at).map_or_else(String::new, |p| format!("{:.3}", p.duration_s));
    let mut line = vec![delay_ms.to_string(), base];
    line.extend(series.iter().map(|series| {
        // A missing run is a dash, never a number.
        at(series).map_or_else(|| "-".to_owned(), |point| format!("{:.3}", point.relative))
    }));
    line
}

fn align(lines: &[Vec<String>]) -> Vec<String> {
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    let cells = |line: &Vec<String>| {
        let cells: Vec<String> =
            line.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
        cells.join("  ") + "\n"
    };
    lines.iter().map(cells).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::data;

    #[test]
    fn a_missing_run_is_a_dash() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let content = "system,large,delay_ms,duration,failure
default,False,10,4.8,False
safe_actor,False,10,5.0,False
safe_actor,False,100,40,False
";
        std::fs::write(file.path(), content).unwrap();
        let comparison = Comparison::of(&data::read(file.path()).unwrap()).unwrap();
        let expected = "\
Small state: run time relative to safe_actor without failure
delay ms  safe_actor s  default  safe_actor
      10         5.000    0.960       1.000
     100        40.000        -       1.000
";
        assert_eq!(render(&comparison), expected);
    }
}
