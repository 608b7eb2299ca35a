//! The steps of a worker.
//!
//! A step is what no other process can divide: one operation on the disk, or one reply. Work in
//! the worker's own memory, and on files that no other process looks at, belongs to the step
//! after it.

use crate::disk::Disk;
use crate::mutation::Mutation;
use crate::view::{Answer, CallId, Record, View};
use crate::worker::{Phase, Worker};

/// How often an opener steps back for others that open at the same moment, before it gives up.
const MAX_STEP_BACKS: u8 = 2;

/// What a step of a worker does to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing but what it does to the disk.
    None,
    /// It cannot go on, because it was superseded, and exits.
    Exited,
    /// It answers a call.
    Answered(CallId, Answer),
    /// It answers a read; see [`Phase::AnswerRead`].
    Read(u16),
}

/// The next step of a worker, on the disk, under the rules of the protocol.
pub struct Step<'a> {
    /// Who takes it.
    pub worker: &'a mut Worker,
    /// The disk.
    pub disk: &'a mut Disk,
    /// Whether syncs are made: at level `power`.
    pub sync: bool,
    /// The rule that is taken away.
    pub mutation: Option<Mutation>,
}

impl Step<'_> {
    /// Takes it.
    pub fn take(mut self) -> Effect {
        match self.worker.phase.clone() {
            Phase::ChooseEpoch => self.choose_epoch(),
            Phase::Claim => self.claim(),
            Phase::ListAgain => self.list_again(),
            Phase::ClearClaims(listed) => self.clear_claims(listed),
            Phase::FindSegment => self.find_segment(),
            Phase::ReadSegment(id) => match self.disk.read(id, self.mutation) {
                Some(view) => self.loaded(view),
                None => Effect::Exited,
            },
            Phase::Publish => self.publish(),
            Phase::SyncNames => {
                self.disk.settle_names();
                self.go(Phase::CheckSegment)
            }
            Phase::CheckSegment => match self.mutation {
                Some(Mutation::NoCheckAfterOpen) => self.go(Phase::RemoveOlder),
                Some(Mutation::RemoveBeforePublish) => self.check(Phase::Idle),
                _ => self.check(Phase::RemoveOlder),
            },
            Phase::RemoveOlder => {
                self.disk.remove_older_segments(self.worker.segment_id());
                let early = self.has(Mutation::RemoveBeforePublish);
                self.go(if early { Phase::Publish } else { Phase::Idle })
            }
            _ => self.serve(),
        }
    }

    fn serve(&mut self) -> Effect {
        match self.worker.phase.clone() {
            Phase::Idle => self.take_call(),
            Phase::Append(record) => {
                self.append(record);
                self.go(if self.sync { Phase::Sync(record) } else { answer(&record) })
            }
            Phase::Sync(record) => {
                self.disk.sync(self.worker.segment_id());
                let checked = self.has(Mutation::CheckBeforeWrite);
                self.go(if checked { answer(&record) } else { Phase::Check(record) })
            }
            Phase::Check(record) => self.check(answer(&record)),
            Phase::Answer(id, answer) => {
                let late = self.sync && self.has(Mutation::AnswerBeforeSync);
                self.go(if late { Phase::SyncLate } else { Phase::Idle });
                Effect::Answered(id, answer)
            }
            Phase::AnswerRead(answered) => {
                let unchecked = self.has(Mutation::ReadWithoutCheck);
                match if unchecked { self.go(Phase::Idle) } else { self.check(Phase::Idle) } {
                    Effect::None => Effect::Read(answered),
                    exited => exited,
                }
            }
            _ => {
                self.disk.sync(self.worker.segment_id());
                self.go(Phase::Idle)
            }
        }
    }

    fn choose_epoch(&mut self) -> Effect {
        self.worker.epoch = self.disk.highest_epoch(self.mutation) + 1;
        self.go(if self.has(Mutation::ReadBeforeClaim) { Phase::FindSegment } else { Phase::Claim })
    }

    fn claim(&mut self) -> Effect {
        if self.disk.claim(self.worker.epoch, self.worker.incarnation) {
            return self.go(Phase::ListAgain);
        }
        self.worker.epoch = self.disk.highest_epoch(self.mutation) + 1;
        Effect::None
    }

    fn list_again(&mut self) -> Effect {
        let epoch = self.worker.epoch;
        let highest = self.disk.highest_epoch(self.mutation);
        if highest > epoch && !self.has(Mutation::NoStepBack) {
            self.disk.claims.remove(&epoch);
            self.worker.step_backs += 1;
            self.worker.epoch = highest + 1;
            let gives_up = self.worker.step_backs > MAX_STEP_BACKS;
            return if gives_up { Effect::Exited } else { self.go(Phase::Claim) };
        }
        let lower = self.disk.claims.range(..epoch).fold(0u16, |set, (epoch, _)| set | 1 << epoch);
        self.go(Phase::ClearClaims(lower))
    }

    fn clear_claims(&mut self, listed: u16) -> Effect {
        self.disk.claims.retain(|epoch, _| listed & (1u16 << epoch) == 0);
        let has_read = self.has(Mutation::ReadBeforeClaim);
        self.go(if has_read { Phase::Publish } else { Phase::FindSegment })
    }

    fn find_segment(&mut self) -> Effect {
        match self.disk.newest() {
            Some(id) => self.go(Phase::ReadSegment(id)),
            None => self.loaded(View::default()),
        }
    }

    fn loaded(&mut self, view: View) -> Effect {
        self.worker.view = view;
        self.go(match self.mutation {
            Some(Mutation::ReadBeforeClaim) => Phase::Claim,
            Some(Mutation::RemoveBeforePublish) => Phase::RemoveOlder,
            _ => Phase::Publish,
        })
    }

    fn publish(&mut self) -> Effect {
        let id = self.worker.segment_id();
        let whole = self.sync && !self.has(Mutation::ServeBeforeSnapshotSync);
        self.disk.publish(id, self.worker.view.clone(), whole);
        if self.sync && self.has(Mutation::NoNamesSync) {
            return self.go(Phase::CheckSegment);
        }
        if self.sync {
            return self.go(Phase::SyncNames);
        }
        self.disk.settle_names();
        self.go(Phase::CheckSegment)
    }

    fn take_call(&mut self) -> Effect {
        let frame = self.worker.inbox.remove(0);
        if let Some(answer) = self.worker.view.admit(frame.id, self.mutation) {
            return self.go(Phase::Answer(frame.id, answer));
        }
        let record = self.worker.view.run(frame);
        if self.has(Mutation::CheckBeforeWrite) {
            return self.check(Phase::Append(record));
        }
        self.append(record);
        let sync = self.sync && !self.has(Mutation::AnswerBeforeSync);
        self.go(if sync { Phase::Sync(record) } else { Phase::Check(record) })
    }

    fn append(&mut self, record: Record) {
        self.disk.append(self.worker.segment_id(), record);
        self.worker.view.apply(&record, self.mutation);
    }

    fn check(&mut self, next: Phase) -> Effect {
        let holds = self.disk.holds(self.worker.epoch, self.worker.incarnation);
        if holds || self.has(Mutation::NoEpochCheck) { self.go(next) } else { Effect::Exited }
    }

    fn go(&mut self, next: Phase) -> Effect {
        self.worker.phase = next;
        Effect::None
    }

    fn has(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }
}

fn answer(record: &Record) -> Phase {
    Phase::Answer(record.frame.id, Answer::Reply(record.reply))
}
