//! `verify`: every byte that matters.

use std::fs;
use std::path::{Path, PathBuf};

use persistent_actor::OpenError;
use persistent_actor::store::{Salvage, is_state_file, salvage};
use serde::Serialize;

use super::list::{Verdict, actors};
use crate::cbor;
use crate::cli::VerifyArgs;
use crate::error::{Error, FAILED, FOUND};
use crate::locate::state_path;
use crate::output::{Output, show_name};
use crate::reading::Reading;
use crate::units::{count, show_bytes};

/// What was found of one state.
#[derive(Serialize)]
struct Report {
    path: PathBuf,
    verdict: Verdict,
    /// Why it could not be checked.
    reason: Option<String>,
    damage: Vec<Finding>,
    sequence: Option<u64>,
    attributes: Option<usize>,
    calls: Option<usize>,
    checked_bytes: Option<u64>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) file: String,
    /// In bytes from the file's start; null if the file is intact and a value in it is not.
    pub(crate) offset: Option<u64>,
    pub(crate) reason: String,
}

impl Finding {
    /// `journal-…: byte 512: the checksum of the record is wrong`
    pub(crate) fn show(&self) -> String {
        let offset = self.offset.map(|offset| format!("byte {offset}: ")).unwrap_or_default();
        format!("{}: {offset}{}", self.file, self.reason)
    }
}

pub(crate) fn run(args: &VerifyArgs) -> Result<u8, Error> {
    let path = state_path(&args.path, &args.root)?;
    let is_root = is_root(&path)?;
    let states = if is_root { actors(&path)? } else { vec![path] };
    let reports: Vec<Report> = states.iter().map(|path| verify(path)).collect();
    let mut out = Output::new();
    if args.json {
        out.json(&reports)?;
    } else {
        print(&mut out, &reports)?;
    }
    out.finish()?;
    let code = |report: &Report| match report.verdict {
        Verdict::Ok => 0,
        // An actor that never saved anything is fine, a state that was named and is not there is
        // not.
        Verdict::Empty => {
            if is_root {
                0
            } else {
                FAILED
            }
        }
        Verdict::Damaged => FOUND,
        Verdict::Unreadable => FAILED,
    };
    Ok(reports.iter().map(code).max().unwrap_or(0))
}

/// Whether a directory is a state root: no file of a state in it, but states.
fn is_root(path: &Path) -> Result<bool, Error> {
    let Ok(entries) = fs::read_dir(path) else { return Ok(false) };
    for entry in entries {
        let entry = entry.map_err(Error::io("list", path))?;
        if is_state_file(&entry.file_name().to_string_lossy()) {
            return Ok(false);
        }
    }
    Ok(!actors(path)?.is_empty())
}

fn verify(path: &Path) -> Report {
    let mut report = Report {
        path: path.to_owned(),
        verdict: Verdict::Ok,
        reason: None,
        damage: Vec::new(),
        sequence: None,
        attributes: None,
        calls: None,
        checked_bytes: None,
    };
    match Reading::of(path) {
        Ok(reading) => {
            let view = &reading.state.view;
            report.sequence = Some(view.sequence);
            report.attributes = Some(view.named_attributes().count());
            report.calls = Some(view.ledger.len());
            report.checked_bytes = Some(view.values().map(|value| value.size()).sum());
            report.damage = unreadable_values(&reading);
        }
        Err(error) => {
            report.verdict = Verdict::of(&error);
            match damage(path, &error) {
                Ok(damage) => report.damage = damage,
                Err(error) => report.reason = Some(error.to_string()),
            }
        }
    }
    if !report.damage.is_empty() {
        report.verdict = Verdict::Damaged;
    }
    report
}

/// All damage of a state whose reading ended with `error`; that error if it is none.
pub(crate) fn damage(path: &Path, error: &Error) -> Result<Vec<Finding>, String> {
    let Error::Open(OpenError::Damaged { path: file, offset, reason }) = error else {
        return Err(error.to_string());
    };
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let first = Finding { file: name, offset: Some(*offset), reason: reason.clone() };
    let mut all = salvage(path).map(|salvage| findings(&salvage)).unwrap_or_default();
    if !all.iter().any(|other| other.file == first.file) {
        all.insert(0, first);
    }
    Ok(all)
}

/// What is wrong with a state that was read as far as it goes.
pub(crate) fn findings(salvage: &Salvage) -> Vec<Finding> {
    let found = salvage.damage.iter().map(|damage| Finding {
        file: damage.file.clone(),
        offset: Some(damage.offset),
        reason: damage.reason.clone(),
    });
    found.collect()
}

/// Values that are what was written, but are no CBOR.
fn unreadable_values(reading: &Reading) -> Vec<Finding> {
    let view = &reading.state.view;
    let attributes =
        view.attributes.iter().map(|(name, value)| (format!("attribute {name:?}"), value));
    let replies = view.ledger.sessions().flat_map(|(session, of_session)| {
        of_session.calls.iter().map(move |(number, entry)| {
            (format!("the reply to call {session}:{number}"), &entry.reply.value)
        })
    });
    let bad = attributes.chain(replies).filter_map(|(what, value)| {
        let error = cbor::check(value).err()?;
        let reason = format!("{what} is {error}");
        Some(Finding { file: reading.state.journal.clone(), offset: None, reason })
    });
    bad.collect()
}

fn print(out: &mut Output, reports: &[Report]) -> Result<(), Error> {
    for report in reports {
        let path = show_name(&report.path.to_string_lossy());
        let verdict = out.paint(report.verdict.style(), report.verdict.name());
        let what = match (&report.reason, report.sequence) {
            (Some(reason), _) => format!(": {reason}"),
            (None, Some(sequence)) => format!(
                ", sequence {sequence}, {}, {}, {}",
                count(report.attributes.unwrap_or(0), "attribute"),
                count(report.calls.unwrap_or(0), "remembered call"),
                show_bytes(report.checked_bytes.unwrap_or(0)),
            ),
            (None, None) => String::new(),
        };
        out.line(&format!("{path}: {verdict}{what}"))?;
        for finding in &report.damage {
            out.line(&format!("  {}", finding.show()))?;
        }
    }
    Ok(())
}
