//! `show`: what a state holds.

use std::path::PathBuf;

use persistent_actor::store::FORMAT_VERSION;
use serde::Serialize;

use crate::cbor::{self, Layout};
use crate::cli::ReadArgs;
use crate::error::Error;
use crate::holder::Holder;
use crate::output::{Cell, FAINT, Output, show_name};
use crate::reading::Reading;
use crate::units::{count, show_bytes};

/// How much of a value is shown beside its name. Characters.
const VALUE_WIDTH: usize = 40;

#[derive(Serialize)]
struct Report {
    path: PathBuf,
    format_version: u32,
    state_id: String,
    epoch: u64,
    /// Above `epoch` while an actor starts.
    claimed_epoch: u64,
    sequence: u64,
    holder: Option<Holder>,
    attributes: Vec<Attribute>,
    ledger: Ledger,
    journal: Journal,
    files: Vec<FileSize>,
    disk_bytes: u64,
}

#[derive(Serialize)]
struct Attribute {
    name: String,
    size_bytes: u64,
    r#type: String,
    /// The beginning, for people.
    #[serde(skip)]
    value: String,
}

#[derive(Serialize)]
struct Ledger {
    sessions: usize,
    calls: usize,
    size_bytes: u64,
    /// Sessions that began before may have been forgotten; null if none was.
    forgotten_before_ms: Option<u64>,
}

#[derive(Serialize)]
struct Journal {
    file: String,
    used_bytes: u64,
    /// Whether a commit was not finished; it was never answered.
    torn_tail: bool,
}

#[derive(Serialize)]
struct FileSize {
    name: String,
    size_bytes: u64,
}

pub(crate) fn run(args: &ReadArgs) -> Result<u8, Error> {
    let report = report(&Reading::named(&args.state, &args.root)?);
    let mut out = Output::new();
    if args.json {
        out.json(&report)?;
    } else {
        print(&mut out, &report)?;
    }
    out.finish()?;
    Ok(0)
}

fn report(reading: &Reading) -> Report {
    let state = &reading.state;
    let ledger = &state.view.ledger;
    let attributes = state.view.named_attributes().map(|(name, value)| Attribute {
        name: name.to_owned(),
        size_bytes: value.size(),
        r#type: cbor::summary(value),
        value: match cbor::parse(value) {
            Ok(item) => cbor::render(&item, Layout::Line(VALUE_WIDTH)),
            Err(error) => error.to_string(),
        },
    });
    let file = |file: &persistent_actor::store::FileInfo| FileSize {
        name: file.name.clone(),
        size_bytes: file.size,
    };
    Report {
        path: reading.path.clone(),
        format_version: FORMAT_VERSION,
        state_id: format!("{:032x}", state.state_id),
        epoch: state.epoch,
        claimed_epoch: state.claimed_epoch,
        sequence: state.view.sequence,
        holder: reading.holder(),
        attributes: attributes.collect(),
        ledger: Ledger {
            sessions: ledger.sessions().count(),
            calls: ledger.len(),
            size_bytes: ledger.bytes(),
            forgotten_before_ms: Some(ledger.expired_before_ms()).filter(|ms| *ms > 0),
        },
        journal: Journal {
            file: state.journal.clone(),
            used_bytes: state.journal_used,
            torn_tail: state.torn_tail,
        },
        files: state.files.iter().map(file).collect(),
        disk_bytes: reading.disk_bytes(),
    }
}

fn print(out: &mut Output, report: &Report) -> Result<(), Error> {
    let holder = match report.holder {
        Some(Holder { pid, alive: true }) => format!("process {pid}"),
        Some(Holder { pid, alive: false }) => format!("nobody (last process {pid})"),
        None => "nobody".to_owned(),
    };
    let epoch = match report.claimed_epoch > report.epoch {
        true => format!("{} (an actor is starting with {})", report.epoch, report.claimed_epoch),
        false => report.epoch.to_string(),
    };
    let ledger = &report.ledger;
    let remembered = format!(
        "{} of {}, {}",
        count(ledger.calls, "call"),
        count(ledger.sessions, "session"),
        show_bytes(ledger.size_bytes)
    );
    let torn = if report.journal.torn_tail { ", ends with an unfinished commit" } else { "" };
    let used =
        format!("{}, {} used{torn}", report.journal.file, show_bytes(report.journal.used_bytes));
    for (head, value) in [
        ("State", show_name(&report.path.to_string_lossy())),
        ("Id", report.state_id.clone()),
        ("Epoch", epoch),
        ("Sequence", report.sequence.to_string()),
        ("Held by", holder),
        ("Ledger", remembered),
        ("Journal", used),
        ("Files", format!("{}, {}", report.files.len(), show_bytes(report.disk_bytes))),
    ] {
        let head = out.paint(FAINT, &format!("{head:<9}"));
        out.line(&format!("{head} {value}"))?;
    }
    out.line("")?;
    let rows: Vec<[Cell; 4]> = report
        .attributes
        .iter()
        .map(|attribute| {
            [
                Cell::from(show_name(&attribute.name)),
                Cell::from(&attribute.r#type),
                Cell::from(show_bytes(attribute.size_bytes)),
                Cell::from(&attribute.value),
            ]
        })
        .collect();
    out.table(["ATTRIBUTE", "TYPE", "SIZE", "VALUE"], [false, false, true, false], &rows)
}
