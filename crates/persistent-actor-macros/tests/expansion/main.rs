//! What the macros expand to works: against an engine that runs every call in this process.
//!
//! The warnings that a strict program turns on must stay silent over generated code.

#![deny(missing_docs, unreachable_pub, unnameable_types, unused, rust_2018_idioms, warnings)]
#![deny(clippy::pedantic)]
#![forbid(unsafe_code)]

// The expansions name `::persistent_actor_runtime`: here, that is this file.
extern crate self as persistent_actor_runtime;

mod calls;
mod names;
pub mod visibility;

use std::cell::RefCell;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

thread_local! {
    /// How many times `init` was called.
    static INITS: RefCell<u32> = const { RefCell::new(0) };
}

/// As in the runtime; here it only counts.
pub fn init() {
    INITS.with_borrow_mut(|inits| *inits += 1);
}

/// What the expansions refer to.
pub mod __private {
    use std::future::{Future, ready};
    use std::marker::PhantomData;
    use std::sync::{Arc, Mutex};

    pub use inventory;
    pub use persistent_actor::codec::{decode, encode};
    pub use persistent_actor::{Actor, CodecError, Encoded, Method, Outcome};
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    pub use crate::block_on;

    /// An actor with handles.
    pub trait Remote: Actor {
        /// Its handle.
        type Handle: From<Handle<Self>>;
    }

    /// An actor in this process.
    pub struct Handle<A: Actor>(Arc<Mutex<A>>);

    impl<A: Actor> Clone for Handle<A> {
        fn clone(&self) -> Self {
            Self(Arc::clone(&self.0))
        }
    }

    impl<A: Actor> std::fmt::Debug for Handle<A> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "Handle<{}>", A::NAME)
        }
    }

    impl<A: Actor> Handle<A> {
        pub(crate) fn new(actor: A) -> Self {
            Self(Arc::new(Mutex::new(actor)))
        }

        /// Changes the actor behind the back of its methods.
        pub(crate) fn with<T>(&self, change: impl FnOnce(&mut A) -> T) -> T {
            change(&mut self.0.lock().expect("no method panicked before"))
        }

        /// A call: arguments and reply go through the codec, as between processes. The future
        /// borrows nothing.
        pub(crate) fn call<Args, T, E>(
            &self,
            method: usize,
            args: &Args,
        ) -> impl Future<Output = Result<T, CallError<E>>> + Send + use<A, Args, T, E>
        where
            Args: Serialize,
            T: DeserializeOwned + Send,
            E: DeserializeOwned + Send,
        {
            ready(self.run(method, args))
        }

        fn run<Args: Serialize, T: DeserializeOwned, E: DeserializeOwned>(
            &self,
            method: usize,
            args: &Args,
        ) -> Result<T, CallError<E>> {
            let method = A::METHODS.get(method).ok_or(CallError::Refused)?;
            let args = encode(args).map_err(|_| CallError::Refused)?;
            let outcome = self.with(|actor| (method.run)(actor, &args));
            match outcome.map_err(|_| CallError::Refused)? {
                Outcome::Returned(value) => decode(&value).map_err(|_| CallError::Refused),
                Outcome::Failed(error) => {
                    Err(CallError::Method(decode(&error).map_err(|_| CallError::Refused)?))
                }
            }
        }
    }

    /// The error of a method without one.
    #[derive(Debug, PartialEq, Eq, serde::Deserialize)]
    pub enum Never {}

    /// Why a call has no reply.
    #[derive(Debug, PartialEq, Eq)]
    pub enum CallError<E = Never> {
        /// The method's own error.
        Method(E),
        /// The codec or the actor refused.
        Refused,
    }

    /// What a worker process needs to know of a type.
    pub struct ActorType {
        /// The type's name.
        pub name: &'static str,
    }

    impl ActorType {
        /// Describes `A`.
        #[must_use]
        pub const fn of<A: Actor + Serialize + DeserializeOwned>() -> Self {
            let _: PhantomData<A> = PhantomData;
            Self { name: A::NAME }
        }
    }

    inventory::collect!(ActorType);
}

/// Runs a future that is ready at once, as those of this engine are.
///
/// # Panics
/// If it is not.
pub fn block_on<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("nothing here waits"),
    }
}

#[test]
fn main_begins_with_init_and_then_runs_the_body() {
    mod program {
        /// Where the program starts.
        #[persistent_actor_macros::main]
        pub(crate) async fn main() -> Result<(), std::num::ParseIntError> {
            let inits = crate::INITS.with_borrow(|inits| *inits);
            assert_eq!(inits, 1);
            std::future::ready(()).await;
            "not a number".parse::<i32>()?;
            Ok(())
        }
    }
    program::main().unwrap_err();
}
