//! [`ActorState`]: one actor's durable attributes and committed calls.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::call::{CallId, Reply, unix_ms};
use crate::codec::{Encoded, decode, encode};
use crate::durability::Durability;
use crate::error::{OpenError, StateError, StoreError};
use crate::intent::{self, Attempt, Intent, Intents};
use crate::ledger::Admission;
use crate::options::Options;
use crate::outcome::CallOutcome;
use crate::store::{CallRecord, Member, Record, Store, View, Written};
use crate::testing::Switches;

/// One actor's durable attributes, with the ledger of the calls that were committed.
///
/// ```
/// use persistent_actor::{ActorState, Durability};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("visits");
/// let mut state = ActorState::options().durability(Durability::Process).open(&path)?;
/// let visits: u64 = state.get_or_init("visits", || 0)?;
/// state.set("visits", &(visits + 1))?;
/// drop(state);
///
/// let state = ActorState::open(&path)?;
/// assert_eq!(state.get::<u64>("visits")?, Some(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ActorState {
    view: View,
    store: Option<Box<dyn Store>>,
    options: Options,
    /// What the attribute of that name says.
    intents: Intents,
}

impl ActorState {
    pub(crate) fn new(
        view: View,
        store: Option<Box<dyn Store>>,
        options: Options,
    ) -> Result<Self, OpenError> {
        let intents = view.intents().map_err(|source| OpenError::Attribute {
            attribute: intent::ATTRIBUTE.to_owned(),
            source,
        })?;
        Ok(Self { view, store, options, intents })
    }

    /// Opens the state in the directory `path`, or makes it; a commit survives power loss.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Options::default().open(path)
    }

    /// Options to open a state with.
    pub fn options() -> Options {
        Options::default()
    }

    /// The committed value of an attribute, `None` when it was never set.
    ///
    /// # Errors
    /// [`StateError::Value`] if the value is of another type.
    pub fn get<T: DeserializeOwned>(&self, attribute: &str) -> Result<Option<T>, StateError> {
        let Some(value) = self.view.attributes.get(attribute) else { return Ok(None) };
        decode(value).map(Some).map_err(|source| value_error(attribute, source))
    }

    /// The committed value of an attribute; when it was never set, `default` is committed and
    /// returned.
    ///
    /// # Errors
    /// [`StateError::Value`] if the value is of another type or cannot be encoded,
    /// [`StateError::Store`] if the commit fails.
    pub fn get_or_init<T: Serialize + DeserializeOwned>(
        &mut self,
        attribute: &str,
        default: impl FnOnce() -> T,
    ) -> Result<T, StateError> {
        if let Some(value) = self.get(attribute)? {
            return Ok(value);
        }
        let value = default();
        self.set(attribute, &value)?;
        Ok(value)
    }

    /// Commits one attribute.
    ///
    /// # Errors
    /// As for [`ActorState::update`].
    pub fn set<T: Serialize>(&mut self, attribute: &str, value: &T) -> Result<(), StateError> {
        let value = encode(value).map_err(|source| value_error(attribute, source))?;
        self.update([(attribute, value)])
    }

    /// Commits several attributes, all or none; values come from [`codec::encode`](crate::codec::encode).
    /// Of an attribute that is named twice, the last value counts.
    ///
    /// # Errors
    /// [`StateError::Store`] if the commit fails: then the state must be reopened to know
    /// whether it took place. [`StateError::Reserved`] if a name begins with
    /// [`RESERVED_PREFIX`](crate::RESERVED_PREFIX); nothing is committed then.
    pub fn update<N: Into<String>>(
        &mut self,
        changes: impl IntoIterator<Item = (N, Encoded)>,
    ) -> Result<(), StateError> {
        let changes: Vec<(String, Encoded)> =
            changes.into_iter().map(|(name, value)| (name.into(), value)).collect();
        if let Some(attribute) = reserved(&changes) {
            return Err(StateError::Reserved { attribute });
        }
        self.commit(None, changes)?;
        self.maintain()?;
        Ok(())
    }

    /// Whether a call is new, was committed before, or cannot be told apart any more.
    pub fn admit(&self, id: CallId, digest: u64) -> Admission {
        if !self.options.switches.dedup {
            return Admission::Fresh;
        }
        self.view.ledger.admit(id, digest)
    }

    /// Commits a call in one atomic record: its identity, its reply and what it changed.
    ///
    /// Attributes whose value is the committed one are left out of the record.
    ///
    /// # Errors
    /// [`StoreError::Reserved`] if a name begins with [`RESERVED_PREFIX`](crate::RESERVED_PREFIX);
    /// nothing is committed then. For the others see [`StoreError`]; the state must be reopened.
    pub fn commit_call(
        &mut self,
        id: CallId,
        acked_below: u64,
        digest: u64,
        reply: Reply,
        mut changes: Vec<(String, Encoded)>,
    ) -> Result<(), StoreError> {
        if let Some(attribute) = reserved(&changes) {
            return Err(StoreError::Reserved { attribute });
        }
        let call = CallRecord { id, acked_below, digest, at_ms: unix_ms(), reply };
        if self.intents.is_empty() {
            return self.commit(Some(call), changes);
        }
        let mut intents = self.intents.clone();
        if intents.finish(id, acked_below) {
            changes.push(intents_change(&intents)?);
        }
        self.commit(Some(call), changes)?;
        self.intents = intents;
        Ok(())
    }

    /// Notes, as durably as any commit, that a call is about to be tried again; or parks it, if
    /// the actor died of it too often. Gives the intent of a call that must not run.
    ///
    /// A call that the ledger knows, or has forgotten, needs no intent: it does not run.
    ///
    /// # Errors
    /// See [`StoreError`]; the state must be reopened.
    pub fn note_attempt(
        &mut self,
        id: CallId,
        method: &str,
        attempt: &Attempt,
    ) -> Result<Option<Intent>, StoreError> {
        let known = self.admit(id, 0) != Admission::Fresh;
        if !known && self.intents.poison(id).is_none() {
            self.change_intents(|intents| {
                intents.note(id, method, attempt);
                true
            })?;
        }
        Ok(self.intents.poison(id).cloned())
    }

    /// Lets a parked call run again when its caller sends it again: forgets the deaths. `false` if
    /// it is not parked.
    ///
    /// # Errors
    /// See [`StoreError`]; the state must be reopened.
    pub fn retry_call(&mut self, id: CallId) -> Result<bool, StoreError> {
        if self.intents.poison(id).is_none() {
            return Ok(false);
        }
        self.forget_intent(id)
    }

    /// Decides that a parked call never runs again. `false` if it is not parked.
    ///
    /// # Errors
    /// See [`StoreError`]; the state must be reopened.
    pub fn drop_call(&mut self, id: CallId) -> Result<bool, StoreError> {
        self.change_intents(|intents| intents.drop_call(id))
    }

    pub(crate) fn forget_intent(&mut self, id: CallId) -> Result<bool, StoreError> {
        if self.intents.is_empty() {
            return Ok(false);
        }
        self.change_intents(|intents| intents.finish(id, 0))
    }

    /// Commits the intents if `change` says that it changed them.
    fn change_intents(
        &mut self,
        change: impl FnOnce(&mut Intents) -> bool,
    ) -> Result<bool, StoreError> {
        let mut intents = self.intents.clone();
        if !change(&mut intents) {
            return Ok(false);
        }
        self.commit(None, vec![intents_change(&intents)?])?;
        self.intents = intents;
        Ok(true)
    }

    /// Calls that the actor died of.
    pub fn intents(&self) -> &Intents {
        &self.intents
    }

    /// What became of a call. [`store::outcome`](crate::store::outcome()) tells it of a state
    /// that is not open.
    pub fn outcome(&self, id: CallId) -> CallOutcome {
        CallOutcome::of(id, &self.view.ledger, &self.intents)
    }

    fn commit(
        &mut self,
        call: Option<CallRecord>,
        mut changes: Vec<(String, Encoded)>,
    ) -> Result<(), StoreError> {
        keep_last(&mut changes);
        let committed = &self.view.attributes;
        changes.retain(|(name, value)| committed.get(name).is_none_or(|old| !old.is_same(value)));
        if call.is_none() && changes.is_empty() {
            return Ok(());
        }
        let record = Record { sequence: self.view.sequence + 1, call, changes };
        if let Some(store) = &mut self.store {
            store.commit(&record, &self.view)?;
        }
        self.view.apply(record, &self.options.limits);
        Ok(())
    }

    /// Whether this is still the newest opener of the state. To be asked before answering from
    /// memory, which may be old otherwise; commits ask by themselves.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] if it is not; the state must be reopened.
    pub fn check(&mut self) -> Result<(), StoreError> {
        match &mut self.store {
            Some(store) => store.check(),
            None => Ok(()),
        }
    }

    /// The random number that the state got when it was made, which tells it from another one that
    /// once was at the same path; `None` in memory and in Redis.
    pub fn state_id(&self) -> Option<u128> {
        self.store.as_ref().and_then(|store| store.state_id())
    }

    /// Whether [`ActorState::maintain`] has anything to do.
    pub fn is_maintenance_due(&self) -> bool {
        self.store.as_ref().is_some_and(|store| store.is_maintenance_due(&self.view))
    }

    /// From now on leaves the sync of small commits to a group journal, as this member of it, or
    /// with `None` syncs each commit itself again. Without effect below [`Durability::Power`], and
    /// where no group journal lies beside the state.
    ///
    /// In a group, a commit counts as durable only when what [`ActorState::take_written`] gives
    /// after it is: until then, nothing that follows from it may leave this process.
    ///
    /// # Errors
    /// See [`StoreError`]; the state must be reopened.
    pub fn set_group(&mut self, member: Option<Member>) -> Result<(), StoreError> {
        match &mut self.store {
            Some(store) => store.set_group(member),
            None => Ok(()),
        }
    }

    /// What the last commit has left to the group journal. `None` if it is durable without that,
    /// or was asked for before.
    pub fn take_written(&mut self) -> Option<Written<'_>> {
        self.store.as_mut()?.take_written()
    }

    /// Makes the state whole without its group journal, if it has one. To be called before a
    /// state is dropped that was in a group; not needed for any other.
    ///
    /// # Errors
    /// See [`StoreError`]; the state then still needs the group journal.
    pub fn close(mut self) -> Result<(), StoreError> {
        match &mut self.store {
            Some(store) => store.close(),
            None => Ok(()),
        }
    }

    /// Does the work that may wait until a reply has left: checkpoints, giving space back.
    ///
    /// # Errors
    /// See [`StoreError`]; the state must be reopened.
    pub fn maintain(&mut self) -> Result<(), StoreError> {
        match &mut self.store {
            Some(store) => store.maintain(&mut self.view),
            None => Ok(()),
        }
    }

    /// The committed attributes with their encoded values, by name.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &Encoded)> {
        self.view.named_attributes()
    }

    /// The encoded value of one attribute.
    pub fn encoded(&self, attribute: &str) -> Option<&Encoded> {
        self.view.attributes.get(attribute)
    }

    /// All that is committed.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The durability of commits.
    pub fn durability(&self) -> Durability {
        self.options.durability
    }

    /// The epoch under which this state is open; 0 with [`Durability::None`].
    pub fn epoch(&self) -> u64 {
        self.store.as_ref().map_or(0, |store| store.epoch())
    }

    /// The number of the last commit; 0 when there was none.
    pub fn sequence(&self) -> u64 {
        self.view.sequence
    }

    pub(crate) fn switches(&self) -> Switches {
        self.options.switches
    }
}

/// Whether an attribute's name is one of the library's own.
pub(crate) fn is_reserved(name: &str) -> bool {
    name.starts_with(intent::RESERVED_PREFIX)
}

/// The first of the names that are the library's own.
fn reserved(changes: &[(String, Encoded)]) -> Option<String> {
    changes.iter().map(|(name, _)| name).find(|name| is_reserved(name)).cloned()
}

fn intents_change(intents: &Intents) -> Result<(String, Encoded), StoreError> {
    let value = intents.encode().map_err(|source| StoreError::Unloadable {
        attribute: intent::ATTRIBUTE.to_owned(),
        reason: source.to_string(),
    })?;
    Ok((intent::ATTRIBUTE.to_owned(), value))
}

/// Of several values for one attribute the last counts; a record holds an attribute once.
fn keep_last(changes: &mut Vec<(String, Encoded)>) {
    if changes.len() < 2 {
        return;
    }
    changes.sort_by(|(a, _), (b, _)| a.cmp(b));
    changes.dedup_by(|later, earlier| {
        let same = later.0 == earlier.0;
        if same {
            std::mem::swap(later, earlier);
        }
        same
    });
}

fn value_error(attribute: &str, source: crate::codec::CodecError) -> StateError {
    StateError::Value { attribute: attribute.to_owned(), source }
}
