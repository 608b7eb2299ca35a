//! Group commit: one sync for the commits of many states (`docs/format.md`, section 8).

mod batch;
mod chain;
mod forsaken;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod gate;
mod head;
mod journal;
mod keeper;
mod members;
mod queue;
mod resolve;
mod state;
mod writer;

pub(crate) use chain::{Chain, Misfit};
pub use journal::{GroupJournal, Ticket};
pub use state::GroupedState;

/// The directory of group journals, in that of the states. A state's name has no dot.
pub(crate) const DIRECTORY: &str = ".group";

/// One incarnation of a state in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// The run of the group journal: a random number.
    pub run: u128,
    /// The number of the incarnation in that run.
    pub number: u64,
}

/// What a commit has written to its state's journal and not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written<'a> {
    /// The epoch in the name of the journal.
    pub epoch: u64,
    /// The number in it.
    pub number: u32,
    /// Where in the journal, in bytes.
    pub offset: u64,
    /// The bytes; none says that the journal was synced up to `offset`.
    pub bytes: &'a [u8],
}
