//! Intents: calls that are tried once more after the actor died of them, noted before they run.
//!
//! A call that has never been interrupted leaves no intent and costs nothing. One that is tried
//! again gets an [`Intent`] with the number of deaths, as durable as any commit, *before* it
//! runs: so the count survives the end of the whole program, too. When the call is committed, its
//! intent goes in the same record. After too many deaths the call is [parked](Intent::stage).
//!
//! They are kept as one attribute with a reserved name (`docs/format.md`, section 3).

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::call::{CallId, SessionId, unix_ms};
use crate::codec::{CodecError, Encoded, decode, encode};

/// Attributes whose names begin like this are the library's own.
pub const RESERVED_PREFIX: char = '\0';

/// The attribute that holds the intents.
pub(crate) const ATTRIBUTE: &str = "\0intents";

/// How many intents a state keeps. Beyond that those are forgotten that were noted longest ago,
/// dropped and unfinished calls before parked ones: a retry of such a call runs again.
pub const MAX_INTENTS: usize = 256;

/// The longest text that says how the actor died. Bytes.
const MAX_LAST_BYTES: usize = 200;

/// What is known of a call that is about to be tried again.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Who counts: one run of the caller's program.
    pub run: SessionId,
    /// How often the actor died of the call in that run.
    pub deaths: u32,
    /// From how many deaths on the call is parked.
    pub limit: u32,
    /// How the actor died the last time; empty if it did not in that run.
    pub last: String,
}

/// How far a call with an [`Intent`] has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IntentStage {
    /// It was about to run, and was not committed.
    Tried,
    /// The actor died of it too often: it does not run any more.
    Parked,
    /// It was parked, and somebody has decided that it never runs again.
    Dropped,
}

/// What a state remembers of a call that the actor died of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The method.
    pub method: String,
    /// How often the actor died of the call, as far as is known.
    pub deaths: u32,
    /// How far it has come.
    pub stage: IntentStage,
    /// How the actor died the last time.
    pub last: String,
    /// When this was noted, in milliseconds of Unix time.
    pub noted_ms: u64,
    /// The run of the program that noted it, and how many of the deaths came before that run.
    run: String,
    earlier: u32,
}

/// The intents of a state, by call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intents(BTreeMap<CallId, Intent>);

impl Intents {
    /// Reads the intents from the encoded value of their attribute.
    pub(crate) fn load(value: Option<&Encoded>) -> Result<Self, CodecError> {
        let Some(value) = value else { return Ok(Self::default()) };
        let by_text: BTreeMap<String, Intent> = decode(value)?;
        let parse = |(id, intent): (String, Intent)| match CallId::from_str(&id) {
            Ok(id) => Ok((id, intent)),
            Err(error) => Err(CodecError::Decode {
                type_name: "Intents",
                bytes: value.inline.len(),
                reason: error.to_string(),
            }),
        };
        by_text.into_iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn encode(&self) -> Result<Encoded, CodecError> {
        let by_text: BTreeMap<String, &Intent> =
            self.0.iter().map(|(id, intent)| (id.to_string(), intent)).collect();
        encode(&by_text)
    }

    /// The intents by call.
    pub fn iter(&self) -> impl Iterator<Item = (CallId, &Intent)> {
        self.0.iter().map(|(id, intent)| (*id, intent))
    }

    /// The intent of a call.
    pub fn get(&self, id: CallId) -> Option<&Intent> {
        self.0.get(&id)
    }

    /// The intent of a call that does not run any more.
    pub fn poison(&self, id: CallId) -> Option<&Intent> {
        self.get(id).filter(|intent| intent.stage != IntentStage::Tried)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Notes that the call is about to run again, or parks it.
    pub(crate) fn note(&mut self, id: CallId, method: &str, attempt: &Attempt) {
        let run = attempt.run.to_string();
        let known = self.0.get(&id);
        let earlier = match known {
            None => 0,
            Some(known) if known.run == run => known.earlier,
            // That run noted the attempt and never saw its end: it ended together with the actor.
            Some(known) => known.deaths.saturating_add(1),
        };
        let deaths = earlier.saturating_add(attempt.deaths);
        let last = match (attempt.last.as_str(), earlier) {
            ("", 0) => "",
            ("", _) => "the end of its whole program",
            (last, _) => &last[..last.floor_char_boundary(MAX_LAST_BYTES)],
        };
        let stage = if deaths >= attempt.limit { IntentStage::Parked } else { IntentStage::Tried };
        let intent = Intent {
            method: method.to_owned(),
            deaths,
            stage,
            last: last.to_owned(),
            noted_ms: unix_ms(),
            run,
            earlier,
        };
        self.0.insert(id, intent);
        self.shrink(id);
    }

    /// Keeps the number of intents bounded; that of `keep` stays.
    fn shrink(&mut self, keep: CallId) {
        while self.0.len() > MAX_INTENTS {
            let others = self.0.iter().filter(|(id, _)| **id != keep);
            let least = others
                .min_by_key(|(_, intent)| (intent.stage == IntentStage::Parked, intent.noted_ms));
            let Some(id) = least.map(|(id, _)| *id) else { return };
            self.0.remove(&id);
        }
    }

    /// Forgets the call, and the unfinished ones of its session that its caller has given up.
    /// Says whether there were any.
    pub(crate) fn finish(&mut self, id: CallId, acked_below: u64) -> bool {
        let before = self.0.len();
        self.0.retain(|other, intent| {
            let given_up = other.session == id.session
                && other.sequence < acked_below
                && intent.stage == IntentStage::Tried;
            *other != id && !given_up
        });
        self.0.len() != before
    }

    pub(crate) fn drop_call(&mut self, id: CallId) -> bool {
        match self.0.get_mut(&id).filter(|intent| intent.stage == IntentStage::Parked) {
            Some(intent) => {
                intent.stage = IntentStage::Dropped;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(sequence: u64) -> CallId {
        CallId { session: SessionId(7 << 80), sequence }
    }

    fn attempt(run: u128, deaths: u32) -> Attempt {
        let last = if deaths == 0 { "" } else { "signal 6" };
        Attempt { run: SessionId(run), deaths, limit: 3, last: last.to_owned() }
    }

    #[test]
    fn deaths_add_up_within_a_run_and_over_runs() {
        let mut intents = Intents::default();
        // One run saw two deaths and ended during the third attempt.
        for deaths in 0..=2 {
            intents.note(id(1), "add", &attempt(1, deaths));
            assert_eq!(intents.get(id(1)).unwrap().deaths, deaths);
        }
        assert!(intents.poison(id(1)).is_none());
        intents.note(id(1), "add", &attempt(2, 0));
        let intent = intents.poison(id(1)).unwrap();
        assert_eq!((intent.deaths, intent.stage), (3, IntentStage::Parked));
        assert_eq!(intent.last, "the end of its whole program");
    }

    #[test]
    fn intents_read_back_and_go_with_their_calls() {
        let mut intents = Intents::default();
        for n in 0..4 {
            intents.note(id(n), "add", &attempt(1, if n == 0 { 3 } else { 1 }));
        }
        let read = Intents::load(Some(&intents.encode().unwrap())).unwrap();
        assert_eq!(read, intents);
        assert!(intents.finish(id(3), 2));
        let left: Vec<u64> = intents.iter().map(|(id, _)| id.sequence).collect();
        assert_eq!(left, [0, 2], "the parked one and the one that is not given up");
        assert!(!intents.finish(id(9), 0));
    }

    #[test]
    fn intents_are_bounded_and_parked_calls_go_last() {
        let mut intents = Intents::default();
        intents.note(id(0), "add", &attempt(1, 3));
        for n in 1..=2 * MAX_INTENTS as u64 {
            intents.note(id(n), "add", &attempt(1, 1));
        }
        assert_eq!(intents.0.len(), MAX_INTENTS);
        assert!(intents.poison(id(0)).is_some());
        assert!(intents.get(id(2 * MAX_INTENTS as u64)).is_some());
    }

    #[test]
    fn only_parked_calls_can_be_dropped() {
        let mut intents = Intents::default();
        intents.note(id(0), "add", &attempt(1, 3));
        intents.note(id(1), "add", &attempt(1, 1));
        assert!(intents.drop_call(id(0)) && !intents.drop_call(id(0)) && !intents.drop_call(id(1)));
        assert!(intents.poison(id(0)).is_some(), "it still does not run");
    }
}
