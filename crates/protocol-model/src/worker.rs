//! [`Worker`]: one incarnation of the actor, and what it does next.

use crate::disk::SegmentId;
use crate::view::{Answer, CallId, Frame, Record, View};

/// What a worker does next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// List the directory and choose the next epoch.
    ChooseEpoch,
    /// Make the claim, whose name must be free.
    Claim,
    /// List again: step back below a higher epoch.
    ListAgain,
    /// Remove these lower claims, the ones that were listed (a bit for each epoch).
    ClearClaims(u16),
    /// List the segments and choose the newest.
    FindSegment,
    /// Read it.
    ReadSegment(SegmentId),
    /// Give a segment, written and synced under a temporary name, its final name.
    Publish,
    /// Sync the directory.
    SyncNames,
    /// Check the claim, before anything is removed or answered.
    CheckSegment,
    /// Remove the segments that the new one replaces.
    RemoveOlder,
    /// Take the next call, ask the ledger, run the method and write the record.
    Idle,
    /// Write the record (only where a mutation checks the claim first).
    Append(Record),
    /// Sync the record.
    Sync(Record),
    /// Check the claim.
    Check(Record),
    /// Send the reply.
    Answer(CallId, Answer),
    /// Sync the record (only where a mutation answers first).
    SyncLate,
    /// Check the claim and answer a read that began when the calls of this bit set had been
    /// answered.
    AnswerRead(u16),
}

/// One incarnation of the actor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Worker {
    /// Which start of a worker this was, from 1.
    pub incarnation: u8,
    /// Its epoch, once chosen.
    pub epoch: u8,
    /// How often it has stepped back for another opener.
    pub step_backs: u8,
    /// The number of its newest segment.
    pub segment: u8,
    /// What it does next.
    pub phase: Phase,
    /// Its memory: the state and the ledger.
    pub view: View,
    /// What the node has sent it, oldest first.
    pub inbox: Vec<Frame>,
}

impl Worker {
    /// A worker that was just started.
    pub fn start(incarnation: u8, inbox: Vec<Frame>) -> Self {
        Self {
            incarnation,
            epoch: 0,
            step_backs: 0,
            segment: 1,
            phase: Phase::ChooseEpoch,
            view: View::default(),
            inbox,
        }
    }

    /// The segment that it writes.
    pub fn segment_id(&self) -> SegmentId {
        SegmentId { epoch: self.epoch, number: self.segment, writer: self.incarnation }
    }

    /// Whether it can take a step by itself.
    pub fn is_busy(&self) -> bool {
        self.phase != Phase::Idle || !self.inbox.is_empty()
    }

    /// Whether it has opened its state and answers calls.
    pub fn is_serving(&self) -> bool {
        self.phase.rank() > Phase::RemoveOlder.rank()
    }

    /// Whether it waits for a call.
    pub fn is_idle(&self) -> bool {
        self.phase == Phase::Idle
    }

    /// Whether its next step sends a reply.
    pub fn is_answering(&self) -> bool {
        matches!(self.phase, Phase::Answer(..))
    }

    /// Takes up a call that only reads, made when the calls of this bit set had been answered.
    pub fn begin_read(&mut self, answered: u16) {
        self.phase = Phase::AnswerRead(answered);
    }

    /// Begins a checkpoint: the next segment is ready under its temporary name.
    pub fn begin_checkpoint(&mut self) {
        self.segment += 1;
        self.phase = Phase::Publish;
    }

    /// Grows with every step of the worker, and never passes [`Worker::MAX_RANK`].
    pub fn rank(&self) -> u32 {
        let left = Self::MAX_INBOX - (self.inbox.len() as u32).min(Self::MAX_INBOX);
        self.phase.rank() + 4 * u32::from(self.epoch) + 32 * left
    }

    const MAX_INBOX: u32 = 16;

    /// A bound of [`Worker::rank`].
    pub const MAX_RANK: u32 = 32 * Self::MAX_INBOX + 256;
}

impl Phase {
    fn rank(&self) -> u32 {
        match self {
            Self::ChooseEpoch => 0,
            Self::Claim => 1,
            Self::ListAgain => 2,
            Self::ClearClaims(_) => 3,
            Self::FindSegment => 4,
            Self::ReadSegment(_) => 5,
            Self::Publish => 6,
            Self::SyncNames => 7,
            Self::CheckSegment => 8,
            Self::RemoveOlder => 9,
            Self::Append(_) => 10,
            Self::Sync(_) => 11,
            Self::Check(_) => 12,
            Self::Answer(..) => 13,
            Self::SyncLate => 14,
            Self::AnswerRead(_) => 15,
            // Above the rest: a call leaves the inbox when it begins, which weighs more.
            Self::Idle => 16,
        }
    }
}
