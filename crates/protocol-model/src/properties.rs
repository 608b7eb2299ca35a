//! What must hold in every state, and what must happen in some (or the exploration shows
//! nothing).

use stateright::Property;

use crate::model::{Alarm, Level, Protocol, State};
use crate::view::{Call, View};

/// No effect is applied twice.
pub const ONCE: &str = "an effect is applied at most once";
/// No answered call is lost.
pub const KEPT: &str = "an answered call is in every state that is served later";
/// Replies come from the one execution.
pub const ONE_REPLY: &str = "every reply is that of the one execution";
/// The output gate.
pub const DURABLE: &str = "a reply leaves after its record is durable";
/// Order of one caller.
pub const ORDER: &str = "the effects of one caller keep their order";
/// The ledger forgets only what was acknowledged.
pub const REMEMBERED: &str = "a call that is not answered does not expire";
/// Reads are fenced, too.
pub const FRESH_READ: &str = "a read sees every call that was answered before it";
/// Liveness.
pub const ANSWERED: &str = "when nothing fails any more, every call is answered";

/// All properties.
pub fn all() -> Vec<Property<Protocol>> {
    vec![
        Property::always(ONCE, |protocol, state: &State| {
            views(protocol, state).all(|v| once(&v.history))
        }),
        Property::always(KEPT, kept),
        Property::always(ONE_REPLY, replies_fit),
        Property::always(DURABLE, durable),
        Property::always(ORDER, |protocol, state: &State| {
            views(protocol, state).all(|view| in_order(&view.history))
        }),
        Property::always(REMEMBERED, |_, state: &State| {
            !matches!(state.alarm, Some(Alarm::ExpiredUnanswered(_)))
        }),
        Property::always(FRESH_READ, |_, state: &State| state.alarm != Some(Alarm::StaleRead)),
        Property::always(ANSWERED, answered_in_the_end),
    ]
}

/// The state that the next opener would read, and those that workers serve.
fn views<'a>(protocol: &Protocol, state: &'a State) -> impl Iterator<Item = View> + 'a {
    let serving = state.workers.iter().filter(|worker| worker.is_serving());
    let stored = state.disk.stored(false, protocol.mutation);
    serving.map(|worker| worker.view.clone()).chain([stored])
}

fn once(history: &[Call]) -> bool {
    history.iter().enumerate().all(|(at, call)| !history[..at].contains(call))
}

fn in_order(history: &[Call]) -> bool {
    let after = |at: usize, call: &Call| {
        history[..at].iter().all(|old| old.caller != call.caller || old.number <= call.number)
    };
    history.iter().enumerate().all(|(at, call)| after(at, call))
}

fn contains_answered(protocol: &Protocol, state: &State, view: &View) -> bool {
    protocol.answered(state).all(|(call, _)| view.history.contains(&call))
}

/// What the next opener would read has every answered call, and so has the memory of the worker
/// that holds the claim.
fn kept(protocol: &Protocol, state: &State) -> bool {
    let mut holders = state
        .workers
        .iter()
        .filter(|worker| worker.is_serving() && state.disk.holds(worker.epoch, worker.incarnation));
    contains_answered(protocol, state, &state.disk.stored(false, protocol.mutation))
        && holders.all(|worker| contains_answered(protocol, state, &worker.view))
}

fn durable(protocol: &Protocol, state: &State) -> bool {
    let durable = protocol.level == Level::Power;
    contains_answered(protocol, state, &state.disk.stored(durable, protocol.mutation))
}

fn replies_fit(protocol: &Protocol, state: &State) -> bool {
    if matches!(state.alarm, Some(Alarm::TwoReplies(_))) {
        return false;
    }
    let view = state.disk.stored(false, protocol.mutation);
    protocol.answered(state).all(|(call, reply)| {
        // A call that is missing is the concern of another property.
        !view.history.contains(&call) || view.history.get(usize::from(reply)) == Some(&call)
    })
}

/// Where callers, node and current worker have nothing left to do, all calls are answered. As
/// every run ends (see the rank in the model), this is liveness, and it needs no help from
/// zombies, which may never run again.
fn answered_in_the_end(protocol: &Protocol, state: &State) -> bool {
    if state.replies.iter().all(Option::is_some) {
        return true;
    }
    let mut steps = Vec::new();
    protocol.steps_of_the_living(state, &mut steps);
    !steps.is_empty()
}
