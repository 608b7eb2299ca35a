//! `calls`: what the ledger remembers.

use persistent_actor::{CallId, IntentStage, Intents, ReplyStatus};
use serde::Serialize;

use crate::cli::ReadArgs;
use crate::error::Error;
use crate::output::{Cell, Output, show_name};
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

/// A call that the actor died of.
#[derive(Serialize)]
struct Interrupted {
    call: String,
    method: String,
    status: &'static str,
    deaths: u32,
    last_death: String,
    noted_ms: u64,
}

/// What `--json` prints of either.
#[derive(Serialize)]
#[serde(untagged)]
enum Either<'a> {
    Committed(&'a Call),
    Interrupted(&'a Interrupted),
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
    let interrupted = interrupted(&reading.intents()?);
    let mut out = Output::new();
    if args.json {
        let committed = calls.iter().map(Either::Committed);
        let all: Vec<Either<'_>> =
            committed.chain(interrupted.iter().map(Either::Interrupted)).collect();
        out.json(&all)?;
    } else {
        print(&mut out, &calls)?;
        print_interrupted(&mut out, &interrupted)?;
    }
    out.finish()?;
    Ok(0)
}

fn interrupted(intents: &Intents) -> Vec<Interrupted> {
    let interrupted = intents.iter().map(|(call, intent)| Interrupted {
        call: call.to_string(),
        method: intent.method.clone(),
        status: match intent.stage {
            IntentStage::Tried => "tried",
            IntentStage::Parked => "parked",
            IntentStage::Dropped => "dropped",
        },
        deaths: intent.deaths,
        last_death: intent.last.clone(),
        noted_ms: intent.noted_ms,
    });
    interrupted.collect()
}

fn print_interrupted(out: &mut Output, calls: &[Interrupted]) -> Result<(), Error> {
    if calls.is_empty() {
        return Ok(());
    }
    out.line("")?;
    let now = now_ms();
    let row = |call: &Interrupted| {
        [
            Cell::from(&call.call),
            Cell::from(show_name(&call.method)),
            Cell::from(show_age(call.noted_ms, now)),
            Cell::from(call.status),
            Cell::from(u64::from(call.deaths)),
            Cell::from(show_name(&call.last_death)),
        ]
    };
    let rows: Vec<[Cell; 6]> = calls.iter().map(row).collect();
    let heads = ["CALL", "METHOD", "AGE", "STATUS", "DEATHS", "LAST"];
    out.table(heads, [false, false, true, false, true, false], &rows)
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
