//! Engines and systems side by side: what a call costs, what a crash costs, what it does.
//!
//! Works on the CSV files of this program. Times per call come from runs without delay and without
//! kills, recovery from runs with kills, memory from runs without kills and with small states,
//! lost and doubled updates from all. Of several runs the median counts.

use std::collections::BTreeMap;
use std::path::Path;

use csv::StringRecord;

use crate::measurement::median;
use crate::plot::data::DataError;

/// The columns that a file must have.
const NEEDED: [&str; 12] = [
    "engine",
    "system",
    "durability",
    "large",
    "delay_ms",
    "failure",
    "kills",
    "lost",
    "doubled",
    "call_us_median",
    "recovery_ms_median",
    "actor_pss_bytes_median",
];

/// What the runs of one system say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct System {
    small_call_us: Vec<f64>,
    large_call_us: Vec<f64>,
    recovery_ms: Vec<f64>,
    pss_bytes: Vec<f64>,
    kills: u64,
    lost: u64,
    doubled: u64,
}

/// The systems by engine (the local one first), guarantee and name.
pub type Systems = BTreeMap<(String, u8, String, String), System>;

/// Reads a file.
///
/// # Errors
/// See [`DataError`].
pub fn read(path: &Path) -> Result<Systems, DataError> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(path).map_err(
        |error| match error.into_kind() {
            csv::ErrorKind::Io(error) => DataError::Read(error),
            kind => DataError::Read(std::io::Error::other(format!("{kind:?}"))),
        },
    )?;
    let header = reader.headers().map_err(DataError::Csv)?.clone();
    let mut columns = [0; NEEDED.len()];
    for (index, name) in columns.iter_mut().zip(NEEDED) {
        let found = header.iter().position(|column| column == name);
        *index = found.ok_or(DataError::NoColumn { name, needed: &NEEDED })?;
    }
    let mut systems = Systems::new();
    for record in reader.records() {
        add(&mut systems, &Row { record: &record.map_err(DataError::Csv)?, columns: &columns })?;
    }
    Ok(systems)
}

/// One run.
struct Row<'a> {
    record: &'a StringRecord,
    columns: &'a [usize; NEEDED.len()],
}

impl Row<'_> {
    fn text(&self, name: &'static str) -> &str {
        let index = NEEDED.iter().position(|needed| *needed == name).unwrap_or_default();
        self.record.get(self.columns[index]).unwrap_or_default()
    }

    fn wrong(&self, column: &'static str, expected: &'static str) -> DataError {
        let line = self.record.position().map_or(0, csv::Position::line);
        DataError::Value { line, column, value: self.text(column).to_owned(), expected }
    }

    fn boolean(&self, name: &'static str) -> Result<bool, DataError> {
        match self.text(name) {
            "True" => Ok(true),
            "False" => Ok(false),
            _ => Err(self.wrong(name, "True or False")),
        }
    }

    fn count(&self, name: &'static str) -> Result<u64, DataError> {
        self.text(name).parse().map_err(|_| self.wrong(name, "a whole number"))
    }

    /// A figure; `None` where it was not measured.
    fn figure(&self, name: &'static str) -> Result<Option<f64>, DataError> {
        if self.text(name).is_empty() {
            return Ok(None);
        }
        let number = self.text(name).parse().ok().filter(|number: &f64| number.is_finite());
        number.map(Some).ok_or_else(|| self.wrong(name, "a number, or nothing"))
    }
}

fn add(systems: &mut Systems, row: &Row<'_>) -> Result<(), DataError> {
    let durability = row.text("durability").to_owned();
    let rank = match (&*durability, row.text("system")) {
        ("none", _) => 0,
        (_, "prototype") => 1,
        ("process", _) => 2,
        _ => 3,
    };
    let key = (row.text("engine").to_owned(), rank, row.text("system").to_owned(), durability);
    let system = systems.entry(key).or_default();
    system.lost += row.count("lost")?;
    system.doubled += row.count("doubled")?;
    system.kills += row.count("kills")?;
    let (large, failure) = (row.boolean("large")?, row.boolean("failure")?);
    if failure {
        // A large actor has more to load: another figure.
        system.recovery_ms.extend(row.figure("recovery_ms_median")?.filter(|_| !large));
        return Ok(());
    }
    if row.figure("delay_ms")? == Some(0.0) {
        let calls = if large { &mut system.large_call_us } else { &mut system.small_call_us };
        calls.extend(row.figure("call_us_median")?);
    }
    system.pss_bytes.extend(row.figure("actor_pss_bytes_median")?.filter(|_| !large));
    Ok(())
}

/// The table, aligned, in Markdown.
pub fn render(systems: &Systems) -> String {
    let head = [
        "engine",
        "system",
        "survives",
        "small call, µs",
        "10 MiB call, ms",
        "kill to next reply, ms",
        "an actor's memory, MiB",
        "kills",
        "lost",
        "doubled",
    ];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    for ((engine, _, name, durability), system) in systems {
        let survives = match &**durability {
            "none" => "nothing",
            "process" => "process death",
            "power" => "power loss",
            other => other,
        };
        let figure = |values: &[f64], unit: f64, decimals: usize| {
            let median = median(values.to_vec());
            median.map_or_else(|| "-".to_owned(), |value| format!("{:.decimals$}", value / unit))
        };
        lines.push(vec![
            engine.clone(),
            name.clone(),
            survives.to_owned(),
            figure(&system.small_call_us, 1.0, 1),
            figure(&system.large_call_us, 1000.0, 2),
            figure(&system.recovery_ms, 1.0, 1),
            figure(&system.pss_bytes, f64::from(1 << 20), 1),
            system.kills.to_string(),
            system.lost.to_string(),
            system.doubled.to_string(),
        ]);
    }
    markdown(&lines)
}

fn markdown(lines: &[Vec<String>]) -> String {
    let mut rows = Vec::new();
    let width = |column: usize| {
        lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    for (number, line) in lines.iter().enumerate() {
        let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            // Names to the left, figures to the right.
            if column < 3 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        rows.push(format!("| {} |\n", cells.collect::<Vec<_>>().join(" | ")));
        if number == 0 {
            let rules = widths.iter().enumerate().map(|(column, &width)| match column {
                0..3 => "-".repeat(width),
                _ => format!("{}:", "-".repeat(width - 1)),
            });
            rows.push(format!("| {} |\n", rules.collect::<Vec<_>>().join(" | ")));
        }
    }
    rows.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "system,large,delay_ms,failure,durability,kills,recovery_ms_median,lost,\
                          doubled,call_us_median,engine,actor_pss_bytes_median\n";

    fn rendered(rows: &str) -> Result<String, DataError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{HEADER}{rows}")).unwrap();
        read(file.path()).map(|systems| render(&systems))
    }

    #[test]
    fn each_figure_comes_from_the_runs_that_measure_it() {
        let table = rendered(
            "prototype,False,0,False,process,0,,0,0,1900,ray,62914560\n\
             prototype,False,0,True,process,3,700.5,0,2,5000,ray,99999999\n\
             prototype,True,0,False,process,0,,0,0,78000,ray,99999999\n\
             safe_actor,False,0,False,power,0,,0,0,150,local,524288\n\
             safe_actor,False,0,False,power,0,,0,0,170,local,524288\n\
             safe_actor,False,10,False,power,0,,0,0,10200,local,524288\n",
        );
        let expected = "\
| engine | system     | survives      | small call, µs | 10 MiB call, ms | kill to next reply, ms | an actor's memory, MiB | kills | lost | doubled |
| ------ | ---------- | ------------- | -------------: | --------------: | ---------------------: | ---------------------: | ----: | ---: | ------: |
| local  | safe_actor | power loss    |          160.0 |               - |                      - |                    0.5 |     0 |    0 |       0 |
| ray    | prototype  | process death |         1900.0 |           78.00 |                  700.5 |                   60.0 |     3 |    0 |       2 |
";
        assert_eq!(table.unwrap(), expected);
    }

    #[test]
    fn what_cannot_be_read_is_named_by_line_and_column() {
        let error = rendered("default,False,0,False,none,0,,x,0,9,local,\n").unwrap_err();
        assert_eq!(error.to_string(), "line 2: lost is \"x\"; expected a whole number");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "system,large\n").unwrap();
        assert!(read(file.path()).unwrap_err().to_string().contains("no column \"engine\""));
    }
}
