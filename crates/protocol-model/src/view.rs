//! [`View`]: an actor's committed state and its ledger, and what a record does to them.

use std::collections::BTreeMap;
use std::fmt;

use crate::mutation::Mutation;

/// A call of one caller, as the caller sees it: what must take effect once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Call {
    /// Who calls.
    pub caller: u8,
    /// The number of the call among the caller's, from 0.
    pub number: u8,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", char::from(b'a' + self.caller), self.number)
    }
}

/// What the protocol tells calls apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId {
    /// The caller's session and the number in it.
    pub call: Call,
    /// Always 0, save where a mutation gives a call that is sent again a new id.
    pub attempt: u8,
}

/// A call on its way to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// Its identity.
    pub id: CallId,
    /// The caller has the replies of all its calls below this number.
    pub acked_below: u8,
}

/// What is committed of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// The call.
    pub frame: Frame,
    /// Its reply: the length of the history when it ran.
    pub reply: u8,
}

/// How a call ended, as the caller learns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The reply of the execution.
    Reply(u8),
    /// Whether it ran cannot be said any more.
    Expired,
}

/// The actor's state and its ledger.
///
/// The state is the history of all effects, so that an effect that is lost, doubled or out of
/// order can be seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct View {
    /// The calls in the order in which they took effect.
    pub history: Vec<Call>,
    floors: BTreeMap<u8, u8>,
    replies: BTreeMap<CallId, u8>,
}

impl View {
    /// What the ledger answers, or `None` for a call that must run.
    pub fn admit(&self, id: CallId, mutation: Option<Mutation>) -> Option<Answer> {
        if mutation == Some(Mutation::NoDedup) {
            return None;
        }
        let floor = self.floors.get(&id.call.caller).copied().unwrap_or(0);
        match self.replies.get(&id) {
            Some(reply) => Some(Answer::Reply(*reply)),
            None if id.call.number < floor && mutation != Some(Mutation::ForgetFloor) => {
                Some(Answer::Expired)
            }
            None => None,
        }
    }

    /// The record of a call that runs now.
    pub fn run(&self, frame: Frame) -> Record {
        Record { frame, reply: self.history.len() as u8 }
    }

    /// Takes a record over.
    pub fn apply(&mut self, record: &Record, mutation: Option<Mutation>) {
        let id = record.frame.id;
        self.history.push(id.call);
        self.replies.insert(id, record.reply);
        let floor = match mutation {
            Some(Mutation::TrimWithoutAck) => id.call.number,
            _ => record.frame.acked_below,
        };
        if floor > 0 {
            let caller = id.call.caller;
            let old = self.floors.entry(caller).or_default();
            *old = floor.max(*old);
            self.replies.retain(|id, _| id.call.caller != caller || id.call.number >= floor);
        }
    }
}
