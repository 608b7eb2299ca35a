//! The figures of `scaling`, from its CSV files.

use std::path::Path;

use crate::plot::data::DataError;
use crate::plot::lines::{Line, Lines, Look, draw};

/// The columns of `scaling-size.csv`: the size of the state, what was done, and the time of a
/// commit at level `power` (median; lowest and highest median of a round).
pub const SIZE_COLUMNS: [&str; 5] = ["size_bytes", "series", "median_us", "low_us", "high_us"];

/// The columns of `scaling-actors.csv`: how many actors were called at once, the level, calls per
/// second of all together, and the time of a call.
pub const ACTORS_COLUMNS: [&str; 5] = ["actors", "level", "per_s", "median_us", "p99_us"];

/// The series of `scaling-size.csv` that are drawn, with their names.
const SIZE_SERIES: [(&str, &str, Look); 5] = [
    ("whole", "all of it changed", Look::Own),
    ("found", "4 KiB changed, found by comparison", Look::Own),
    ("told", "4 KiB changed, told by the actor", Look::Own),
    ("floor_write", "floor: pwrite + fdatasync of all of it", Look::Floor),
    ("floor_read", "floor: reading all of it once", Look::Floor),
];

/// Less is not drawn: next to a commit it is nothing. Microseconds.
const LEAST_US: f64 = 5.0;

const LEVELS: [(&str, &str); 3] =
    [("none", "no safe state"), ("process", "process"), ("power", "power")];

/// One row: x, the name of its series, and its values.
type Row = (f64, String, [f64; 3]);

/// A figure as SVG, and what the name of its file ends in.
pub type Figure = (&'static str, String);

/// The figures of a CSV file of `scaling`, each with what its name ends in; `None` for any other
/// file.
pub fn charts(path: &Path, machine: &str) -> Option<Result<Vec<Figure>, DataError>> {
    let mut reader = csv::ReaderBuilder::new().from_path(path).ok()?;
    let header: Vec<String> = reader.headers().ok()?.iter().map(str::to_owned).collect();
    let drawn: fn(&[Row], &str) -> Vec<Figure> = match &header[..] {
        header if header == SIZE_COLUMNS => size,
        header if header == ACTORS_COLUMNS => actors,
        _ => return None,
    };
    let rows: Result<Vec<Row>, DataError> =
        reader.records().map(|record| row(&record.map_err(DataError::Csv)?)).collect();
    Some(rows.map(|rows| drawn(&rows, machine)))
}

fn row(record: &csv::StringRecord) -> Result<Row, DataError> {
    let number = |column: usize| {
        let text = record.get(column).unwrap_or_default();
        let value = text.trim().parse().ok().filter(|n: &f64| n.is_finite() && *n > 0.0);
        value.ok_or_else(|| DataError::Value {
            line: record.position().map_or(0, csv::Position::line),
            column: "a figure",
            value: text.to_owned(),
            expected: "a number above 0",
        })
    };
    let series = record.get(1).unwrap_or_default().to_owned();
    Ok((number(0)?, series, [number(2)?, number(3)?, number(4)?]))
}

fn points(rows: &[Row], series: &str, value: usize) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = rows
        .iter()
        .filter(|(_, name, _)| name == series)
        .map(|(x, _, values)| (*x, values[value]))
        .collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points
}

fn with_machine(text: &str, machine: &str) -> String {
    if machine.is_empty() { text.to_owned() } else { format!("{text} · {machine}") }
}

fn size(rows: &[Row], machine: &str) -> Vec<Figure> {
    let lines = SIZE_SERIES.iter().map(|&(key, name, look)| {
        let mut points = points(rows, key, 0);
        points.retain(|point| point.1 >= LEAST_US);
        Line { name: name.to_owned(), look, points }
    });
    let figure = Lines {
        title: "What a commit costs, by the size of the state",
        subtitle: with_machine("One call that survives a power loss, median", machine),
        x: ("Size of the state", bytes),
        y: ("Time of a call", time),
        x_ticks: (0..6).map(|n| 1024.0 * 16f64.powi(n)).collect(),
        lines: lines.filter(|line| !line.points.is_empty()).collect(),
    };
    vec![("", draw(&figure))]
}

fn actors(rows: &[Row], machine: &str) -> Vec<Figure> {
    let lines = |value: usize, suffix: &str, look: fn(usize) -> Look| -> Vec<Line> {
        let measured = LEVELS.iter().filter(|(level, _)| !points(rows, level, value).is_empty());
        let line = |(place, &(level, name)): (usize, &(&str, &str))| Line {
            name: format!("{name}{suffix}"),
            look: look(place),
            points: points(rows, level, value),
        };
        measured.enumerate().map(line).collect()
    };
    let x_ticks: Vec<f64> = vec![1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0];
    let x: (&str, fn(f64) -> String) = ("Number of actors", |x| format!("{x}"));
    let throughput = Lines {
        title: "Calls per second, by the number of actors",
        subtitle: with_machine(
            "Small actors called all at once, each with one call at a time",
            machine,
        ),
        x,
        y: ("Calls per second", rate),
        x_ticks: x_ticks.clone(),
        lines: lines(0, "", |_| Look::Own),
    };
    let latency = Lines {
        title: "The time of a call, by the number of actors",
        subtitle: with_machine(
            "Small actors called all at once, each with one call at a time",
            machine,
        ),
        x,
        y: ("Time of a call", time),
        x_ticks,
        lines: [lines(1, ", median", |_| Look::Own), lines(2, ", 99 %", Look::Like)].concat(),
    };
    vec![("-throughput", draw(&throughput)), ("-latency", draw(&latency))]
}

fn bytes(value: f64) -> String {
    let (value, unit) = match value {
        v if v >= f64::from(1 << 30) => (v / f64::from(1 << 30), "GiB"),
        v if v >= f64::from(1 << 20) => (v / f64::from(1 << 20), "MiB"),
        v => (v / 1024.0, "KiB"),
    };
    format!("{value} {unit}")
}

fn time(us: f64) -> String {
    match us {
        us if us >= 1e6 => format!("{} s", us / 1e6),
        us if us >= 1e3 => format!("{} ms", us / 1e3),
        us => format!("{us} µs"),
    }
}

fn rate(per_s: f64) -> String {
    if per_s >= 1e6 {
        format!("{} M", per_s / 1e6)
    } else if per_s >= 1e3 {
        format!("{} k", per_s / 1e3)
    } else {
        format!("{per_s}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(content: &str) -> Option<Result<Vec<Figure>, DataError>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file.csv");
        std::fs::write(&path, content).unwrap();
        charts(&path, "a machine")
    }

    #[test]
    fn each_file_of_scaling_has_its_figures_and_others_have_none() {
        let size = format!(
            "{}\n1024,whole,100.5,90,110\n4096,whole,120,100,130\n1024,floor_read,9,9,9\n",
            SIZE_COLUMNS.join(",")
        );
        let figures = drawn(&size).unwrap().unwrap();
        assert_eq!(figures.len(), 1);
        for text in ["all of it changed", "floor: reading", "a machine", "1 KiB", "100 µs"] {
            assert!(figures[0].1.contains(text), "{text}");
        }
        assert!(!figures[0].1.contains("found by comparison"), "was not measured");
        let actors =
            format!("{}\n1,none,9e4,10,20\n10,none,1e5,90,200\n", ACTORS_COLUMNS.join(","));
        let names: Vec<&str> = drawn(&actors).unwrap().unwrap().iter().map(|f| f.0).collect();
        assert_eq!(names, ["-throughput", "-latency"]);
        assert!(drawn("system,large,delay_ms,duration,failure\n").is_none());
    }

    #[test]
    fn what_is_no_number_is_an_error_with_its_line() {
        let bad = format!("{}\n1024,whole,fast,1,1\n", SIZE_COLUMNS.join(","));
        let error = drawn(&bad).unwrap().unwrap_err().to_string();
        assert_eq!(error, "line 2: a figure is \"fast\"; expected a number above 0");
    }

    #[test]
    fn ticks_are_written_in_the_units_that_people_use() {
        assert_eq!(bytes(1024.0 * 1024.0), "1 MiB");
        assert_eq!(
            (time(10.0), time(1e4), time(1e6)),
            ("10 µs".into(), "10 ms".into(), "1 s".into())
        );
        assert_eq!((rate(1e5), rate(100.0)), ("100 k".into(), "100".into()));
    }
}
