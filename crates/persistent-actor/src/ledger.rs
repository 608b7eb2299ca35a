//! The call ledger: which calls were committed, and what they answered.
//!
//! A call id that is in the ledger is answered from it and never runs again. The ledger is
//! trimmed by what callers acknowledge and capped by count, bytes and age; a call that fell out
//! of it is [`Admission::Expired`], never a silent second run. The one exception: of [foreign](CallId::foreign)
//! ids, only the last [`MAX_FOREIGN_EXPIRED`] that fell out are known.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::call::{CallId, Reply, SessionId};
use crate::codec::Encoded;

/// What the ledger says about a call that arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The call was never committed: run it.
    Fresh,
    /// The call was committed: this is its reply.
    Replay(Reply),
    /// The call lies below what is remembered: whether it ran cannot be said any more.
    Expired,
    /// A call with this id but other arguments was committed.
    IdReused,
}

/// How many [foreign](CallId::foreign) calls are remembered by their ids alone, after their
/// replies went over the [bounds](LedgerLimits): retries of these get [`Admission::Expired`].
/// Beyond that a retry cannot be told from a new call. Applied at checkpoints.
pub const MAX_FOREIGN_EXPIRED: usize = 1 << 16;

/// How much the ledger remembers of calls that no caller has acknowledged.
///
/// Whatever goes over a bound is forgotten oldest first, and answered with
/// [`Admission::Expired`] from then on (foreign ids: see [`MAX_FOREIGN_EXPIRED`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerLimits {
    /// Replies, in bytes. Default 1 GiB.
    pub max_bytes: u64,
    /// Remembered calls. Default 65 536.
    pub max_calls: usize,
    /// Remembered sessions (callers): those stay whose calls were committed last. A session that began
    /// before one that was forgotten, and has no call here yet, counts as forgotten, too. Default
    /// 4 096.
    pub max_sessions: usize,
    /// The age of a remembered call. Default 7 days; applied at checkpoints.
    pub max_age: Duration,
}

impl Default for LedgerLimits {
    fn default() -> Self {
        Self {
            max_bytes: 1 << 30,
            max_calls: 1 << 16,
            max_sessions: 1 << 12,
            max_age: Duration::from_secs(7 * 24 * 60 * 60),
        }
    }
}

/// A remembered call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// A digest of the method and its arguments.
    pub digest: u64,
    /// When it was committed, in milliseconds of Unix time.
    pub at_ms: u64,
    /// The sequence number of the commit.
    pub commit: u64,
    /// What it answered.
    pub reply: Reply,
}

impl Entry {
    /// What the entry counts against [`LedgerLimits::max_bytes`].
    fn bytes(&self) -> u64 {
        const OVERHEAD: u64 = 64;
        self.reply.value.size() + OVERHEAD
    }
}

/// What is remembered of one caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// Calls below this number are in `calls` or forgotten.
    pub floor: u64,
    /// The remembered calls by their number.
    pub calls: BTreeMap<u64, Entry>,
}

/// The committed calls of one actor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    sessions: BTreeMap<SessionId, Session>,
    /// Sessions that began before this time (ms) and are not in `sessions` were forgotten.
    expired_before_ms: u64,
    /// The one that is never forgotten; not a part of what is stored.
    kept: Option<SessionId>,
    /// Commit number to call, oldest first.
    by_age: BTreeMap<u64, CallId>,
    bytes: u64,
}

impl Ledger {
    /// What to do with a call that arrives.
    pub fn admit(&self, id: CallId, digest: u64) -> Admission {
        let Some(session) = self.sessions.get(&id.session) else {
            let forgotten =
                id.session.started_ms() < self.expired_before_ms && self.kept != Some(id.session);
            return if forgotten { Admission::Expired } else { Admission::Fresh };
        };
        match session.calls.get(&id.sequence) {
            Some(entry) if entry.digest == digest => Admission::Replay(entry.reply.clone()),
            Some(_) => Admission::IdReused,
            // The call with the highest number of all lies below no floor.
            None if id.sequence < session.floor || session.floor == u64::MAX => Admission::Expired,
            None => Admission::Fresh,
        }
    }

    /// Whether the id of a [foreign](CallId::foreign) call that is admitted may have been forgotten: as
    /// many are known by their ids alone as are kept.
    pub fn may_have_forgotten(&self, id: CallId) -> bool {
        let foreign = || self.sessions.range(SessionId::FIRST_FOREIGN..);
        let expired = || foreign().filter(|(_, session)| session.calls.is_empty());
        id.session.is_foreign() && expired().nth(MAX_FOREIGN_EXPIRED - 1).is_some()
    }

    /// Remembers a committed call and forgets those of its session below `acked_below`.
    pub fn insert(&mut self, id: CallId, acked_below: u64, entry: Entry) {
        self.raise_floor(id.session, acked_below);
        self.bytes += entry.bytes();
        self.by_age.insert(entry.commit, id);
        let session = self.sessions.entry(id.session).or_default();
        if let Some(old) = session.calls.insert(id.sequence, entry) {
            self.bytes -= old.bytes();
            self.by_age.remove(&old.commit);
        }
    }

    /// Forgets the calls of a session below `floor`.
    pub fn raise_floor(&mut self, session: SessionId, floor: u64) {
        let session = self.sessions.entry(session).or_default();
        session.floor = session.floor.max(floor);
        while let Some(first) = session.calls.first_entry() {
            if *first.key() >= floor {
                break;
            }
            let entry = first.remove();
            self.bytes -= entry.bytes();
            self.by_age.remove(&entry.commit);
        }
    }

    /// Forgets what goes over the bounds of count and bytes, oldest first.
    pub fn trim(&mut self, limits: &LedgerLimits) {
        while self.by_age.len() > limits.max_calls || self.bytes > limits.max_bytes {
            self.forget_oldest();
        }
    }

    /// Forgets what is older than the bound, and whole sessions beyond their number.
    pub fn expire(&mut self, limits: &LedgerLimits, now_ms: u64) {
        let max_age = u64::try_from(limits.max_age.as_millis()).unwrap_or(u64::MAX);
        let oldest = now_ms.saturating_sub(max_age);
        while let Some(id) = self.by_age.values().next() {
            let entry = self.sessions.get(&id.session).and_then(|s| s.calls.get(&id.sequence));
            if entry.is_some_and(|entry| entry.at_ms >= oldest) {
                break;
            }
            self.forget_oldest();
        }
        let too_many = self.of_callers().saturating_sub(limits.max_sessions);
        if too_many > 0 {
            self.forget_sessions(too_many);
        }
        self.drop_foreign(MAX_FOREIGN_EXPIRED);
    }

    /// Whether [`Ledger::expire`] would forget much: an eighth more than the bounds is there.
    pub fn is_expiry_due(&self, limits: &LedgerLimits, now_ms: u64) -> bool {
        let sessions = limits.max_sessions;
        let foreign = limits.max_calls.saturating_add(MAX_FOREIGN_EXPIRED);
        let max_age = u64::try_from(limits.max_age.as_millis()).unwrap_or(u64::MAX);
        let oldest = now_ms.saturating_sub(max_age.saturating_add(max_age / 8));
        let first = self.by_age.values().next().and_then(|id| self.entry(*id));
        let of_callers = self.of_callers();
        of_callers > sessions.saturating_add(sessions / 8)
            || self.sessions.len() - of_callers > foreign.saturating_add(MAX_FOREIGN_EXPIRED / 8)
            || first.is_some_and(|entry| entry.at_ms < oldest)
    }

    /// A session that is never forgotten, however many others come, and is new if it is not known.
    pub fn keep(&mut self, session: Option<SessionId>) {
        self.kept = session;
    }

    /// How many sessions are no foreign calls.
    fn of_callers(&self) -> usize {
        let foreign = self.sessions.range(SessionId::FIRST_FOREIGN..).count();
        self.sessions.len() - foreign
    }

    /// Forgets so many sessions, those first whose last remembered call was committed the longest
    /// time ago.
    fn forget_sessions(&mut self, how_many: usize) {
        let last = |session: &Session| session.calls.values().map(|entry| entry.commit).max();
        let of_callers = self.sessions.range(..SessionId::FIRST_FOREIGN);
        let others = of_callers.filter(|(id, _)| self.kept != Some(**id));
        let mut by_use: Vec<_> = others.map(|(id, session)| (last(session), *id)).collect();
        by_use.sort_unstable();
        for (_, id) in by_use.into_iter().take(how_many) {
            for entry in self.sessions.remove(&id).into_iter().flat_map(|s| s.calls.into_values()) {
                self.bytes -= entry.bytes();
                self.by_age.remove(&entry.commit);
            }
            self.expired_before_ms = self.expired_before_ms.max(id.started_ms() + 1);
        }
    }

    /// Forgets the ids of foreign calls that expired longest ago.
    fn drop_foreign(&mut self, keep: usize) {
        let foreign = self.sessions.range(SessionId::FIRST_FOREIGN..);
        let expired = foreign.filter(|(_, session)| session.calls.is_empty());
        let mut expired: Vec<_> = expired.map(|(id, session)| (session.floor, *id)).collect();
        expired.sort_unstable();
        for (_, id) in expired.iter().take(expired.len().saturating_sub(keep)) {
            self.sessions.remove(id);
        }
    }

    fn forget_oldest(&mut self) {
        let Some((commit, id)) = self.by_age.pop_first() else { return };
        let Some(session) = self.sessions.get_mut(&id.session) else { return };
        // The floor of a foreign call's session only has to be above 0; this one tells its age.
        let forgotten = if id.session.is_foreign() { commit } else { id.sequence };
        session.floor = session.floor.max(forgotten.saturating_add(1));
        if let Some(entry) = session.calls.remove(&id.sequence) {
            self.bytes -= entry.bytes();
        }
    }

    /// The remembered sessions, oldest first.
    pub fn sessions(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.sessions.iter().map(|(id, session)| (*id, session))
    }

    /// A remembered call.
    pub fn entry(&self, id: CallId) -> Option<&Entry> {
        self.sessions.get(&id.session)?.calls.get(&id.sequence)
    }

    /// A session's calls below this number are remembered or forgotten: none of them may run.
    pub fn floor(&self, session: SessionId) -> u64 {
        self.sessions.get(&session).map_or(0, |session| session.floor)
    }

    /// The remembered replies, each with its call and the number of its commit, for filling in
    /// what lies elsewhere. The size of a reply must not change.
    pub(crate) fn replies_mut(&mut self) -> impl Iterator<Item = (CallId, u64, &mut Encoded)> {
        self.sessions.iter_mut().flat_map(|(&session, of_session)| {
            of_session.calls.iter_mut().map(move |(&sequence, entry)| {
                (CallId { session, sequence }, entry.commit, &mut entry.reply.value)
            })
        })
    }

    /// Sessions that began before this time (ms of Unix time) may have been forgotten.
    pub fn expired_before_ms(&self) -> u64 {
        self.expired_before_ms
    }

    /// Sets [`Ledger::expired_before_ms`] when a ledger is loaded.
    pub fn restore_expired_before_ms(&mut self, ms: u64) {
        self.expired_before_ms = self.expired_before_ms.max(ms);
    }

    /// Whether each remembered call has a commit of its own, none of them after `last`.
    pub(crate) fn is_consistent(&self, last: u64) -> bool {
        let calls: usize = self.sessions.values().map(|session| session.calls.len()).sum();
        let newest = self.by_age.last_key_value();
        calls == self.by_age.len() && newest.is_none_or(|(commit, _)| *commit <= last)
    }

    /// How many calls are remembered.
    pub fn len(&self) -> usize {
        self.by_age.len()
    }

    /// Whether no call is remembered.
    pub fn is_empty(&self) -> bool {
        self.by_age.is_empty()
    }

    /// The size of what is remembered, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::ReplyStatus;
    use crate::codec::encode;
    use crate::intent::Intents;
    use crate::outcome::CallOutcome;

    const SESSION: SessionId = SessionId(1000 << 80);

    fn id(sequence: u64) -> CallId {
        CallId { session: SESSION, sequence }
    }

    fn entry(commit: u64) -> Entry {
        let value = encode(&commit).unwrap();
        Entry {
            digest: 7,
            at_ms: commit,
            commit,
            reply: Reply { status: ReplyStatus::Returned, value },
        }
    }

    fn ledger(calls: u64) -> Ledger {
        let mut ledger = Ledger::default();
        for n in 0..calls {
            ledger.insert(id(n), 0, entry(n));
        }
        ledger
    }

    #[test]
    fn a_committed_call_is_answered_with_its_own_reply() {
        let ledger = ledger(3);
        assert_eq!(ledger.admit(id(1), 7), Admission::Replay(entry(1).reply));
        assert_eq!(ledger.admit(id(3), 7), Admission::Fresh);
    }

    #[test]
    fn the_same_id_with_other_arguments_is_refused() {
        assert_eq!(ledger(1).admit(id(0), 8), Admission::IdReused);
    }

    #[test]
    fn an_acknowledged_call_expires_instead_of_running_again() {
        let mut ledger = ledger(3);
        ledger.insert(id(3), 2, entry(3));
        assert_eq!(ledger.admit(id(1), 7), Admission::Expired);
        assert!(matches!(ledger.admit(id(2), 7), Admission::Replay(_)));
        assert_eq!(ledger.len(), 2);
    }

    #[test]
    fn the_call_with_the_highest_number_expires_like_any_other() {
        let mut ledger = Ledger::default();
        ledger.insert(id(u64::MAX), 0, entry(1));
        ledger.trim(&LedgerLimits { max_calls: 0, ..LedgerLimits::default() });
        assert_eq!(ledger.admit(id(u64::MAX), 7), Admission::Expired);
    }

    #[test]
    fn calls_that_cannot_have_been_committed_together_are_noticed() {
        let good = ledger(3);
        assert!(good.is_consistent(2));
        assert!(!good.is_consistent(1), "a call is newer than the last commit");
        for (number, commit) in [(3, 1), (1, 1)] {
            let mut ledger = good.clone();
            ledger.insert(id(number), 0, entry(commit));
            assert!(!ledger.is_consistent(9), "commit {commit} has two calls");
        }
    }

    #[test]
    fn the_oldest_calls_expire_first_when_a_bound_is_passed() {
        let mut ledger = ledger(10);
        ledger.trim(&LedgerLimits { max_calls: 4, ..LedgerLimits::default() });
        assert_eq!(ledger.len(), 4);
        assert_eq!(ledger.admit(id(5), 7), Admission::Expired);
        assert!(matches!(ledger.admit(id(6), 7), Admission::Replay(_)));
        ledger.trim(&LedgerLimits { max_bytes: 0, ..LedgerLimits::default() });
        assert_eq!((ledger.len(), ledger.bytes()), (0, 0));
    }

    #[test]
    fn old_calls_expire_by_age() {
        let mut ledger = ledger(10);
        let limits = LedgerLimits { max_age: Duration::from_millis(3), ..LedgerLimits::default() };
        ledger.expire(&limits, 9);
        assert_eq!(ledger.admit(id(5), 7), Admission::Expired);
        assert!(matches!(ledger.admit(id(6), 7), Admission::Replay(_)));
    }

    #[test]
    fn a_forgotten_session_expires_and_a_younger_one_is_fresh() {
        let mut ledger = ledger(1);
        let younger = SessionId(2000 << 80);
        ledger.insert(CallId { session: younger, sequence: 0 }, 0, entry(1));
        ledger.expire(&LedgerLimits { max_sessions: 1, ..LedgerLimits::default() }, 0);
        assert_eq!(ledger.admit(id(0), 7), Admission::Expired);
        assert_eq!(ledger.admit(id(99), 7), Admission::Expired);
        let new = CallId { session: SessionId(3000 << 80), sequence: 0 };
        assert_eq!(ledger.admit(new, 7), Admission::Fresh);
    }

    #[test]
    fn the_sessions_that_were_used_last_are_remembered_however_early_they_began() {
        let mut ledger = Ledger::default();
        let session = |n: u128| SessionId(n << 80);
        for n in 2..=6 {
            ledger.insert(CallId { session: session(n), sequence: 0 }, 0, entry(n as u64));
        }
        let first = |sequence| CallId { session: session(1), sequence };
        ledger.insert(first(7), 7, entry(100));
        ledger.expire(&LedgerLimits { max_sessions: 3, ..LedgerLimits::default() }, 0);
        assert!(matches!(ledger.admit(first(7), 7), Admission::Replay(_)));
        assert_eq!(ledger.admit(first(8), 7), Admission::Fresh, "it goes on");
        let left: Vec<_> = ledger.sessions().map(|(id, _)| id).collect();
        assert_eq!(left, [session(1), session(5), session(6)]);
        let forgotten = CallId { session: session(4), sequence: 0 };
        assert_eq!(ledger.admit(forgotten, 7), Admission::Expired);
    }

    #[test]
    fn the_session_that_is_kept_is_not_forgotten_and_is_new_before_its_first_call() {
        let mut ledger = Ledger::default();
        let kept = SessionId(1 << 80);
        ledger.keep(Some(kept));
        let limits = LedgerLimits { max_sessions: 2, ..LedgerLimits::default() };
        let others = |ledger: &mut Ledger, commits: std::ops::Range<u64>| {
            for commit in commits {
                let session = SessionId(u128::from(commit) << 80);
                ledger.insert(CallId { session, sequence: 0 }, 0, entry(commit));
            }
            ledger.expire(&limits, 0);
        };
        others(&mut ledger, 2..9);
        let call = CallId { session: kept, sequence: 0 };
        assert_eq!(ledger.admit(call, 7), Admission::Fresh, "it began before all others");
        ledger.insert(call, 0, entry(9));
        others(&mut ledger, 10..20);
        assert!(matches!(ledger.admit(call, 7), Admission::Replay(_)));
        assert_eq!(ledger.of_callers(), 2);
    }

    #[test]
    fn foreign_calls_are_a_set_that_expires_loudly() {
        let mut ledger = ledger(2);
        let foreign = |n: u8| CallId::foreign([n; 10]);
        for n in 0..10 {
            ledger.insert(foreign(9 - n), 0, entry(100 + u64::from(n)));
        }
        let limits = LedgerLimits { max_calls: 4, max_sessions: 1, ..LedgerLimits::default() };
        ledger.trim(&limits);
        ledger.expire(&limits, 0);
        ledger.drop_foreign(3);
        assert!(matches!(ledger.admit(foreign(0), 7), Admission::Replay(_)), "the last committed");
        assert_eq!(ledger.admit(foreign(4), 7), Admission::Expired);
        assert_eq!(ledger.admit(foreign(6), 7), Admission::Expired);
        assert_eq!(ledger.admit(foreign(7), 7), Admission::Fresh, "beyond the last bound");
        assert_eq!(ledger.admit(foreign(77), 7), Admission::Fresh, "new ones are admitted");
        assert_eq!(ledger.admit(id(1), 7), Admission::Expired, "and the caller's session stays");
        let younger = CallId { session: SessionId(2000 << 80), sequence: 0 };
        assert_eq!(ledger.admit(younger, 7), Admission::Fresh);
    }

    #[test]
    fn a_foreign_id_that_may_have_been_forgotten_is_told_from_a_new_one() {
        let foreign = |n: usize| {
            let mut id = [1; 10];
            id[..8].copy_from_slice(&n.to_be_bytes());
            CallId::foreign(id)
        };
        let mut ledger = Ledger::default();
        let none = LedgerLimits { max_calls: 0, ..LedgerLimits::default() };
        for n in 1..MAX_FOREIGN_EXPIRED {
            ledger.insert(foreign(n), 0, entry(n as u64));
        }
        ledger.trim(&none);
        assert!(!ledger.may_have_forgotten(foreign(0)), "one less than are kept");
        ledger.insert(foreign(MAX_FOREIGN_EXPIRED), 0, entry(1 << 19));
        ledger.trim(&none);
        ledger.insert(foreign(MAX_FOREIGN_EXPIRED + 1), 0, entry(1 << 20));
        assert!(ledger.may_have_forgotten(foreign(0)));
        assert!(!ledger.may_have_forgotten(id(0)), "of these the order tells");
        let outcome = |id| CallOutcome::of(id, &ledger, &Intents::default());
        assert_eq!(outcome(foreign(0)), CallOutcome::Expired);
        assert_eq!(outcome(id(0)), CallOutcome::NotCommitted);
        assert!(matches!(outcome(foreign(MAX_FOREIGN_EXPIRED + 1)), CallOutcome::Committed(_)));
    }

    #[test]
    fn an_out_of_order_commit_does_not_expire_a_lower_call() {
        let mut ledger = Ledger::default();
        ledger.insert(id(5), 0, entry(0));
        assert_eq!(ledger.admit(id(4), 7), Admission::Fresh);
    }
}
