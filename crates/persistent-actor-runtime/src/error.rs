//! What can go wrong, one enum per operation.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use persistent_actor::{CallId, CodecError, InvalidCallId, OpenError, StateError};

use crate::never::Never;

/// The result of a program that uses actors.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Anything that this library can fail with.
///
/// Its `Debug` output, which Rust prints when `main` returns it, is the message with all its
/// causes.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A node could not be opened.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// An actor could not be started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// A call failed; what the method returned as its error is a text here.
    #[error(transparent)]
    Call(CallError<String>),
    /// A state could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// An attribute could not be read or saved.
    #[error(transparent)]
    State(#[from] StateError),
    /// A text is no call id.
    #[error(transparent)]
    CallId(#[from] InvalidCallId),
    /// An operation of the operating system failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl<E: fmt::Display> From<CallError<E>> for Error {
    fn from(error: CallError<E>) -> Self {
        Self::Call(error.map_method(|error| error.to_string()))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        let mut cause = self.source();
        while let Some(error) = cause {
            write!(f, "\n  caused by: {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// A node could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// Another program has this state root open.
    #[error(
        "the state root {} is in use by process {holder}; stop that program or use another \
         directory",
        path.display()
    )]
    InUse {
        /// The state root.
        path: PathBuf,
        /// The process that has it, or `unknown`.
        holder: String,
    },
    /// The operating system refused an operation.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A durable node needs a directory.
    #[error("a node with durability {durability} needs a state directory: use Node::open(dir)")]
    NoDirectory {
        /// The wanted durability.
        durability: persistent_actor::Durability,
    },
    /// Others could change the state.
    #[error("the state root {} is not private ({reason}); allow writing to its owner only", path.display())]
    NotPrivate {
        /// The state root.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// An actor could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// The program never calls `init`.
    #[error(
        "this program cannot start workers: call persistent_actor_runtime::init() first thing in \
         main, or use #[persistent_actor_runtime::main]; in a test binary, put \
         persistent_actor_runtime::worker_for_tests!() at its top"
    )]
    NotInitialised,
    /// The type was not registered by `#[actor]`.
    #[error("{type_name} is not registered as an actor: put #[actor] on its impl block")]
    UnknownType {
        /// The Rust type.
        type_name: &'static str,
    },
    /// An actor of this name is alive.
    #[error("actor {name:?} is alive already in this node; stop it first or use another name")]
    NameInUse {
        /// The name.
        name: String,
    },
    /// The name cannot be used.
    #[error("{name:?} cannot name an actor: {reason}")]
    BadName {
        /// The name.
        name: String,
        /// Why, and what would be accepted.
        reason: String,
    },
    /// This actor would be durable, but the node has no directory.
    #[error("actor {name:?} has durability {durability}, but its node has no state directory")]
    NoDirectory {
        /// The actor's name.
        name: String,
        /// The wanted durability.
        durability: persistent_actor::Durability,
    },
    /// The initial value cannot be encoded.
    #[error("the initial value of actor {name:?}")]
    Initial {
        /// The actor's name.
        name: String,
        /// Why.
        source: CodecError,
    },
    /// The operating system refused an operation.
    #[error("cannot {operation} for actor {name:?}")]
    Io {
        /// The actor's name.
        name: String,
        /// What was tried, as a verb.
        operation: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The actor was started outside a tokio runtime.
    #[error("actor {name:?} needs a tokio runtime: start it from async code under one")]
    NoRuntime {
        /// The actor's name.
        name: String,
    },
    /// The initial value cannot be sent to the actor's process.
    #[error("the initial value of actor {name:?} is {reason}")]
    Unsendable {
        /// The actor's name.
        name: String,
        /// Why.
        reason: String,
    },
    /// What an earlier program has left in the group journal could not be looked at.
    #[error("actor {name:?} cannot be started: {reason}")]
    Group {
        /// The actor's name.
        name: String,
        /// Why.
        reason: String,
    },
    /// The actor's process could not load its state, or died before it had.
    #[error("actor {name:?} did not start: {reason}")]
    StartFailed {
        /// The actor's name.
        name: String,
        /// What the process said, or how it ended.
        reason: String,
    },
    /// The node was shut down.
    #[error("actor {name:?} did not start: its node was shut down")]
    NodeClosed {
        /// The actor's name.
        name: String,
    },
}

/// A call failed.
///
/// `E` is the error type of the method itself; [`Never`] for a method that does not return a
/// `Result`.
#[derive(Debug)]
#[non_exhaustive]
pub enum CallError<E = Never> {
    /// The method returned this error. Nothing was saved.
    Method(E),
    /// The method panicked. Nothing was saved.
    Panicked {
        /// The call.
        call: CallId,
        /// The panic's message.
        message: String,
    },
    /// The actor died of this call again and again; the call was given up, others are served.
    PoisonCall {
        /// The call.
        call: CallId,
        /// How often the actor died of it.
        deaths: u32,
        /// How it died the last time.
        last: String,
    },
    /// The call is so old that whether it ran cannot be said any more.
    LedgerExpired {
        /// The call.
        call: CallId,
    },
    /// The actor refused the call; nothing ran, or nothing of it was kept.
    Rejected {
        /// The call.
        call: CallId,
        /// Why.
        reason: String,
    },
    /// The actor died under this call more often than `max_task_retries` allows.
    RetriesExhausted {
        /// The call.
        call: CallId,
        /// How often it was tried.
        attempts: u32,
        /// How the actor died the last time.
        last: String,
    },
    /// The actor was stopped, or its node was shut down.
    ActorStopped {
        /// The actor's name.
        actor: Arc<str>,
        /// The call, if it had been sent.
        call: Option<CallId>,
    },
    /// The actor died and is not restarted.
    ActorDied {
        /// The actor's name.
        actor: Arc<str>,
        /// The call, if it had been sent.
        call: Option<CallId>,
        /// Why.
        reason: String,
    },
    /// A value is too large to be sent.
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How large it is.
        size: u64,
        /// The bound, in the same unit.
        limit: u64,
    },
    /// No shared memory for a large value.
    Memory {
        /// What was tried, and what the system said.
        reason: String,
    },
    /// The call ran and what it changed was saved, but its reply cannot be sent.
    ReplyLost {
        /// The call.
        call: CallId,
        /// Why.
        reason: String,
    },
    /// The arguments cannot be encoded.
    Encode(CodecError),
    /// The reply is not of the expected type.
    Decode {
        /// The call. It did run.
        call: CallId,
        /// What the codec said.
        source: CodecError,
    },
}

impl<E> CallError<E> {
    /// The call's id; `None` if the call never got one, or for [`CallError::Method`].
    pub fn call(&self) -> Option<CallId> {
        match self {
            Self::Panicked { call, .. }
            | Self::PoisonCall { call, .. }
            | Self::LedgerExpired { call }
            | Self::Rejected { call, .. }
            | Self::RetriesExhausted { call, .. }
            | Self::ReplyLost { call, .. }
            | Self::Decode { call, .. } => Some(*call),
            Self::ActorStopped { call, .. } | Self::ActorDied { call, .. } => *call,
            Self::Method(_) | Self::TooLarge { .. } | Self::Memory { .. } | Self::Encode(_) => None,
        }
    }

    /// Whether the call's changes may have been saved.
    pub fn may_have_run(&self) -> bool {
        match self {
            Self::Method(_)
            | Self::Panicked { .. }
            | Self::Rejected { .. }
            | Self::TooLarge { .. }
            | Self::Memory { .. }
            | Self::Encode(_) => false,
            Self::PoisonCall { .. }
            | Self::LedgerExpired { .. }
            | Self::RetriesExhausted { .. }
            | Self::ReplyLost { .. }
            | Self::Decode { .. } => true,
            Self::ActorStopped { call, .. } | Self::ActorDied { call, .. } => call.is_some(),
        }
    }

    /// Whether calling again cannot make the changes twice.
    pub fn is_retry_safe(&self) -> bool {
        !self.may_have_run()
    }

    /// The same error with the method's own error converted.
    pub fn map_method<F>(self, convert: impl FnOnce(E) -> F) -> CallError<F> {
        match self {
            Self::Method(error) => CallError::Method(convert(error)),
            Self::Panicked { call, message } => CallError::Panicked { call, message },
            Self::PoisonCall { call, deaths, last } => CallError::PoisonCall { call, deaths, last },
            Self::LedgerExpired { call } => CallError::LedgerExpired { call },
            Self::Rejected { call, reason } => CallError::Rejected { call, reason },
            Self::RetriesExhausted { call, attempts, last } => {
                CallError::RetriesExhausted { call, attempts, last }
            }
            Self::ActorStopped { actor, call } => CallError::ActorStopped { actor, call },
            Self::ActorDied { actor, call, reason } => CallError::ActorDied { actor, call, reason },
            Self::TooLarge { what, size, limit } => CallError::TooLarge { what, size, limit },
            Self::Memory { reason } => CallError::Memory { reason },
            Self::ReplyLost { call, reason } => CallError::ReplyLost { call, reason },
            Self::Encode(error) => CallError::Encode(error),
            Self::Decode { call, source } => CallError::Decode { call, source },
        }
    }
}

impl<E: fmt::Display> fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method(error) => error.fmt(f),
            Self::Panicked { call, message } => write!(f, "call {call} panicked: {message}"),
            Self::PoisonCall { call, deaths, last } => write!(
                f,
                "call {call} was given up: the actor died of it {deaths} times, last with {last}"
            ),
            Self::LedgerExpired { call } => write!(
                f,
                "call {call} has expired from the ledger: whether it ran cannot be said any more"
            ),
            Self::Rejected { call, reason } => write!(f, "call {call} was refused: {reason}"),
            Self::RetriesExhausted { call, attempts, last } => write!(
                f,
                "the actor died in each of {attempts} attempts of call {call}, last with {last}"
            ),
            Self::ActorStopped { actor, .. } => write!(f, "actor {actor:?} was stopped"),
            Self::ActorDied { actor, reason, .. } => {
                write!(f, "actor {actor:?} died and is not restarted: {reason}")
            }
            Self::TooLarge { what, size, limit } => {
                write!(f, "too large to send: {size} {what}; at most {limit} can be sent")
            }
            Self::Memory { reason } => write!(f, "no shared memory for a large value: {reason}"),
            Self::ReplyLost { call, reason } => {
                write!(f, "call {call} has run, but {reason}")
            }
            Self::Encode(_) => f.write_str("the arguments cannot be encoded"),
            Self::Decode { call, .. } => write!(f, "the reply of call {call} cannot be decoded"),
        }
    }
}

impl<E: fmt::Display + fmt::Debug> StdError for CallError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Encode(source) | Self::Decode { source, .. } => Some(source),
            _ => None,
        }
    }
}
