//! `diff`: two states, attribute by attribute.

use std::collections::BTreeMap;

use persistent_actor::Encoded;
use serde::Serialize;

use crate::cbor::{self, Item, Layout};
use crate::cli::DiffArgs;
use crate::error::{Error, FOUND};
use crate::output::{BAD, GOOD, Output, show_name};
use crate::reading::Reading;

/// How much of a value is shown. Characters.
const VALUE_WIDTH: usize = 60;

#[derive(Serialize)]
struct Report {
    same: bool,
    added: Vec<Side>,
    removed: Vec<Side>,
    changed: Vec<Change>,
}

/// An attribute that only one state has.
#[derive(Serialize)]
struct Side {
    name: String,
    #[serde(flatten)]
    value: Value,
}

#[derive(Serialize)]
struct Change {
    name: String,
    before: Value,
    after: Value,
    /// For two byte arrays: how many places differ, lengths that differ counted in.
    different_bytes: Option<u64>,
    /// For two byte arrays: the first place that differs.
    first_difference: Option<u64>,
}

#[derive(Serialize)]
struct Value {
    size_bytes: u64,
    r#type: String,
    /// The beginning, for people.
    #[serde(skip)]
    shown: String,
}

pub(crate) fn run(args: &DiffArgs) -> Result<u8, Error> {
    let report = compare(args)?;
    let mut out = Output::new();
    if args.json {
        out.json(&report)?;
    } else {
        print(&mut out, &report)?;
    }
    out.finish()?;
    Ok(if report.same { 0 } else { FOUND })
}

/// Reads both states. Damage is an error here, not a difference.
fn compare(args: &DiffArgs) -> Result<Report, Error> {
    let before = Reading::named(&args.before, &args.root)?;
    let after = Reading::named(&args.after, &args.root)?;
    let (old, new) = (attributes(&before), attributes(&after));
    let mut report =
        Report { same: true, added: Vec::new(), removed: Vec::new(), changed: Vec::new() };
    for (&name, &value) in &old {
        match new.get(name).copied() {
            None => report.removed.push(side(name, value)),
            Some(new) if new != value => report.changed.push(change(name, value, new)),
            Some(_) => {}
        }
    }
    let added = new.iter().filter(|(name, _)| !old.contains_key(**name));
    report.added = added.map(|(name, value)| side(name, value)).collect();
    let Report { added, removed, changed, .. } = &report;
    report.same = added.is_empty() && removed.is_empty() && changed.is_empty();
    Ok(report)
}

fn attributes(reading: &Reading) -> BTreeMap<&str, &Encoded> {
    reading.state.view.named_attributes().collect()
}

fn side(name: &str, encoded: &Encoded) -> Side {
    Side { name: name.to_owned(), value: value(encoded) }
}

fn value(encoded: &Encoded) -> Value {
    let shown = match cbor::parse(encoded) {
        Ok(item) => cbor::render(&item, Layout::Line(VALUE_WIDTH)),
        Err(error) => error.to_string(),
    };
    Value { size_bytes: encoded.size(), r#type: cbor::summary(encoded), shown }
}

fn change(name: &str, before: &Encoded, after: &Encoded) -> Change {
    let items = (cbor::parse(before), cbor::parse(after));
    let places = match &items {
        (Ok(before), Ok(after)) => different_places(before, after),
        _ => None,
    };
    Change {
        name: name.to_owned(),
        before: value(before),
        after: value(after),
        different_bytes: places.map(|(count, _)| count),
        first_difference: places.map(|(_, first)| first),
    }
}

/// How many places of two byte arrays differ, and the first.
fn different_places(before: &Item<'_>, after: &Item<'_>) -> Option<(u64, u64)> {
    let (before, after) = (cbor::content_of_bytes(before)?, cbor::content_of_bytes(after)?);
    let pairs = before.iter().zip(after);
    let first = pairs.clone().position(|(a, b)| a != b);
    let count = pairs.filter(|(a, b)| a != b).count() + before.len().abs_diff(after.len());
    let first = first.unwrap_or(before.len().min(after.len()));
    Some((count as u64, first as u64))
}

fn print(out: &mut Output, report: &Report) -> Result<(), Error> {
    for (sign, style, sides) in [("-", BAD, &report.removed), ("+", GOOD, &report.added)] {
        for side in sides {
            let name = out.paint(style, &format!("{sign} {}", show_name(&side.name)));
            out.line(&format!("{name}: {}", side.value.shown))?;
        }
    }
    for change in &report.changed {
        let places = match (change.different_bytes, change.first_difference) {
            (Some(count), Some(first)) => format!(" ({count} bytes differ, the first at {first})"),
            _ => String::new(),
        };
        let (name, before, after) =
            (show_name(&change.name), &change.before.shown, &change.after.shown);
        out.line(&format!("~ {name}: {before} -> {after}{places}"))?;
    }
    Ok(())
}
