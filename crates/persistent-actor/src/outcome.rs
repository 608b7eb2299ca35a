//! [`CallOutcome`]: what became of a call.

use crate::call::{CallId, Reply};
use crate::intent::{Intent, Intents};
use crate::ledger::{Admission, Ledger};

/// What became of a call, as the state of its actor tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallOutcome<R = Reply> {
    /// It was committed, and this is its reply: what the method returned, its error, or its
    /// panic.
    Committed(R),
    /// It was not committed: nothing of it is in the state. If it is sent again, it runs.
    ///
    /// Of a call that leaves no record (of a method without `#[safe_state]`) nothing else is
    /// ever said.
    NotCommitted,
    /// It was not committed, and does not run any more: the actor died of it too often.
    Parked {
        /// How often.
        deaths: u32,
        /// How it died the last time.
        last: String,
    },
    /// It lies beyond what the ledger remembers: whether it was committed cannot be said.
    Expired,
}

impl CallOutcome {
    pub(crate) fn of(id: CallId, ledger: &Ledger, intents: &Intents) -> Self {
        if let Some(entry) = ledger.entry(id) {
            return Self::Committed(entry.reply.clone());
        }
        if let Some(Intent { deaths, last, .. }) = intents.poison(id) {
            return Self::Parked { deaths: *deaths, last: last.clone() };
        }
        match ledger.admit(id, 0) {
            // It may have been, and its id forgotten.
            Admission::Fresh if ledger.may_have_forgotten(id) => Self::Expired,
            Admission::Fresh => Self::NotCommitted,
            // A call that is remembered was found above.
            Admission::Expired | Admission::Replay(_) | Admission::IdReused => Self::Expired,
        }
    }
}

impl<R> CallOutcome<R> {
    /// The same with the reply converted.
    pub fn map<S>(self, convert: impl FnOnce(R) -> S) -> CallOutcome<S> {
        match self {
            Self::Committed(reply) => CallOutcome::Committed(convert(reply)),
            Self::NotCommitted => CallOutcome::NotCommitted,
            Self::Parked { deaths, last } => CallOutcome::Parked { deaths, last },
            Self::Expired => CallOutcome::Expired,
        }
    }
}
