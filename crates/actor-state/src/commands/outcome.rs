//! `outcome`: did a call commit, and what did it answer.

use std::path::Path;

use persistent_actor::ledger::Entry;
use persistent_actor::store::outcome;
use persistent_actor::{Admission, CallId, OpenError};
use rustix::io::Errno;
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
    settle(&reading.path, args.call)?;
    let ledger = &reading.state.view.ledger;
    let entry = ledger.entry(args.call);
    // A digest matters only for a call that is remembered.
    let (outcome, code) = match ledger.admit(args.call, 0) {
        Admission::Fresh if reading.intents()?.poison(args.call).is_some() => ("parked", FOUND),
        Admission::Fresh if ledger.may_have_forgotten(args.call) => ("forgotten", FORGOTTEN),
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
                Ok(item) => cbor::render(&item, Layout::Tree),
                Err(error) => error.to_string(),
            };
            out.line(&format!("sequence {}", entry.commit))?;
            out.line(&format!("{} {reply}", status_name(entry.reply.status)))?;
        }
    }
    out.finish()?;
    Ok(code)
}

/// Makes what was read of the state survive power loss: its writer may have been killed before it
/// did.
fn settle(path: &Path, call: CallId) -> Result<(), Error> {
    // What this finds itself may be newer than what was read; that it was synced is what counts.
    match outcome(path, call) {
        // A file system that knows no sync, such as squashfs, is one that nobody writes to; at
        // `power` nothing can have been committed there.
        Err(OpenError::Unreadable { operation: "sync", source, .. })
            if source.raw_os_error() == Some(Errno::INVAL.raw_os_error()) =>
        {
            Ok(())
        }
        synced => Ok(synced.map(drop)?),
    }
}

fn report(
    args: &OutcomeArgs,
    outcome: &'static str,
    entry: Option<&Entry>,
) -> Result<Report, Error> {
    let reply = entry.map(|entry| {
        let json = match cbor::parse(&entry.reply.value) {
            Ok(item) => cbor::to_json(&item),
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
