//! `--output`: one row per run, appended.
//!
//! A new file gets the header [`COLUMNS`]. A file with the first five of them alone, as the
//! prototype wrote it, goes on with five, and one with the columns of an earlier version with
//! those. Any other header is refused and the file left as it is, and so is one that could not
//! tell a run on Ray from others. Rows are appended under an exclusive lock (`flock`) with a single write, so several runs
//! may share a file.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::cli::EngineName;
use crate::measurement::Measurement;

/// The columns of a new file: the prototype's five, then ours.
///
/// Booleans are `True` and `False`; what does not apply to a run or was not measured is empty.
/// Units are in the names (`_s`, `_ms`, `_us`); `duration` is in seconds.
pub const COLUMNS: [&str; 26] = [
    "system",
    "large",
    "delay_ms",
    "duration",
    "failure",
    "durability",
    "num_actors",
    "num_rounds",
    "kills",
    "recovery_ms_median",
    "lost",
    "doubled",
    "verified",
    "version",
    "floor_s",
    "calls",
    "call_us_median",
    "call_us_p99",
    "restarts",
    "seed",
    "workload",
    "in_flight",
    "throughput_per_s",
    "call_us_p999",
    "engine",
    "actor_pss_bytes_median",
];

/// How many columns files had before there was more than one engine.
const LOCAL_COLUMNS: usize = 24;

/// How many columns files had before there was more than one workload.
const CHAIN_COLUMNS: usize = 20;

/// How many columns the prototype's files have.
pub const PROTOTYPE_COLUMNS: usize = 5;

/// How much of a file is read to find its header. Bytes.
const MAX_HEADER_BYTES: u64 = 4096;

/// A CSV file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CsvError {
    /// The system refused to open, read or write it.
    #[error("cannot {0} this file: {1}; expected a CSV file in an existing, writable directory")]
    Io(&'static str, #[source] io::Error),
    /// Its rows do not say what ran the actors.
    #[error(
        "the file has no column \"engine\", so a run on Ray could not be told from a local one; \
         expected a new file or one with that column"
    )]
    NoEngineColumn,
    /// It is something else.
    #[error(
        "the file begins with {found:?}, which is not ours to append to; expected a new or empty \
         file, or the header {:?}, alone or with the columns this version writes",
        COLUMNS[..PROTOTYPE_COLUMNS].join(",")
    )]
    ForeignHeader {
        /// The first line, shortened.
        found: String,
    },
}

/// A CSV file that was found writable and ours.
#[derive(Debug)]
pub struct CsvFile {
    file: File,
}

impl CsvFile {
    /// Opens or makes the file; a new or empty one gets its header.
    ///
    /// # Errors
    /// See [`CsvError`]; the file is unharmed.
    pub fn open(path: &Path) -> Result<Self, CsvError> {
        Self::open_for(path, EngineName::Local)
    }

    /// The same for runs of this engine.
    ///
    /// # Errors
    /// See [`CsvError`]; the file is unharmed.
    pub fn open_for(path: &Path, engine: EngineName) -> Result<Self, CsvError> {
        let file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(path)
            .map_err(|error| CsvError::Io("open", error))?;
        let csv = Self { file };
        csv.locked(|file| match num_columns(file)? {
            None => write(file, &record(&COLUMNS)?),
            Some(columns) => check_engine(columns, engine),
        })?;
        Ok(csv)
    }

    /// Appends the row of a run.
    ///
    /// # Errors
    /// See [`CsvError`]; the file changed meanwhile, or the system refused.
    pub fn append(&self, measurement: &Measurement) -> Result<(), CsvError> {
        let row = row(measurement);
        self.locked(|file| {
            let mut text = Vec::new();
            let columns = match num_columns(file)? {
                Some(columns) => {
                    check_engine(columns, measurement.engine)?;
                    columns
                }
                None => {
                    text.extend(record(&COLUMNS)?);
                    COLUMNS.len()
                }
            };
            if !ends_with_newline(file)? {
                text.push(b'\n');
            }
            text.extend(record(&row[..columns])?);
            write(file, &text)
        })
    }

    fn locked<T>(&self, work: impl FnOnce(&File) -> Result<T, CsvError>) -> Result<T, CsvError> {
        let lock = |operation| {
            flock(&self.file, operation).map_err(|error| CsvError::Io("lock", error.into()))
        };
        lock(FlockOperation::LockExclusive)?;
        let done = work(&self.file);
        lock(FlockOperation::Unlock)?;
        done
    }
}

/// The column `engine` must be there unless the engine is the one that used to be the only one.
fn check_engine(columns: usize, engine: EngineName) -> Result<(), CsvError> {
    match engine {
        EngineName::Ray if columns <= LOCAL_COLUMNS => Err(CsvError::NoEngineColumn),
        _ => Ok(()),
    }
}

/// How many columns the file has; `None` when it is empty.
fn num_columns(file: &File) -> Result<Option<usize>, CsvError> {
    let read_error = |error| CsvError::Io("read", error);
    let mut text = Vec::new();
    let mut reader = file;
    reader.seek(SeekFrom::Start(0)).map_err(read_error)?;
    reader.take(MAX_HEADER_BYTES).read_to_end(&mut text).map_err(read_error)?;
    if text.is_empty() {
        return Ok(None);
    }
    let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let line = line.trim_end_matches('\r');
    let known = [COLUMNS.len(), LOCAL_COLUMNS, CHAIN_COLUMNS, PROTOTYPE_COLUMNS];
    match known.into_iter().find(|&n| line == COLUMNS[..n].join(",")) {
        Some(columns) => Ok(Some(columns)),
        None => Err(CsvError::ForeignHeader { found: line.chars().take(80).collect() }),
    }
}

fn ends_with_newline(mut file: &File) -> Result<bool, CsvError> {
    let read_error = |error| CsvError::Io("read", error);
    let mut last = [0];
    if file.seek(SeekFrom::End(0)).map_err(read_error)? == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1)).map_err(read_error)?;
    file.read_exact(&mut last).map_err(read_error)?;
    Ok(last == *b"\n")
}

fn record<T: AsRef<[u8]>>(fields: &[T]) -> Result<Vec<u8>, CsvError> {
    let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
    writer.write_record(fields).map_err(|error| CsvError::Io("write", error.into()))?;
    writer.into_inner().map_err(|error| CsvError::Io("write", error.into_error()))
}

/// Appends with a single write, so that a reader never sees a part of it.
fn write(mut file: &File, text: &[u8]) -> Result<(), CsvError> {
    let written = file.write(text).map_err(|error| CsvError::Io("write", error))?;
    if written < text.len() {
        file.write_all(&text[written..]).map_err(|error| CsvError::Io("write", error))?;
    }
    Ok(())
}

/// The values of [`COLUMNS`].
fn row(m: &Measurement) -> [String; COLUMNS.len()] {
    [
        m.system.name().to_owned(),
        boolean(m.large),
        m.delay_ms.to_string(),
        format!("{:.6}", m.duration_s),
        boolean(m.failure),
        m.durability.to_string(),
        m.num_actors.to_string(),
        m.num_rounds.to_string(),
        m.kills.len().to_string(),
        optional(m.recovery_ms_median, 3),
        m.updates.lost.to_string(),
        m.updates.doubled.to_string(),
        boolean(m.verified),
        m.version.to_owned(),
        format!("{:.3}", m.floor_s),
        m.calls.to_string(),
        optional(m.call_us.map(|call| call.median), 1),
        optional(m.call_us.map(|call| call.p99), 1),
        m.restarts.to_string(),
        m.seed.to_string(),
        m.workload.name().to_owned(),
        m.in_flight.map_or_else(String::new, |calls| calls.to_string()),
        optional(m.throughput_per_s, 1),
        optional(m.call_us.map(|call| call.p999), 1),
        m.engine.name().to_owned(),
        m.actor_pss_bytes_median.map_or_else(String::new, |bytes| bytes.to_string()),
    ]
}

fn boolean(value: bool) -> String {
    if value { "True".to_owned() } else { "False".to_owned() }
}

fn optional(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(String::new, |value| format!("{value:.decimals$}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measurement;

    fn header(columns: usize) -> String {
        COLUMNS[..columns].join(",")
    }

    fn read(path: &Path) -> Vec<String> {
        std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_new_file_gets_the_header_and_a_row_with_every_column() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new.csv");
        let csv = CsvFile::open(&path).unwrap();
        csv.append(&measurement::example()).unwrap();
        let lines = read(&path);
        assert_eq!(lines[0], header(COLUMNS.len()));
        assert!(lines[1].starts_with("safe_actor,False,10,3.812000,True,power,20,20,3,"));
        assert_eq!(lines[1].split(',').count(), COLUMNS.len());
    }

    #[test]
    fn a_file_of_the_prototype_keeps_its_five_columns() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("prototype.csv");
        let content = format!("{}\r\ndefault,False,10,4.8,False", header(PROTOTYPE_COLUMNS));
        std::fs::write(&path, &content).unwrap();
        CsvFile::open(&path).unwrap().append(&measurement::example()).unwrap();
        assert_eq!(
            read(&path)[1..],
            ["default,False,10,4.8,False", "safe_actor,False,10,3.812000,True"]
        );
    }

    #[test]
    fn a_file_with_the_columns_of_an_earlier_version_keeps_them() {
        let dir = tempfile::tempdir().unwrap();
        for columns in [CHAIN_COLUMNS, LOCAL_COLUMNS] {
            let path = dir.path().join(format!("{columns}.csv"));
            std::fs::write(&path, format!("{}\n", header(columns))).unwrap();
            CsvFile::open(&path).unwrap().append(&measurement::example()).unwrap();
            assert_eq!(read(&path)[1].split(',').count(), columns);
        }
    }

    #[test]
    fn a_run_on_ray_goes_only_where_its_engine_can_be_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("old.csv");
        let content = format!("{}\n", header(LOCAL_COLUMNS));
        std::fs::write(&path, &content).unwrap();
        let error = CsvFile::open_for(&path, EngineName::Ray).unwrap_err();
        assert!(matches!(error, CsvError::NoEngineColumn), "{error}");
        let mut measurement = measurement::example();
        measurement.engine = EngineName::Ray;
        assert!(CsvFile::open(&path).unwrap().append(&measurement).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
        let new = dir.path().join("new.csv");
        CsvFile::open_for(&new, EngineName::Ray).unwrap().append(&measurement).unwrap();
        assert!(read(&new)[1].contains(",ray,"));
    }

    #[test]
    fn a_file_of_somebody_else_is_refused_and_unharmed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("foreign.csv");
        for content in ["a,b,c\n1,2,3\n", "\n", "system,large\n", "\u{1}\u{2}"] {
            std::fs::write(&path, content).unwrap();
            let error = CsvFile::open(&path).unwrap_err();
            assert!(matches!(error, CsvError::ForeignHeader { .. }), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
        }
    }

    #[test]
    fn what_was_not_measured_is_empty() {
        let mut measurement = measurement::example();
        measurement.recovery_ms_median = None;
        measurement.call_us = None;
        let row = row(&measurement);
        for column in ["recovery_ms_median", "call_us_median", "call_us_p99"] {
            let index = COLUMNS.iter().position(|name| *name == column).unwrap();
            assert_eq!(row[index], "", "{column}");
        }
    }

    #[test]
    fn rows_of_many_writers_stay_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shared.csv");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..25 {
                        CsvFile::open(&path).unwrap().append(&measurement::example()).unwrap();
                    }
                });
            }
        });
        let lines = read(&path);
        assert_eq!(lines.len(), 1 + 200);
        assert_eq!(lines.iter().filter(|line| line.starts_with("system,")).count(), 1);
        assert!(lines.iter().all(|line| line.split(',').count() == COLUMNS.len()));
    }
}
