//! A run as text, one line for each step.

use stateright::{Model, Path};

use crate::model::{Action, Protocol, State};
use crate::view::{Answer, Call};
use crate::worker::{Phase, Worker};

/// The steps of a run, numbered, one a line.
pub fn readable(protocol: &Protocol, path: &Path<State, Action>) -> String {
    let mut text = String::new();
    let steps = path.clone().into_vec();
    for (number, (state, action)) in steps.iter().enumerate() {
        let Some(action) = action else { continue };
        let line = describe(protocol, state, *action);
        text.push_str(&format!("{:>4}  {line}\n", number + 1));
    }
    let last = path.last_state();
    let stored = list(&last.disk.stored(false, protocol.mutation).history);
    let answered: Vec<_> = protocol.answered(last).map(|(call, _)| call).collect();
    text.push_str(&format!("      stored: [{stored}]; answered: [{}]", list(&answered)));
    for worker in last.workers.iter().filter(|worker| worker.is_serving()) {
        let history = list(&worker.view.history);
        text.push_str(&format!("; worker {} serves: [{history}]", worker.incarnation));
    }
    if let Some(alarm) = last.alarm {
        text.push_str(&format!("; {alarm:?}"));
    }
    text
}

fn list(calls: &[Call]) -> String {
    calls.iter().map(Call::to_string).collect::<Vec<_>>().join(" ")
}

fn describe(protocol: &Protocol, state: &State, action: Action) -> String {
    let Some(next) = protocol.next_state(state, action) else { return String::new() };
    match action {
        Action::Issue(caller) => {
            let call = next.issued.last().map(Call::to_string).unwrap_or_default();
            format!("caller {} makes call {call}", char::from(b'a' + caller))
        }
        Action::Read(incarnation) => format!("worker {incarnation} takes up a read"),
        Action::Checkpoint(incarnation) => format!("worker {incarnation} begins a checkpoint"),
        Action::Start => {
            let inbox = next.workers.last().map(|worker| &worker.inbox[..]).unwrap_or_default();
            let calls: Vec<_> = inbox.iter().map(|frame| frame.id.call).collect();
            format!("the node starts worker {} and sends it [{}]", next.started, list(&calls))
        }
        Action::Step(incarnation) => step(state, &next, incarnation),
        Action::LoseReply(incarnation) => format!("the reply of worker {incarnation} is lost"),
        Action::Die => format!("FAULT: worker {} dies", state.current.unwrap_or_default()),
        Action::Abandon => {
            format!("FAULT: the node gives worker {} up", state.current.unwrap_or_default())
        }
        Action::LosePower(0) => "FAULT: power is lost, and all that was not synced".to_owned(),
        Action::LosePower(kept) => {
            format!("FAULT: power is lost; of the unsynced segments these are kept: {kept:#b}")
        }
        Action::LateCopy(call) => format!("FAULT: a late copy of call {call} arrives"),
    }
}

fn step(state: &State, next: &State, incarnation: u8) -> String {
    let find = |state: &State| {
        state.workers.iter().find(|worker| worker.incarnation == incarnation).cloned()
    };
    let Some(before) = find(state) else { return String::new() };
    let Some(after) = find(next) else {
        return format!("worker {incarnation} sees that it was superseded, and exits");
    };
    let epoch = after.epoch;
    let who = format!("worker {incarnation} (epoch {epoch})");
    match before.phase {
        Phase::ChooseEpoch => format!("worker {incarnation} chooses epoch {epoch}"),
        Phase::Claim if before.epoch != epoch => format!("{who} found its claim taken"),
        Phase::Claim => format!("{who} makes its claim"),
        Phase::ListAgain if before.epoch != epoch => format!("{who} has stepped back"),
        Phase::ListAgain => format!("{who} sees that its epoch is the highest"),
        Phase::ClearClaims(_) => format!("{who} removes lower claims"),
        Phase::FindSegment => match after.phase {
            Phase::ReadSegment(id) => format!("{who} finds segment {}-{}", id.epoch, id.number),
            _ => format!("{who} finds no segment"),
        },
        Phase::ReadSegment(_) => format!("{who} reads it: [{}]", list(&after.view.history)),
        Phase::Publish => {
            let history = list(&after.view.history);
            format!("{who} publishes segment {epoch}-{} with [{history}]", after.segment)
        }
        Phase::SyncNames => format!("{who} syncs the directory"),
        Phase::CheckSegment => format!("{who} sees that it holds its claim"),
        Phase::RemoveOlder => format!("{who} removes what its segment replaces"),
        Phase::Idle => take(&who, &before, &after),
        Phase::Append(record) => format!("{who} writes the record of {}", record.frame.id.call),
        Phase::Sync(record) => format!("{who} syncs the record of {}", record.frame.id.call),
        Phase::Check(_) => format!("{who} sees that it holds its claim"),
        Phase::Answer(id, Answer::Reply(reply)) => format!("{who} answers {}: {reply}", id.call),
        Phase::Answer(id, Answer::Expired) => format!("{who} answers {}: expired", id.call),
        Phase::SyncLate => format!("{who} syncs"),
        Phase::AnswerRead(_) => format!("{who} answers the read: [{}]", list(&after.view.history)),
    }
}

fn take(who: &str, before: &Worker, after: &Worker) -> String {
    let call = before.inbox.first().map(|frame| frame.id.call.to_string()).unwrap_or_default();
    match after.phase {
        Phase::Answer(..) => format!("{who} finds {call} in its ledger"),
        Phase::Append(_) => format!("{who} runs {call} and sees that it holds its claim"),
        _ => format!("{who} runs {call} and writes its record"),
    }
}
