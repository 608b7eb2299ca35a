//! [`GroupedState`]: a state whose commits are left to a group journal.

use std::sync::Arc;

use super::{GroupJournal, Member, Ticket};
use crate::call::{CallId, Reply};
use crate::codec::Encoded;
use crate::durability::Durability;
use crate::error::{OpenError, StateError, StoreError};
use crate::options::Options;
use crate::state::ActorState;

/// An [`ActorState`] whose commits are left to a [`GroupJournal`].
///
/// A commit gives a ticket; it is durable when [`GroupJournal::wait`] has returned for it. Until
/// then nothing that follows from it may be told to anybody.
///
/// One that is dropped without [`close`](Self::close) is made whole by
/// [`GroupJournal::maintain`], as after a death.
///
/// ```
/// use std::sync::Arc;
/// use persistent_actor::ActorState;
/// use persistent_actor::store::GroupJournal;
/// # let dir = tempfile::tempdir()?;
/// # let root = dir.path();
/// let options = ActorState::options();
/// let group = Arc::new(GroupJournal::open(root, &options)?);
/// let mut visits = GroupJournal::open_state(&group, "visits", options.clone())?;
/// let mut orders = GroupJournal::open_state(&group, "orders", options)?;
/// let first = visits.update([("count", persistent_actor::codec::encode(&1)?)])?;
/// let second = orders.update([("count", persistent_actor::codec::encode(&7)?)])?;
/// // One sync for both.
/// group.wait(first.max(second))?;
/// # visits.close()?;
/// # orders.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct GroupedState {
    // Dropped first.
    state: ActorState,
    membership: Membership,
}

/// A state that may need the group journal as long as nobody has made it whole.
struct Membership {
    group: Arc<GroupJournal>,
    member: Member,
    epoch: u64,
    /// Whether it stays a member when this is gone.
    stays: bool,
}

impl Drop for Membership {
    fn drop(&mut self) {
        if !self.stays {
            self.group.forsake(self.member, self.epoch);
        }
    }
}

impl GroupJournal {
    /// Opens the state `name` in the directory of the group, at [`Durability::Power`].
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_state(
        group: &Arc<Self>,
        name: &str,
        options: Options,
    ) -> Result<GroupedState, OpenError> {
        let member = group.join(name);
        let options = options.durability(Durability::Power).group(Some(member));
        let options = options.group_run(Some(group.run()));
        let opened = group
            .root
            .open(name, options.create)
            .and_then(|storage| options.open_on(storage, group.path(name)));
        match opened {
            Ok(state) => {
                let (group, epoch) = (Arc::clone(group), state.epoch());
                let membership = Membership { group, member, epoch, stays: false };
                Ok(GroupedState { state, membership })
            }
            Err(error) => {
                // It may have come as far as to say that it needs the group journal.
                group.members().give_up(member.number);
                Err(error)
            }
        }
    }
}

impl GroupedState {
    /// The state as it is in memory.
    pub fn state(&self) -> &ActorState {
        &self.state
    }

    /// As [`ActorState::update`].
    ///
    /// # Errors
    /// See there.
    pub fn update<N: Into<String>>(
        &mut self,
        changes: impl IntoIterator<Item = (N, Encoded)>,
    ) -> Result<Ticket, StateError> {
        self.state.update(changes)?;
        Ok(self.submit()?)
    }

    /// As [`ActorState::commit_call`].
    ///
    /// # Errors
    /// See there.
    pub fn commit_call(
        &mut self,
        id: CallId,
        acked_below: u64,
        digest: u64,
        reply: Reply,
        changes: Vec<(String, Encoded)>,
    ) -> Result<Ticket, StoreError> {
        self.state.commit_call(id, acked_below, digest, reply, changes)?;
        self.submit()
    }

    /// As [`ActorState::maintain`].
    ///
    /// # Errors
    /// See there.
    pub fn maintain(&mut self) -> Result<(), StoreError> {
        self.state.maintain()
    }

    fn submit(&mut self) -> Result<Ticket, StoreError> {
        match self.state.take_written() {
            Some(written) => self.membership.group.submit(self.membership.member, &written),
            None => Ok(self.membership.group.ticket()),
        }
    }

    /// Makes the state whole without the group journal.
    ///
    /// # Errors
    /// See [`ActorState::close`].
    pub fn close(self) -> Result<(), StoreError> {
        let Self { state, mut membership } = self;
        // If this fails, nothing proves any more what a sync of it has written.
        membership.stays = true;
        state.close()?;
        membership.group.leave(membership.member);
        Ok(())
    }
}
