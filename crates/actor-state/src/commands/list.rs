//! `list`: the actors under a state root.

use std::fs;
use std::path::{Path, PathBuf};

use persistent_actor::OpenError;
use persistent_actor::store::last_holder;
use serde::Serialize;

use crate::cli::ListArgs;
use crate::error::{Error, FOUND};
use crate::holder::Holder;
use crate::locate::{refuse_redis, unescape};
use crate::output::{BAD, Cell, FAINT, GOOD, Output, show_name};
use crate::reading::Reading;
use crate::units::show_bytes;

/// What is to be said of one actor. What is not known is `null`.
#[derive(Serialize)]
struct Row {
    /// The actor's name; the directory's, if no local engine made it.
    name: String,
    path: PathBuf,
    verdict: Verdict,
    /// Why the verdict is not `ok`.
    reason: Option<String>,
    epoch: Option<u64>,
    sequence: Option<u64>,
    disk_bytes: Option<u64>,
    attributes: Option<usize>,
    calls: Option<usize>,
    holder: Option<Holder>,
}

/// Whether a state can be used.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Ok,
    Damaged,
    /// It could not be read, so nothing is known.
    Unreadable,
    /// Nothing was ever saved there.
    Empty,
}

impl Verdict {
    pub(crate) fn of(error: &Error) -> Self {
        match error {
            Error::Open(OpenError::Damaged { .. }) | Error::Value { .. } => Self::Damaged,
            Error::Open(OpenError::NotFound { .. }) => Self::Empty,
            _ => Self::Unreadable,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Damaged => "damaged",
            Self::Unreadable => "unreadable",
            Self::Empty => "empty",
        }
    }

    pub(crate) fn style(self) -> anstyle::Style {
        match self {
            Self::Ok => GOOD,
            Self::Empty => FAINT,
            Self::Damaged | Self::Unreadable => BAD,
        }
    }
}

pub(crate) fn run(args: &ListArgs) -> Result<u8, Error> {
    refuse_redis(&args.root)?;
    let rows: Vec<Row> = actors(&args.root)?.iter().map(|path| row(path)).collect();
    let mut out = Output::new();
    if args.json {
        out.json(&rows)?;
    } else {
        print(&mut out, &rows)?;
    }
    out.finish()?;
    for row in &rows {
        if let Some(reason) = &row.reason {
            crate::app::note(&format!("{}: {reason}", show_name(&row.name)));
        }
    }
    let code = |verdict| match verdict {
        Verdict::Ok | Verdict::Empty => 0,
        Verdict::Damaged => FOUND,
        Verdict::Unreadable => crate::error::FAILED,
    };
    Ok(rows.iter().map(|row| code(row.verdict)).max().unwrap_or(0))
}

/// The directories under a root that may be states and the files that are, by name. Hidden ones are not actors'.
pub(crate) fn actors(root: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut actors = Vec::new();
    for entry in fs::read_dir(root).map_err(Error::io("list", root))? {
        let entry = entry.map_err(Error::io("list", root))?;
        let kind = entry.file_type().map_err(Error::io("look at", entry.path()))?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        let path = entry.path();
        if !hidden && (kind.is_dir() || kind.is_symlink() || (kind.is_file() && is_state(&path))) {
            actors.push(path);
        }
    }
    actors.sort();
    Ok(actors)
}

/// Whether a file is a state, damaged or not.
fn is_state(path: &Path) -> bool {
    !matches!(last_holder(path), Err(OpenError::NotAState { .. } | OpenError::NotFound { .. }))
}

/// The name of the actor whose state lies in this directory.
pub(crate) fn actor_name(path: &Path) -> String {
    let directory = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    unescape(&directory).unwrap_or_else(|| directory.into_owned())
}

fn row(path: &Path) -> Row {
    let (name, path) = (actor_name(path), path.to_owned());
    match Reading::of(&path) {
        Ok(reading) => Row {
            name,
            verdict: Verdict::Ok,
            reason: None,
            epoch: Some(reading.state.epoch),
            sequence: Some(reading.state.view.sequence),
            disk_bytes: Some(reading.disk_bytes()),
            attributes: Some(reading.state.view.named_attributes().count()),
            calls: Some(reading.state.view.ledger.len()),
            holder: reading.holder(),
            path,
        },
        Err(error) => Row {
            name,
            verdict: Verdict::of(&error),
            reason: Some(error.to_string()),
            epoch: None,
            sequence: None,
            disk_bytes: None,
            attributes: None,
            calls: None,
            holder: None,
            path,
        },
    }
}

fn print(out: &mut Output, rows: &[Row]) -> Result<(), Error> {
    let dash = || Cell::from("-").styled(FAINT);
    let number = |number: Option<u64>| number.map_or_else(dash, Cell::from);
    let table: Vec<[Cell; 7]> = rows
        .iter()
        .map(|row| {
            let holder = row.holder.filter(|holder| holder.alive);
            [
                Cell::from(show_name(&row.name)),
                Cell::from(row.verdict.name()).styled(row.verdict.style()),
                number(row.epoch),
                number(row.sequence),
                row.disk_bytes.map_or_else(dash, |bytes| Cell::from(show_bytes(bytes))),
                number(row.attributes.map(|count| count as u64)),
                holder.map_or_else(dash, |holder| Cell::from(holder.pid)),
            ]
        })
        .collect();
    let heads = ["ACTOR", "VERDICT", "EPOCH", "SEQUENCE", "SIZE", "ATTRIBUTES", "HELD BY"];
    out.table(heads, [false, false, true, true, true, true, true], &table)
}
