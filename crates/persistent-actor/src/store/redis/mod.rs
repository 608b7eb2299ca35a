//! [`RedisStore`]: a state that outlives the machine, in a Redis server (`docs/format-redis.md`).
//!
//! A commit is one script on the server: it checks the epoch and applies the record, or does
//! nothing. While the server cannot be reached, a commit waits and tries again; the same record
//! is never applied twice.

mod address;
mod link;
mod scripts;
mod value;

use std::collections::BTreeSet;
use std::fmt;
use std::io;

use redis::{Cmd, FromRedisValue, Value};

use self::address::Address;
use self::link::{Link, Trouble};
use super::{CallRecord, Record, Store, View};
use crate::call::{CallId, SessionId, unix_ms};
use crate::durability::Durability;
use crate::error::{OpenError, StoreError};
use crate::ledger::{Entry, LedgerLimits};
use crate::options::Options;

/// After how many commits calls that the ledger has forgotten are removed from the server.
const COMMITS_PER_CLEANUP: u64 = 256;

/// A [`Store`] in a Redis server.
pub struct RedisStore {
    address: Address,
    link: Link,
    epoch: u64,
    limits: LedgerLimits,
    /// What the server holds.
    calls: BTreeSet<CallId>,
    floors: BTreeSet<SessionId>,
    cleaned_at: u64,
    poison: Option<String>,
}

impl RedisStore {
    /// Opens the state that `url` names and becomes its writer; whoever was it before is fenced.
    /// Also gives what is committed.
    ///
    /// At [`Durability::Power`] the server must sync before it answers (`appendonly yes`,
    /// `appendfsync always`).
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(url: &str, options: &Options) -> Result<(Self, View), OpenError> {
        let address = Address::parse(url).map_err(|source| OpenError::Unreadable {
            operation: "use",
            path: "the Redis URL".into(),
            source,
        })?;
        let unreadable =
            |operation, source| OpenError::Unreadable { operation, path: address.path(), source };
        let mut link = Link::new(address.connection.clone(), address.patience);
        if options.durability == Durability::Power {
            link.check_settings().map_err(|source| unreadable("use", source))?;
        }
        let mut command = script(scripts::OPEN, &address.name);
        command.arg(u8::from(options.create));
        let answer = link.run(&command).map_err(|error| unreadable("open", error.into()))?;
        let (epoch, view, calls, floors) = read_answer(&address, answer)?;
        let limits = options.limits.clone();
        let (cleaned_at, poison) = (view.sequence, None);
        let mut view = view;
        view.ledger.keep(options.session);
        view.ledger.trim(&limits);
        view.ledger.expire(&limits, unix_ms());
        let store = Self { address, link, epoch, limits, calls, floors, cleaned_at, poison };
        Ok((store, view))
    }

    fn try_commit(&mut self, record: &Record, view: &View) -> Result<(), StoreError> {
        check_sizes(record)?;
        let acknowledged = record.call.as_ref().map(|call| self.acknowledged_by(call));
        let acknowledged = acknowledged.unwrap_or_default();
        let command = self.commit_command(record, view, &acknowledged);
        self.expect_ok("commit to", &command)?;
        for id in &acknowledged {
            self.calls.remove(id);
        }
        if let Some(call) = &record.call {
            self.calls.insert(call.id);
            self.floors.extend((call.acked_below > 0).then_some(call.id.session));
        }
        Ok(())
    }

    /// Calls on the server whose replies their caller has, as `call` says.
    fn acknowledged_by(&self, call: &CallRecord) -> Vec<CallId> {
        let numbered = |sequence| CallId { sequence, ..call.id };
        self.calls.range(numbered(0)..numbered(call.acked_below)).copied().collect()
    }

    fn commit_command(&self, record: &Record, view: &View, acknowledged: &[CallId]) -> Cmd {
        let mut command = script(scripts::COMMIT, &self.address.name);
        command.arg(self.epoch).arg(record.sequence);
        put_ids(&mut command, acknowledged);
        command.arg(record.changes.len());
        for (name, value) in &record.changes {
            command.arg(name).arg(value::encode_value(value));
        }
        match &record.call {
            Some(call) => put_call(&mut command, call, record.sequence, view),
            None => _ = command.arg(0).arg(0),
        }
        command
    }

    /// Removes from the server what the ledger has forgotten.
    fn try_maintain(&mut self, view: &mut View) -> Result<(), StoreError> {
        if !self.is_maintenance_due(view) {
            return Ok(());
        }
        self.cleaned_at = view.sequence;
        view.ledger.expire(&self.limits, unix_ms());
        let ledger = &view.ledger;
        let forgotten: Vec<CallId> =
            self.calls.iter().filter(|id| ledger.entry(**id).is_none()).copied().collect();
        let sessions: Vec<_> = ledger.sessions().filter(|(_, session)| session.floor > 0).collect();
        let known: BTreeSet<SessionId> = sessions.iter().map(|(id, _)| *id).collect();
        let gone: Vec<SessionId> = self.floors.difference(&known).copied().collect();
        let mut command = script(scripts::FORGET, &self.address.name);
        command.arg(self.epoch).arg(ledger.expired_before_ms()).arg(sessions.len());
        for (id, session) in &sessions {
            command.arg(id.to_string()).arg(session.floor);
        }
        put_ids(&mut command, &forgotten);
        put_ids(&mut command, &gone);
        self.expect_ok("tidy up", &command)?;
        self.calls.retain(|id| ledger.entry(*id).is_some());
        self.floors = known;
        Ok(())
    }

    fn expect_ok(&mut self, operation: &'static str, command: &Cmd) -> Result<(), StoreError> {
        let path = self.address.path();
        let io = |reason: String| StoreError::Io { operation, path: path.clone(), reason };
        let answer = self.link.run(command).map_err(|trouble| io(trouble.to_string()))?;
        match String::from_redis_value(answer).as_deref() {
            Ok("ok") => Ok(()),
            Ok("fenced") => Err(StoreError::Fenced { epoch: self.epoch, path }),
            Ok("missing") => Err(io("the server does not have the state any more".to_owned())),
            other => Err(io(format!("the server's state is not the one read ({other:?})"))),
        }
    }

    fn guarded(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if let Some(first) = &self.poison {
            return Err(StoreError::Poisoned { first: first.clone() });
        }
        work(self).inspect_err(|error| {
            if !matches!(error, StoreError::TooLarge { .. }) {
                self.poison = Some(error.to_string());
            }
        })
    }
}

impl Store for RedisStore {
    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn commit(&mut self, record: &Record, view: &View) -> Result<(), StoreError> {
        self.guarded(|store| store.try_commit(record, view))
    }

    fn check(&mut self) -> Result<(), StoreError> {
        self.guarded(|store| {
            let mut command = script(scripts::CHECK, &store.address.name);
            command.arg(store.epoch);
            store.expect_ok("check", &command)
        })
    }

    fn is_maintenance_due(&self, view: &View) -> bool {
        view.sequence >= self.cleaned_at + COMMITS_PER_CLEANUP
    }

    fn maintain(&mut self, view: &mut View) -> Result<(), StoreError> {
        self.guarded(|store| store.try_maintain(view))
    }
}

fn script(text: &str, name: &str) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(text).arg(4);
    for part in ["state", "attributes", "calls", "floors"] {
        command.arg(format!("persistent-actor:{{{name}}}:{part}"));
    }
    command
}

/// Calls or sessions: how many, then each.
fn put_ids<T: fmt::Display>(command: &mut Cmd, ids: &[T]) {
    command.arg(ids.len());
    for id in ids {
        command.arg(id.to_string());
    }
}

/// One call with its entry, and one floor or none.
fn put_call(command: &mut Cmd, call: &CallRecord, commit: u64, view: &View) {
    let CallRecord { id, acked_below, digest, at_ms, .. } = *call;
    let entry = Entry { digest, at_ms, commit, reply: call.reply.clone() };
    command.arg(1).arg(id.to_string()).arg(value::encode_entry(&entry));
    if acked_below == 0 {
        command.arg(0);
        return;
    }
    // Calls that nobody has acknowledged may have been forgotten: these must not run again.
    let floor = acked_below.max(view.ledger.floor(id.session));
    command.arg(1).arg(id.session.to_string()).arg(floor);
}

fn check_sizes(record: &Record) -> Result<(), StoreError> {
    let reply = record.call.as_ref().map(|call| ("the reply".to_owned(), &call.reply.value));
    let attributes =
        record.changes.iter().map(|(name, value)| (format!("attribute {name:?}"), value));
    for (what, value) in attributes.chain(reply) {
        if value.size() > value::MAX_VALUE {
            let (size, limit) = (value.size(), value::MAX_VALUE);
            return Err(StoreError::TooLarge { what, size, limit });
        }
    }
    Ok(())
}

type Opened = (u64, View, BTreeSet<CallId>, BTreeSet<SessionId>);
type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

fn read_answer(address: &Address, answer: Value) -> Result<Opened, OpenError> {
    let path = address.path();
    let damaged = |reason: String| OpenError::Damaged { path: path.clone(), offset: 0, reason };
    let not_understood = |_| damaged("the server's answer is not one of this script's".to_owned());
    let items = Vec::<Value>::from_redis_value(answer).map_err(not_understood)?;
    let kind = items.first().cloned().unwrap_or(Value::Nil);
    match String::from_redis_value(kind).map_err(not_understood)?.as_str() {
        "open" => {}
        "missing" => return Err(OpenError::NotFound { path }),
        "newer" => {
            let found = items.into_iter().nth(1).map(u32::from_redis_value);
            let found = found.and_then(Result::ok).unwrap_or(u32::MAX);
            return Err(OpenError::NewerVersion { path, found, supported: 1 });
        }
        _ => return Err(OpenError::NotAState { path, found: "keys of something else".to_owned() }),
    }
    let mut items = items.into_iter();
    items.next();
    let rest = Value::Array(items.collect());
    let parts = <(u64, u64, u64, Pairs, Pairs, Pairs)>::from_redis_value(rest);
    let (epoch, sequence, expired, attributes, calls, floors) = parts.map_err(not_understood)?;
    let wrong = |malformed: super::layout::Malformed| damaged(malformed.0);
    let mut view = View { sequence, ..View::default() };
    view.ledger.restore_expired_before_ms(expired);
    for (name, value) in attributes {
        let name = String::from_utf8(name).map_err(|error| damaged(error.to_string()))?;
        view.attributes.insert(name, value::decode_value(&value).map_err(wrong)?);
    }
    // Before the calls: there may be some below their session's floor, and these are remembered.
    let mut sessions = BTreeSet::new();
    for (session, floor) in floors {
        let (session, floor) = value::decode_floor(&session, &floor).map_err(wrong)?;
        view.ledger.raise_floor(session, floor);
        sessions.insert(session);
    }
    let mut ids = BTreeSet::new();
    for (id, entry) in calls {
        let id = value::decode_call(&id).map_err(wrong)?;
        view.ledger.insert(id, 0, value::decode_entry(&entry).map_err(wrong)?);
        ids.insert(id);
    }
    view.check().map_err(|reason| damaged(reason.to_owned()))?;
    Ok((epoch, view, ids, sessions))
}

/// For the fuzz targets: the value and the remembered call that these bytes are, if they are
/// one, encoded again.
#[cfg(fuzzing)]
pub(super) fn read_and_encode(bytes: &[u8]) -> [Option<Vec<u8>>; 2] {
    let value = value::decode_value(bytes).ok();
    let entry = value::decode_entry(bytes).ok();
    [value.map(|value| value::encode_value(&value)), entry.map(|entry| value::encode_entry(&entry))]
}

impl From<Trouble> for io::Error {
    fn from(trouble: Trouble) -> Self {
        io::Error::other(trouble.to_string())
    }
}
