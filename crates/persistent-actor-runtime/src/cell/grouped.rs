//! What a [`Cell`] does in a group: keeps answers back until the group journal is synced.

use std::sync::Arc;

use persistent_actor::store::{Member, Written};

use super::{Cell, Former, State};
use crate::cell::supervised::not_sent;
use crate::event::EventKind;
use crate::link::Seat;
use crate::pending::Held;
use crate::releaser::Releaser;
use crate::wire::WireError;

impl Cell {
    /// Takes what a commit has written and left to the group journal; its reply follows.
    pub(super) fn take_written(
        &self,
        seat: &mut Seat,
        written: Written<'_>,
    ) -> Result<(), WireError> {
        let (Some(group), Some(member)) = (&self.group, seat.member) else {
            return Err(WireError("a commit is left to a group that it is not in".to_owned()));
        };
        group.take(member, written);
        seat.has_written = true;
        Ok(())
    }

    /// Keeps an answer back until all that was written up to it is durable.
    pub(super) fn hold(
        self: &Arc<Self>,
        state: &mut State,
        sequence: u64,
        answer: Held,
    ) -> Result<(), WireError> {
        let Some(group) = &self.group else {
            return Err(WireError("an answer waits for a group that it is not in".to_owned()));
        };
        if !state.pending.hold(sequence, self.incarnation(), answer) {
            return Err(not_sent(sequence));
        }
        state.held += 1;
        group.hold(self, sequence);
        Ok(())
    }

    /// Who gives callers what was kept back, if anything ever is.
    pub(crate) fn releaser(&self) -> Option<&Arc<Releaser>> {
        self.releaser.as_ref()
    }

    /// What was kept back of a call is durable: gives it to its caller.
    pub(crate) fn release(&self, sequence: u64, durable_ns: u64) {
        let mut state = self.state();
        // It may have become unanswered again, or have ended.
        let Some((call, mut answer)) = state.pending.release(sequence) else { return };
        state.held -= 1;
        self.count_busy(&mut state);
        if answer.stamps.committed_ns != 0 && !answer.replayed {
            answer.stamps.committed_ns = durable_ns;
        }
        self.deliver(state.pending.session(), call, answer);
        if state.closing && state.pending.is_empty() {
            self.wake.notify_one();
        }
    }

    /// The group journal has failed: what was kept back counts as unanswered. The process is
    /// killed, so that its successor makes what it has written durable by itself.
    pub(crate) fn void_held(&self) {
        let mut state = self.state();
        state.pending.unhold();
        let held = std::mem::take(&mut state.held) > 0;
        let Some(link) = &mut state.link else { return };
        // Calls of a former incarnation are sent again only to a new one.
        if !held && !link.seat.is_taken {
            return;
        }
        link.seat.is_void = true;
        if let Some(process) = state.process.clone().filter(|_| !state.killed) {
            state.killed = true;
            self.emit(|| EventKind::Killed);
            process.kill();
        }
    }

    /// These incarnations' states do not need the group journal any more.
    pub(super) fn leave_group(&self, members: impl IntoIterator<Item = Member>) {
        if let Some(group) = &self.group {
            members.into_iter().for_each(|member| group.leave(member));
        }
    }

    /// These incarnations have no successor here that would make their states whole.
    pub(super) fn forsake(&self, former: Vec<Former>) {
        let Some(group) = &self.group else { return };
        // Others may still write.
        for Former { member, epoch } in former.into_iter().filter(|former| former.epoch != 0) {
            group.forsake(member, epoch);
        }
    }

    /// Tells the group whether this actor has something to do.
    pub(super) fn count_busy(&self, state: &mut State) {
        let is_busy = !state.pending.is_empty();
        if let Some(group) = &self.group
            && is_busy != state.is_busy
        {
            group.count_busy(is_busy);
        }
        state.is_busy = is_busy;
    }
}
