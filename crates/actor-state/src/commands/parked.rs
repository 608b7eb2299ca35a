//! `retry` and `drop`: calls that were parked because the actor died of them too often.

use persistent_actor::{ActorState, CallId, Intent, IntentStage, StoreError};

use crate::cli::ParkedArgs;
use crate::confirm::confirm;
use crate::error::Error;
use crate::opening::open;
use crate::output::show_name;
use crate::reading::Reading;
use crate::units::count;

pub(crate) fn retry(args: &ParkedArgs) -> Result<u8, Error> {
    let question = "Let it run again when its caller sends it again?";
    change(args, question, "runs again when its caller sends it again", ActorState::retry_call)
}

pub(crate) fn drop_for_good(args: &ParkedArgs) -> Result<u8, Error> {
    change(args, "Never let it run again?", "never runs again", ActorState::drop_call)
}

fn change(
    args: &ParkedArgs,
    question: &str,
    done: &str,
    change: impl FnOnce(&mut ActorState, CallId) -> Result<bool, StoreError>,
) -> Result<u8, Error> {
    let reading = Reading::named(&args.state, &args.root)?;
    let call = args.call;
    let intents = reading.intents()?;
    let Some(intent) = intents.poison(call) else {
        return Err(not_parked(&reading, call));
    };
    let described = describe(call, intent);
    confirm(&format!("{described}. {question}"), &args.yes)?;
    let mut state = open(&reading.path, args.take_over)?;
    let changed = change(&mut state, call)
        .map_err(|error| Error::Refused(format!("{}: {error}", reading.path.display())))?;
    if !changed && intent.stage == IntentStage::Parked {
        return Err(not_parked(&reading, call));
    }
    crate::app::note(&format!("call {call} {done}"));
    Ok(0)
}

fn describe(call: CallId, intent: &Intent) -> String {
    let deaths = count(intent.deaths as usize, "death");
    let (method, last) = (show_name(&intent.method), show_name(&intent.last));
    format!("Call {call} of {method}: {deaths}, the last by {last}")
}

fn not_parked(reading: &Reading, call: CallId) -> Error {
    let path = reading.path.display();
    Error::Refused(format!("call {call} is not parked in {path}; `calls` lists those that are"))
}
