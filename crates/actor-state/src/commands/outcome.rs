//! `outcome`: did a call commit, and what did it answer.

use persistent_actor::Admission;
use persistent_actor::ledger::Entry;
use serde::Serialize;
use serde_json::value::RawValue;

use super::calls::status_name;
use crate::cbor::{self, Layout};
use crate::cli::OutcomeArgs;
use crate::error::{Error, FORGOTTEN, FOUND};
use crate::output::Output;
use crate::reading::Reading;

#[derive(Serialize)]
struct Report {
    call: String,
    /// `committed`, `not committed`, `parked` or `forgotten`.
    outcome: &'static str,
    /// The sequence number of the commit.
    commit: Option<u64>,
    committed_ms: Option<u64>,
    status: Option<&'static str>,
    reply: Option<Box<RawValue>>,
}

pub(crate) fn run(args: &OutcomeArgs) -> Result<u8, Error> {
    let reading = Reading::named(&args.state, &args.root)?;
    let ledger = &reading.state.view.ledger;
    let entry = ledger.entry(args.call);
    // A digest matters only for a call that is remembered.
    let (outcome, code) = match ledger.admit(args.call, 0) {
        Admission::Fresh if reading.intents()?.poison(args.call).is_some() => ("parked", FOUND),
        Admission::Fresh => ("not committed", FOUND),
        Admission::Expired => ("forgotten", FORGOTTEN),
        Admission::Replay(_) | Admission::IdReused => ("committed", 0),
    };
    let mut out = Output::new();
    if args.json {
        out.json(&report(args, outcome, entry)?)?;
    } else {
        out.line(outcome)?;
        if let Some(entry) = entry {
            let value = &entry.reply.value;
            let reply = match cbor::parse(value) {
                Ok(parsed) => cbor::render(&parsed.item, Layout::Tree),
                Err(error) => error.to_string(),
            };
            out.line(&format!("sequence {}", entry.commit))?;
            out.line(&format!("{} {reply}", status_name(entry.reply.status)))?;
        }
    }
    out.finish()?;
    Ok(code)
}

fn report(
    args: &OutcomeArgs,
    outcome: &'static str,
    entry: Option<&Entry>,
) -> Result<Report, Error> {
    let reply = entry.map(|entry| {
        let json = match cbor::parse(&entry.reply.value) {
            Ok(parsed) => cbor::to_json(&parsed.item),
            Err(_) => "null".to_owned(),
        };
        RawValue::from_string(json)
    });
    Ok(Report {
        call: args.call.to_string(),
        outcome,
        commit: entry.map(|entry| entry.commit),
        committed_ms: entry.map(|entry| entry.at_ms),
        status: entry.map(|entry| status_name(entry.reply.status)),
        reply: reply.transpose().map_err(|error| Error::Output(error.into()))?,
    })
}
