//! The macros of persistent-actor: `#[actor]`, `#[safe_state]` and `#[main]`.
//!
//! Use them through `persistent_actor_runtime`, which re-exports them and provides what their
//! expansions refer to.
//!
//! Each macro first parses what the user wrote into a checked description, or a list of errors
//! that name the wrong place, and then expands the description.

mod config;
mod expand;
mod handle;
mod main_fn;
mod safe_state;
mod types;

use proc_macro::TokenStream;

/// Turns the methods of an `impl` block into calls that other processes can make.
///
/// On `impl Counter`, it keeps the block as it is and adds
///
/// - `CounterHandle`, with one `async` method for each method that takes `&self` or `&mut self`.
///   It has the same name, arguments, documentation and visibility, and returns
///   `Result<T, CallError>` for a method that returns `T`, or `Result<T, CallError<E>>` for one
///   that returns `Result<T, E>`. The handle is as visible as its most visible method, can be
///   cloned, and derefs to the `Handle<Counter>` of the runtime, with which an actor is killed
///   or stopped;
/// - the implementation of `Actor`, by which a worker process runs the methods, and the
///   registration by which it finds them.
///
/// The type must implement `Serialize` and `Deserialize`; so must each argument, each returned
/// value and each field that [`macro@safe_state`] names.
///
/// ```no_run
/// use persistent_actor_runtime::{CallError, Node, Result, actor, safe_state};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Account {
///     balance: u64,
/// }
///
/// #[derive(Debug, Serialize, Deserialize)]
/// struct Overdrawn {
///     missing: u64,
/// }
///
/// #[actor]
/// impl Account {
///     #[safe_state("balance")]
///     fn deposit(&mut self, amount: u64) -> u64 {
///         self.balance += amount;
///         self.balance
///     }
///
///     #[safe_state("balance")]
///     fn withdraw(&mut self, amount: u64) -> Result<u64, Overdrawn> {
///         let missing = amount.saturating_sub(self.balance);
///         self.balance = self.balance.checked_sub(amount).ok_or(Overdrawn { missing })?;
///         Ok(self.balance)
///     }
///
///     fn balance(&self) -> u64 {
///         self.balance
///     }
/// }
///
/// #[persistent_actor_runtime::main]
/// async fn main() -> Result<()> {
///     let node = Node::open("state/")?;
///     let savings: AccountHandle = node.actor::<Account>("savings").spawn().await?;
///     savings.deposit(10).await?;
///     match savings.withdraw(25).await {
///         Err(CallError::Method(Overdrawn { missing })) => println!("{missing} too few"),
///         Err(error) => println!("no reply: {error:?}"),
///         Ok(left) => println!("{left} left of it"),
///     }
///     savings.kill().await?; // a method of the generic handle
///     println!("{}", savings.balance().await?); // restarted: still 10
///     Ok(())
/// }
/// ```
///
/// # What a method may look like
///
/// Arguments and returned values cross a process boundary, so they are owned values and not
/// references, at most 16 arguments, each with a plain name. Methods are not `async`, generic,
/// `unsafe` or `extern`; they take `&self` or `&mut self`. A method that fails writes its error
/// type out (`Result<u64, Overdrawn>`): an alias with one parameter hides it from the macro.
///
/// Functions without `self`, constants and types in the block are left alone. `#[cfg]` on a
/// method is honoured. The names in its `#[safe_state]` stay durable attributes either way, so
/// that what is stored does not depend on the features a program was built with.
///
/// One block of a type can be an `#[actor]`; others may hold whatever else it needs.
#[proc_macro_attribute]
pub fn actor(args: TokenStream, item: TokenStream) -> TokenStream {
    expand::actor(args.into(), item.into()).into()
}

/// Names the attributes that a call of this method commits: `#[safe_state("a", "b")]`.
///
/// Goes on `&mut self` methods inside an [`macro@actor`] block. Each name is a field of the
/// type. Fields that are named by any method of the block are durable: a new process of the
/// actor starts with their last committed values, and with the initial values of all the
/// others.
///
/// When the method returns, its attributes, its reply and the identity of the call are
/// committed as one record, and only then does the caller get the reply. When it returns an
/// `Err` or panics, no attribute is committed and the durable ones go back to their last
/// committed values; the error is committed as the reply. A call that is sent again because a
/// process died is answered from that record and does not run a second time.
///
/// ```
/// use persistent_actor_runtime::{Actor, actor, safe_state};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Visits {
///     total: u64,
///     last: String,
///     since_start: u64,
/// }
///
/// #[actor]
/// impl Visits {
///     #[safe_state("total", "last")] // `since_start` begins at its initial value again
///     fn visit(&mut self, name: String) -> u64 {
///         self.total += 1;
///         self.since_start += 1;
///         self.last = name;
///         self.total
///     }
///
///     #[safe_state("total")]
///     fn forget(&mut self) {
///         self.total = 0;
///     }
/// }
///
/// assert_eq!(Visits::ATTRIBUTES, ["total", "last"]);
/// ```
///
/// What the method changes outside its own attributes (files, the network, other actors) is not
/// part of the record: it happens at least once.
#[proc_macro_attribute]
pub fn safe_state(args: TokenStream, item: TokenStream) -> TokenStream {
    safe_state::alone(args.into(), item.into()).into()
}

/// Makes an `async fn main` the start of the program.
///
/// The program's actors are processes of the same executable. This macro lets those processes
/// take their own way before anything else in `main` happens, and runs the body of the
/// function on a single-threaded runtime in the process that the user started.
///
/// ```
/// #[persistent_actor_runtime::main]
/// async fn main() -> Result<(), std::num::ParseIntError> {
///     assert_eq!("3".parse::<u64>()?, 3);
///     Ok(())
/// }
/// ```
///
/// A program that starts its own runtime calls `persistent_actor_runtime::init()` first thing in
/// `main` instead.
#[proc_macro_attribute]
pub fn main(args: TokenStream, item: TokenStream) -> TokenStream {
    main_fn::main(args.into(), item.into()).into()
}
