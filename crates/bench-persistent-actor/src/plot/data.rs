//! Reads CSV files of runs and relates their times to those of `safe_actor` without failure.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use csv::StringRecord;

use crate::measurement::median;

/// The columns that a file must have.
const NEEDED: [&str; 5] = ["system", "large", "delay_ms", "duration", "failure"];

/// Columns that should not vary within one comparison, if they are there.
const CONSTANT: [&str; 4] = ["durability", "num_actors", "num_rounds", "workload"];

/// A CSV file cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The system refused to read it.
    #[error("cannot read this file: {0}")]
    Read(#[source] io::Error),
    /// It is no CSV file.
    #[error("not a CSV file: {0}")]
    Csv(#[source] csv::Error),
    /// A column is missing.
    #[error("there is no column {name:?}; expected at least the columns {}", needed.join(","))]
    NoColumn {
        /// The missing one.
        name: &'static str,
        /// All that are needed.
        needed: &'static [&'static str],
    },
    /// A value cannot be used.
    #[error("line {line}: {column} is {value:?}; expected {expected}")]
    Value {
        /// The line, counted from 1.
        line: u64,
        /// The column.
        column: &'static str,
        /// What is there.
        value: String,
        /// What would be accepted.
        expected: &'static str,
    },
    /// There is nothing to relate the times to.
    #[error("there is no run of safe_actor without failure, to which all others are related")]
    NoBaseline,
}

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// `local`, `ray`, or whatever else is compared; `local` where the file does not say.
    pub engine: String,
    /// `default`, `safe_actor`, or whatever else is compared.
    pub system: String,
    /// Whether the state is large.
    pub large: bool,
    /// The delay of each call. Milliseconds.
    pub delay_ms: f64,
    /// The run time. Seconds.
    pub duration_s: f64,
    /// Whether actors were killed.
    pub failure: bool,
    /// Whether the state was right, where the file says so.
    pub verified: Option<bool>,
    /// The values of the columns that should not vary within a system.
    constants: Vec<String>,
}

/// All rows of a file.
///
/// # Errors
/// See [`DataError`].
pub fn read(path: &Path) -> Result<Vec<Run>, DataError> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(path).map_err(
        |error| match error.into_kind() {
            csv::ErrorKind::Io(error) => DataError::Read(error),
            kind => DataError::Read(io::Error::other(format!("{kind:?}"))),
        },
    )?;
    let header = reader.headers().map_err(DataError::Csv)?.clone();
    let columns = Columns::of(&header)?;
    reader.records().map(|record| columns.run(&record.map_err(DataError::Csv)?)).collect()
}

/// Where the columns are.
struct Columns {
    needed: [usize; NEEDED.len()],
    verified: Option<usize>,
    engine: Option<usize>,
    constant: Vec<Option<usize>>,
}

impl Columns {
    fn of(header: &StringRecord) -> Result<Self, DataError> {
        let find = |name: &str| header.iter().position(|column| column == name);
        let mut needed = [0; NEEDED.len()];
        for (index, name) in needed.iter_mut().zip(NEEDED) {
            *index = find(name).ok_or(DataError::NoColumn { name, needed: &NEEDED })?;
        }
        let constant = CONSTANT.map(find).to_vec();
        Ok(Self { needed, verified: find("verified"), engine: find("engine"), constant })
    }

    fn run(&self, record: &StringRecord) -> Result<Run, DataError> {
        let line = record.position().map_or(0, csv::Position::line);
        let value = |column: usize| record.get(self.needed[column]).unwrap_or_default();
        let wrong = |column: usize, expected| DataError::Value {
            line,
            column: NEEDED[column],
            value: value(column).to_owned(),
            expected,
        };
        let boolean = |column| parse_bool(value(column)).ok_or(wrong(column, "True or False"));
        let number = |column, expected, accepted: fn(f64) -> bool| {
            let number = value(column).parse().ok();
            number.filter(|&n| accepted(n)).ok_or_else(|| wrong(column, expected))
        };
        let engine = self.engine.and_then(|column| record.get(column));
        Ok(Run {
            engine: engine.filter(|engine| !engine.is_empty()).unwrap_or(LOCAL).to_owned(),
            system: value(0).to_owned(),
            large: boolean(1)?,
            delay_ms: number(2, "milliseconds, 0 or more", |n| n.is_finite() && n >= 0.0)?,
            duration_s: number(3, "seconds, more than 0", |n| n.is_finite() && n > 0.0)?,
            failure: boolean(4)?,
            verified: self.verified.and_then(|column| parse_bool(record.get(column)?)),
            constants: self.constants(record),
        })
    }

    fn constants(&self, record: &StringRecord) -> Vec<String> {
        let value = |column: Option<usize>| column.and_then(|column| record.get(column));
        self.constant.iter().map(|&column| value(column).unwrap_or_default().to_owned()).collect()
    }
}

fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "True" | "true" | "TRUE" | "1" => Some(true),
        "False" | "false" | "FALSE" | "0" => Some(false),
        _ => None,
    }
}

/// What is drawn as one line.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The engine.
    pub engine: String,
    /// The system.
    pub system: String,
    /// Whether actors were killed.
    pub failure: bool,
    /// Whether some run's state was wrong; `None` where no file says so.
    pub wrong: Option<bool>,
    /// By delay, ascending.
    pub points: Vec<Point>,
}

/// One point of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The delay of each call. Milliseconds.
    pub delay_ms: f64,
    /// The median run time. Seconds.
    pub duration_s: f64,
    /// The run time divided by that of the baseline.
    pub relative: f64,
}

/// The key of a group of runs: large, then (engine, system, failure).
type Group = (bool, (String, String, bool));

/// Runs related to the baseline: `safe_actor` without failure, same size, same delay; of the local
/// engine, if the file has such runs.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    series: BTreeMap<Group, Series>,
    /// What the reader should know of the data.
    pub notes: Vec<String>,
}

/// The system to which all times are related.
pub const BASELINE: &str = "safe_actor";

/// The engine to which all times are related, if it is there.
pub const LOCAL: &str = "local";

impl Comparison {
    /// Relates the median of each configuration's runs to the baseline.
    ///
    /// # Errors
    /// [`DataError::NoBaseline`]
    pub fn of(runs: &[Run]) -> Result<Self, DataError> {
        let engine = baseline_engine(runs);
        let baseline = |large, delay_ms| {
            median_of(runs, (large, (engine.to_owned(), BASELINE.to_owned(), false)), delay_ms)
        };
        let mut comparison = Self::default();
        for run in runs {
            let Some(base) = baseline(run.large, run.delay_ms) else {
                comparison.note(format!("delay {} ms has no baseline; left out", run.delay_ms));
                continue;
            };
            comparison.add(runs, run, base);
        }
        if comparison.series.is_empty() {
            return Err(DataError::NoBaseline);
        }
        if runs.iter().any(|run| run.delay_ms == 0.0) {
            comparison.note("runs without delay have no place on a log axis; see the table".into());
        }
        comparison.note_variations(runs);
        Ok(comparison)
    }

    fn add(&mut self, runs: &[Run], run: &Run, base: f64) {
        let series = self.series.entry(run.group()).or_insert_with(|| Series {
            engine: run.engine.clone(),
            system: run.system.clone(),
            failure: run.failure,
            wrong: None,
            points: Vec::new(),
        });
        if let Some(verified) = run.verified {
            series.wrong = Some(series.wrong.unwrap_or_default() || !verified);
        }
        if series.points.iter().any(|point| point.delay_ms == run.delay_ms) {
            return;
        }
        let median = median_of(runs, run.group(), run.delay_ms);
        let duration_s = median.unwrap_or(run.duration_s);
        let relative = duration_s / base;
        series.points.push(Point { delay_ms: run.delay_ms, duration_s, relative });
        series.points.sort_by(|a, b| a.delay_ms.total_cmp(&b.delay_ms));
    }

    fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    fn note_variations(&mut self, runs: &[Run]) {
        for (index, name) in CONSTANT.iter().enumerate() {
            let varies = runs.iter().any(|run| {
                let same =
                    |other: &&Run| (&other.engine, &other.system) == (&run.engine, &run.system);
                runs.iter().filter(same).any(|other| other.constants[index] != run.constants[index])
            });
            if varies {
                self.note(format!("{name} varies; runs are compared regardless of it"));
            }
        }
    }

    /// The series of one size: each engine's systems without and with failure.
    pub fn series(&self, large: bool) -> Vec<Series> {
        let of_size = self.series.iter().filter(|((is_large, _), _)| *is_large == large);
        of_size.map(|(_, series)| series.clone()).collect()
    }
}

impl Run {
    fn group(&self) -> Group {
        (self.large, (self.engine.clone(), self.system.clone(), self.failure))
    }
}

/// The local engine if it has a baseline, else the first that has.
fn baseline_engine(runs: &[Run]) -> &str {
    let mut engines: Vec<&str> = runs
        .iter()
        .filter(|run| run.system == BASELINE && !run.failure)
        .map(|run| &*run.engine)
        .collect();
    engines.sort_by_key(|engine| *engine != LOCAL);
    engines.first().copied().unwrap_or(LOCAL)
}

fn median_of(runs: &[Run], group: Group, delay_ms: f64) -> Option<f64> {
    let group = runs.iter().filter(|run| run.delay_ms == delay_ms && run.group() == group);
    median(group.map(|run| run.duration_s).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(content: &str) -> Result<Vec<Run>, DataError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        read(file.path())
    }

    const PROTOTYPE: &str = "system,large,delay_ms,duration,failure
default,False,10,4.8,False
default,False,10,6.2,True
safe_actor,False,10,5.0,False
safe_actor,False,10,5.2,False
safe_actor,False,10,7.9,True
default,True,10,11.9,False
";

    #[test]
    fn a_file_of_the_prototype_is_read_and_related_to_the_baseline() {
        let comparison = Comparison::of(&runs(PROTOTYPE).unwrap()).unwrap();
        let series = comparison.series(false);
        let of = |system: &str, failure: bool| {
            series.iter().find(|s| s.system == system && s.failure == failure).unwrap().points[0]
        };
        assert_eq!(of("safe_actor", false).duration_s, 5.1, "the median of two runs");
        assert_eq!(of("safe_actor", false).relative, 1.0);
        assert!((of("default", true).relative - 6.2 / 5.1).abs() < 1e-12);
        assert!(comparison.series(true).is_empty(), "large has no baseline");
        assert!(comparison.notes.iter().any(|note| note.contains("no baseline")));
    }

    #[test]
    fn the_order_of_columns_does_not_matter_and_more_are_welcome() {
        let content = "failure,duration,verified,delay_ms,large,system\n\
                       True,2.5,False,50,False,default\nFalse,2.0,True,50,False,safe_actor\n";
        let comparison = Comparison::of(&runs(content).unwrap()).unwrap();
        let wrong: Vec<_> = comparison.series(false).iter().map(|s| s.wrong).collect();
        assert_eq!(wrong, [Some(true), Some(false)]);
    }

    #[test]
    fn runs_on_ray_are_related_to_the_local_engine_if_it_is_there() {
        let header = "system,large,delay_ms,duration,failure,engine\n";
        let ray = "safe_actor,False,10,6.0,False,ray\nprototype,False,10,9.0,False,ray\n";
        let both = format!("{header}{ray}safe_actor,False,10,3.0,False,local\n");
        let relative = |content: &str| {
            let series = Comparison::of(&runs(content).unwrap()).unwrap().series(false);
            series.iter().map(|s| (s.engine.clone(), s.points[0].relative)).collect::<Vec<_>>()
        };
        let of = |engine: &str, relative| (engine.to_owned(), relative);
        assert_eq!(relative(&both), [of("local", 1.0), of("ray", 3.0), of("ray", 2.0)]);
        assert_eq!(relative(&format!("{header}{ray}")), [of("ray", 1.5), of("ray", 1.0)]);
    }

    #[test]
    fn what_cannot_be_read_is_named_by_line_and_column() {
        let content = "system,large,delay_ms,duration,failure\ndefault,False,10,-1,False\n";
        let error = runs(content).unwrap_err().to_string();
        assert_eq!(error, "line 2: duration is \"-1\"; expected seconds, more than 0");
        let error = runs("system,large\n").unwrap_err().to_string();
        assert!(error.contains("no column \"delay_ms\""), "{error}");
        let only_default = "system,large,delay_ms,duration,failure\ndefault,False,1,1,False\n";
        let error = Comparison::of(&runs(only_default).unwrap()).unwrap_err();
        assert!(matches!(error, DataError::NoBaseline));
    }
}
