//! [`Instance`]: one actor in memory, together with its state.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::actor::{Actor, Method, Outcome};
use crate::call::{CallId, Reply, ReplyStatus};
use crate::codec::{CodecError, Encoded, encode};
use crate::durability::Durability;
use crate::error::{OpenError, StoreError};
use crate::intent::{Attempt, Intent};
use crate::ledger::Admission;
use crate::options::Options;
use crate::outcome::CallOutcome;
use crate::state::ActorState;
use crate::store::{Member, Written};

/// A call to an [`Instance`].
#[derive(Clone, Debug)]
pub struct Call {
    /// The call's identity, the same in every retry.
    pub id: CallId,
    /// The caller has the replies of all its calls below this number.
    pub acked_below: u64,
    /// The method, as an index into [`Actor::METHODS`].
    pub method: usize,
    /// The arguments, an encoded tuple.
    pub args: Encoded,
}

/// How far a call has come; see [`Instance::call`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The method is about to run.
    Run,
    /// The method has run; its changes are about to be committed.
    Commit,
    /// The changes are committed; the reply is about to leave.
    Reply,
}

/// The answer to a call.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The method ran now.
    Ran(Reply),
    /// The call was committed earlier: this is the reply of that one execution.
    Replayed(Reply),
    /// The call was refused; nothing ran, or nothing of it was kept.
    Rejected(Rejection),
}

/// Why a call was refused.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// The actor has no such method.
    #[error("{actor} has no method number {method}")]
    UnknownMethod {
        /// The actor's type.
        actor: &'static str,
        /// The number that was called.
        method: usize,
    },
    /// The arguments do not fit the method, or its result or state cannot be encoded.
    #[error("{actor}::{method}: {reason}")]
    Codec {
        /// The actor's type.
        actor: &'static str,
        /// The method.
        method: &'static str,
        /// What the codec said.
        reason: String,
    },
    /// The call is so old that whether it ran cannot be said any more.
    #[error("call {0} has expired from the ledger: whether it ran cannot be said any more")]
    LedgerExpired(CallId),
    /// A call with this id and other arguments was committed.
    #[error("call id {0} was used before with other arguments")]
    IdReused(CallId),
    /// The actor died of this call too often; it does not run any more.
    #[error("call {call} was given up: the actor died of it {deaths} times, last with {last}")]
    Poison {
        /// The call.
        call: CallId,
        /// How often the actor died of it.
        deaths: u32,
        /// How it died the last time.
        last: String,
    },
}

/// What could not be loaded, and why.
type Unloadable = (&'static str, CodecError);

/// One actor in memory, its durable attributes kept in an [`ActorState`].
///
/// A call of a `#[safe_state]` method commits its attributes, its reply and its identity in one
/// record before it answers. When the method fails or panics, memory goes back to the last
/// committed state (a panic also resets what is not durable, as a restart would).
pub struct Instance<A> {
    actor: A,
    state: ActorState,
    make: Box<dyn Fn() -> Result<A, CodecError>>,
}

impl<A: Actor> Instance<A> {
    /// An actor with its committed attributes loaded; attributes that were never committed keep
    /// the value from `make`, and are committed.
    ///
    /// # Errors
    /// [`OpenError::Attribute`] if a value does not fit, [`OpenError::Store`] if the first
    /// commit fails.
    pub fn open(
        state: ActorState,
        make: impl Fn() -> Result<A, CodecError> + 'static,
    ) -> Result<Self, OpenError> {
        let actor = make().map_err(in_actor::<A>)?;
        Self::with(actor, state, make)
    }

    /// Opens the state at `path`, and an actor on it as [`Instance::open`] does. A state that is
    /// made now begins with the actor's attributes, so that they take no commit of their own.
    ///
    /// # Errors
    /// As for [`Instance::open`], and see [`OpenError`].
    pub fn open_at(
        options: Options,
        path: impl AsRef<Path>,
        make: impl Fn() -> Result<A, CodecError> + 'static,
    ) -> Result<Self, OpenError> {
        let actor = make().map_err(in_actor::<A>)?;
        let initial = || (0..A::ATTRIBUTES.len()).map(|index| saved(&actor, index)).collect();
        let state = options.open_with(path, initial)?;
        Self::with(actor, state, make)
    }

    fn with(
        actor: A,
        state: ActorState,
        make: impl Fn() -> Result<A, CodecError> + 'static,
    ) -> Result<Self, OpenError> {
        let mut instance = Self { actor, state, make: Box::new(make) };
        if instance.state.durability() != Durability::None {
            instance.load_attributes().map_err(|(attribute, source)| OpenError::Attribute {
                attribute: attribute.to_owned(),
                source,
            })?;
            instance.commit_missing()?;
        }
        Ok(instance)
    }

    fn load_attributes(&mut self) -> Result<(), Unloadable> {
        for (index, name) in A::ATTRIBUTES.iter().enumerate() {
            let Some(value) = self.state.encoded(name) else { continue };
            self.actor.load(index, value).map_err(|source| (*name, source))?;
        }
        Ok(())
    }

    fn commit_missing(&mut self) -> Result<(), OpenError> {
        let mut missing = Vec::new();
        for (index, name) in A::ATTRIBUTES.iter().enumerate() {
            if self.state.encoded(name).is_none() {
                missing.push(saved(&self.actor, index)?);
            }
        }
        if missing.is_empty() {
            // What `update` does beside the commit can wait until the first reply has left.
            return Ok(());
        }
        match self.state.update(missing) {
            Ok(()) => Ok(()),
            Err(crate::error::StateError::Store(error)) => Err(error.into()),
            Err(crate::error::StateError::Value { attribute, source }) => {
                Err(OpenError::Attribute { attribute, source })
            }
            Err(crate::error::StateError::Reserved { attribute }) => {
                Err(OpenError::ReservedAttribute { attribute })
            }
        }
    }

    /// Runs a call, or answers it from the ledger.
    ///
    /// `observe` is told of each [`Stage`] that the call reaches. After an error the instance
    /// must be dropped: only reopening the state tells what was committed.
    ///
    /// # Errors
    /// [`StoreError`] if the commit failed. No reply may leave then.
    pub fn call(
        &mut self,
        call: &Call,
        observe: &mut dyn FnMut(Stage),
    ) -> Result<Answer, StoreError> {
        let Some(method) = A::METHODS.get(call.method) else {
            let rejection = Rejection::UnknownMethod { actor: A::NAME, method: call.method };
            return Ok(Answer::Rejected(rejection));
        };
        match method.saves {
            Some(saves) if self.state.durability() != Durability::None => {
                self.call_durable(method, saves, call, observe)
            }
            _ => self.call_volatile(method, call, observe),
        }
    }

    /// To be asked before a call that may have been interrupted before: notes durably that it is
    /// about to be tried again, or says that it must not run because the actor died of it too
    /// often. A call that was never interrupted needs none of this.
    ///
    /// Of calls that leave no record nothing is noted; for them, and without durability, only
    /// the deaths of [`Attempt::run`] count.
    ///
    /// # Errors
    /// See [`StoreError`]; the instance must be dropped.
    pub fn attempt(
        &mut self,
        call: &Call,
        attempt: &Attempt,
    ) -> Result<Option<Rejection>, StoreError> {
        let Some(method) = A::METHODS.get(call.method) else { return Ok(None) };
        if method.saves.is_some() && self.state.durability() != Durability::None {
            let poison = self.state.note_attempt(call.id, method.name, attempt)?;
            return Ok(poison.map(|intent| intent.rejection(call.id)));
        }
        let Attempt { deaths, last, .. } = attempt.clone();
        let poison = deaths >= attempt.limit;
        Ok(poison.then_some(Rejection::Poison { call: call.id, deaths, last }))
    }

    fn call_volatile(
        &mut self,
        method: &Method<A>,
        call: &Call,
        observe: &mut dyn FnMut(Stage),
    ) -> Result<Answer, StoreError> {
        observe(Stage::Run);
        let reply = match run(method, &mut self.actor, &call.args) {
            Ok(reply) => reply,
            Err(error) => return Ok(rejected::<A>(method, &error)),
        };
        let durable = self.state.durability() != Durability::None;
        if durable && reply.status == ReplyStatus::Panicked {
            self.roll_back(reply.status)?;
        }
        self.state.check()?;
        observe(Stage::Reply);
        Ok(Answer::Ran(reply))
    }

    fn call_durable(
        &mut self,
        method: &Method<A>,
        saves: &[usize],
        call: &Call,
        observe: &mut dyn FnMut(Stage),
    ) -> Result<Answer, StoreError> {
        if let Some(intent) = self.state.intents().poison(call.id) {
            return Ok(Answer::Rejected(intent.rejection(call.id)));
        }
        let digest = digest(method.name, &call.args);
        match self.state.admit(call.id, digest) {
            Admission::Fresh => {}
            Admission::Replay(reply) => return Ok(Answer::Replayed(reply)),
            Admission::Expired => {
                return Ok(Answer::Rejected(Rejection::LedgerExpired(call.id)));
            }
            Admission::IdReused => return Ok(Answer::Rejected(Rejection::IdReused(call.id))),
        }
        observe(Stage::Run);
        let run = run(method, &mut self.actor, &call.args).and_then(|reply| {
            let returned = reply.status == ReplyStatus::Returned;
            Ok((if returned { self.changes(saves)? } else { Vec::new() }, reply))
        });
        let (changes, reply) = match run {
            Ok(done) => done,
            Err(error) => {
                self.roll_back(ReplyStatus::Failed)?;
                self.state.forget_intent(call.id)?;
                return Ok(rejected::<A>(method, &error));
            }
        };
        observe(Stage::Commit);
        self.roll_back(reply.status)?;
        self.state.commit_call(call.id, call.acked_below, digest, reply.clone(), changes)?;
        observe(Stage::Reply);
        Ok(Answer::Ran(reply))
    }

    fn changes(&self, saves: &[usize]) -> Result<Vec<(String, Encoded)>, CodecError> {
        let mut changes = Vec::with_capacity(saves.len());
        for &index in saves {
            changes.push((A::ATTRIBUTES[index].to_owned(), self.actor.save(index)?));
        }
        Ok(changes)
    }

    /// Takes back what a method that did not return has done to memory.
    fn roll_back(&mut self, status: ReplyStatus) -> Result<(), StoreError> {
        if !self.state.switches().rollback {
            return Ok(());
        }
        let done = match status {
            ReplyStatus::Returned => Ok(()),
            ReplyStatus::Failed => self.load_attributes(),
            ReplyStatus::Panicked => self.restart(),
        };
        done.map_err(|(attribute, source)| StoreError::Unloadable {
            attribute: attribute.to_owned(),
            reason: source.to_string(),
        })
    }

    /// Makes the actor anew from its committed attributes, as a restart would.
    fn restart(&mut self) -> Result<(), Unloadable> {
        self.actor = (self.make)().map_err(|source| (A::NAME, source))?;
        self.load_attributes()
    }

    /// What became of a call.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] if a newer incarnation may know better; the instance must be
    /// dropped.
    pub fn outcome(&mut self, id: CallId) -> Result<CallOutcome, StoreError> {
        self.state.check()?;
        Ok(self.state.outcome(id))
    }

    /// See [`ActorState::set_group`].
    ///
    /// # Errors
    /// [`StoreError`]: the instance must be dropped.
    pub fn set_group(&mut self, member: Option<Member>) -> Result<(), StoreError> {
        self.state.set_group(member)
    }

    /// See [`ActorState::take_written`].
    pub fn take_written(&mut self) -> Option<Written<'_>> {
        self.state.take_written()
    }

    /// See [`ActorState::close`].
    ///
    /// # Errors
    /// [`StoreError`]: the state still needs its group journal.
    pub fn close(self) -> Result<(), StoreError> {
        self.state.close()
    }

    /// Does the work that may wait until a reply has left.
    ///
    /// # Errors
    /// [`StoreError`]: the instance must be dropped.
    pub fn maintain(&mut self) -> Result<(), StoreError> {
        self.state.maintain()
    }

    /// The actor.
    pub fn actor(&self) -> &A {
        &self.actor
    }

    /// The actor's state.
    pub fn state(&self) -> &ActorState {
        &self.state
    }
}

fn in_actor<A: Actor>(source: CodecError) -> OpenError {
    OpenError::Attribute { attribute: A::NAME.to_owned(), source }
}

/// An attribute's name and value.
fn saved<A: Actor>(actor: &A, index: usize) -> Result<(String, Encoded), OpenError> {
    let attribute = A::ATTRIBUTES[index].to_owned();
    match actor.save(index) {
        Ok(value) => Ok((attribute, value)),
        Err(source) => Err(OpenError::Attribute { attribute, source }),
    }
}

impl Intent {
    fn rejection(&self, call: CallId) -> Rejection {
        Rejection::Poison { call, deaths: self.deaths, last: self.last.clone() }
    }
}

fn rejected<A: Actor>(method: &Method<A>, error: &CodecError) -> Answer {
    Answer::Rejected(Rejection::Codec {
        actor: A::NAME,
        method: method.name,
        reason: error.to_string(),
    })
}

/// Runs the method; a panic becomes a reply.
fn run<A>(method: &Method<A>, actor: &mut A, args: &Encoded) -> Result<Reply, CodecError> {
    // The actor may be left half changed by a panic; the caller makes it anew.
    match catch_unwind(AssertUnwindSafe(|| (method.run)(actor, args))) {
        Ok(Ok(Outcome::Returned(value))) => Ok(Reply { status: ReplyStatus::Returned, value }),
        Ok(Ok(Outcome::Failed(value))) => Ok(Reply { status: ReplyStatus::Failed, value }),
        Ok(Err(error)) => Err(error),
        Err(panic) => {
            let value = encode(&panic_message(&*panic))?;
            Ok(Reply { status: ReplyStatus::Panicked, value })
        }
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}

/// How much of each end of a blob goes into the digest of a call's arguments. Bytes.
const DIGEST_EDGE_BYTES: usize = 4096;

/// What is shorter is put together on the stack. Bytes.
const SHORT_DIGEST_BYTES: usize = 128;

/// A digest (XXH3, 64 bits) of a method's name and arguments. Of a large array it covers the
/// length and both ends: reading 10 MiB again would cost more than the mix-up it finds is worth.
fn digest(method: &str, args: &Encoded) -> u64 {
    let (name, inline) = (method.as_bytes(), &args.inline[..]);
    let len = name.len() + 1 + inline.len();
    let mut short = [0; SHORT_DIGEST_BYTES];
    if let (Some(room), true) = (short.get_mut(..len), args.blobs.is_empty()) {
        // The state of a hasher takes ten times as much memory.
        room[..name.len()].copy_from_slice(name);
        room[name.len() + 1..].copy_from_slice(inline);
        return xxh3_64(room);
    }
    long_digest(method, args)
}

#[inline(never)]
fn long_digest(method: &str, args: &Encoded) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(method.as_bytes());
    hasher.update(&[0]);
    hasher.update(&args.inline);
    for blob in &args.blobs {
        let edge = blob.len().min(DIGEST_EDGE_BYTES);
        hasher.update(&(blob.len() as u64).to_le_bytes());
        hasher.update(&blob[..edge]);
        hasher.update(&blob[blob.len() - edge..]);
    }
    hasher.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_digest_is_what_a_hasher_makes_of_the_same() {
        for len in 0..300 {
            let inline: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let args = Encoded { inline, blobs: Vec::new() };
            assert_eq!(digest("method", &args), long_digest("method", &args), "{len} bytes");
        }
    }
}
