//! The exactly-once protocol as a small model, of which every reachable state is visited.
//!
//! Tests that kill real processes try some interleavings; this model tries all of them, within a
//! bound of calls and faults. The tests of this crate do the visiting:
//!
//! ```text
//! cargo test -p protocol-model -- --nocapture
//! ```
//!
//! prints how many states there are, and, for each rule of the protocol that can be taken away
//! ([`mutation::Mutation`]), the shortest run in which a promise breaks without it.
//!
//! # What is modelled, and where it is in the code
//!
//! | model | code | what |
//! | --- | --- | --- |
//! | [`model`]: issue, start | `persistent-actor-runtime`, the node | calls in order; after a death all unanswered ones again, in order, with the same ids and the newest acknowledgement |
//! | [`view::View::admit`], [`view::View::apply`] | `persistent-actor/src/ledger.rs`, `store/mod.rs` (`View`) | replay, expiry below the floor, trimming by acknowledgement |
//! | [`worker::Phase`] from `ChooseEpoch` to `ClearClaims` | `store/fence.rs`, `Claim::take`; `docs/format.md`, section 6, steps 1 to 4 | list, create exclusively, list again and step back, mark and remove lower claims |
//! | `FindSegment` to `RemoveOlder` | `docs/format.md`, section 5, open and checkpoint | read the newest segment, publish one's own by rename, sync the directory, check the claim, remove what was replaced |
//! | `Idle` to `Answer` | `instance.rs` (`call_durable`), `state.rs` (`commit_call`); `docs/format.md`, section 5, commit | ask the ledger, run, write the record, sync, check the claim, answer |
//! | `AnswerRead` | `instance.rs` (`call_volatile`) | a method that saves nothing: run, check the claim, answer; without the check a superseded worker could answer from an old state, see [`mutation::Mutation::ReadWithoutCheck`] |
//! | [`disk::Disk::holds`] | `Claim::holds` | the mark in the claim's file, or its link count, not its name |
//! | [`disk::Disk::lose_power`] | `docs/format.md`, section 7 | of what is not synced, any segment's part is kept or lost, its name included; claims are lost |
//!
//! A *zombie* is a worker that the node has given up while it lives, as one that is stopped and
//! continued, or one of another program on the same state. It takes each of its remaining steps
//! at any later time, or never, and its replies reach their callers, or not: more than the
//! local engine allows, where the socket is closed. The death of the node's program is the same
//! thing with callers that come back with their ids.
//!
//! The actor's state is the list of all effects. So what is lost, doubled or out of order can
//! be seen in it, and the reply of a call is its place in the list.
//!
//! # What is abstracted
//!
//! - A record is written whole or not at all (torn ones are cut by their checksum), and a power
//!   loss keeps all or nothing of a segment's unsynced part. A writer at level `power` has at
//!   most one unsynced record.
//! - A segment under its temporary name is nobody's business; its writing and syncing belong to
//!   the step that renames it. Slots of large values, the identity file and the reuse of old
//!   files are left out, and so are bounds of the ledger by bytes, number and age.
//! - A claim is marked and removed in one step. If its remover dies in between, its holder is fenced
//!   all the same, and its number is still in use.
//! - Removals are durable at once, and claims are lost with the power: each is the worse case.
//! - Methods always return: errors, panics and poison calls are left out.
//! - An opener steps back twice for others before it gives up, in place of 64 times.
//! - What a process does in its own memory takes no time of its own.
//!
//! # Liveness
//!
//! Every action raises a number that is computed from the state (`rank` in [`model`]; each
//! transition is checked as it is explored). So there are no circles, every run ends, and
//! liveness is a matter of the states in which nothing is left to do: all calls must be
//! answered there, even if no zombie ever moves again.

pub mod disk;
pub mod faults;
pub mod model;
pub mod mutation;
pub mod properties;
pub mod steps;
pub mod trace;
pub mod view;
pub mod worker;
