//! `calls`: what the ledger remembers.

use persistent_actor::{CallId, ReplyStatus};
use serde::Serialize;

use crate::cli::ReadArgs;
use crate::error::Error;
use crate::output::{Cell, Output};
use crate::reading::Reading;
use crate::units::{now_ms, show_age, show_bytes};

#[derive(Serialize)]
struct Call {
    call: String,
    /// The sequence number of the commit.
    commit: u64,
    committed_ms: u64,
    status: &'static str,
    reply_bytes: u64,
    digest: String,
}

/// A status as it is shown.
pub(crate) fn status_name(status: ReplyStatus) -> &'static str {
    match status {
        ReplyStatus::Returned => "returned",
        ReplyStatus::Failed => "failed",
        ReplyStatus::Panicked => "panicked",
    }
}

pub(crate) fn run(args: &ReadArgs) -> Result<u8, Error> {
    let reading = Reading::named(&args.state, &args.root)?;
    let sessions = reading.state.view.ledger.sessions();
    let entries = sessions.flat_map(|(session, of_session)| {
        of_session.calls.iter().map(move |(&sequence, entry)| (session, sequence, entry))
    });
    let mut calls: Vec<Call> = entries
        .map(|(session, sequence, entry)| Call {
            call: CallId { session, sequence }.to_string(),
            commit: entry.commit,
            committed_ms: entry.at_ms,
            status: status_name(entry.reply.status),
            reply_bytes: entry.reply.value.size(),
            digest: format!("{:016x}", entry.digest),
        })
        .collect();
    calls.sort_by_key(|call| call.commit);
    let mut out = Output::new();
    if args.json {
        out.json(&calls)?;
    } else {
        print(&mut out, &calls)?;
    }
    out.finish()?;
    Ok(0)
}

fn print(out: &mut Output, calls: &[Call]) -> Result<(), Error> {
    let now = now_ms();
    let rows: Vec<[Cell; 5]> = calls
        .iter()
        .map(|call| {
            [
                Cell::from(&call.call),
                Cell::from(call.commit),
                Cell::from(show_age(call.committed_ms, now)),
                Cell::from(call.status),
                Cell::from(show_bytes(call.reply_bytes)),
            ]
        })
        .collect();
    let heads = ["CALL", "SEQUENCE", "AGE", "STATUS", "REPLY"];
    out.table(heads, [false, true, true, false, true], &rows)
}
