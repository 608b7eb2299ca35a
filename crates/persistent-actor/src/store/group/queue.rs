//! [`Queue`]: what is between those who commit and the one who writes.

use super::Written;
use super::batch::{self, Mark};
use crate::error::StoreError;
use crate::store::frame::Framing;
use crate::store::names::FileId;

/// How much memory for a batch is kept. Bytes.
const KEPT_BYTES: usize = 1024 * 1024;

/// What is between those who commit and the one who writes.
pub(super) struct Queue {
    /// The batch that gathers.
    batch: Batch,
    /// One that was written: its memory is used again.
    spent: Batch,
    /// The first failure, after which nothing is done any more.
    poison: Option<String>,
}

/// A batch that gathers, or is to be written.
#[derive(Default)]
pub(super) struct Batch {
    /// After room for a record header.
    pub(super) payload: Vec<u8>,
    /// Up to where it makes the members' segments durable.
    pub(super) marks: Vec<(u64, Mark)>,
    pub(super) number: u64,
}

impl Queue {
    pub(super) fn new() -> Self {
        let mut queue = Self { batch: Batch::default(), spent: Batch::default(), poison: None };
        queue.batch.begin(1);
        queue
    }

    pub(super) fn check(&self) -> Result<(), StoreError> {
        match &self.poison {
            None => Ok(()),
            Some(first) => Err(StoreError::Poisoned { first: first.clone() }),
        }
    }

    /// Nothing is done any more; the first reason counts.
    pub(super) fn poison(&mut self, reason: &str) {
        self.poison.get_or_insert_with(|| reason.to_owned());
    }

    /// The number of the batch that gathers.
    pub(super) fn number(&self) -> u64 {
        self.batch.number
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batch.marks.is_empty()
    }

    /// Adds what a member has written; gives the number of its batch.
    pub(super) fn push(&mut self, member: u64, written: &Written<'_>) -> u64 {
        let Written { epoch, number, offset, bytes } = written;
        batch::put_entry(&mut self.batch.payload, member, written);
        let segment = FileId { epoch: *epoch, number: *number };
        let mark = Mark { segment, end: offset + bytes.len() as u64 };
        self.batch.marks.push((member, mark));
        self.batch.number
    }

    /// Takes out the batch that has gathered.
    pub(super) fn take(&mut self) -> Batch {
        let mut next = std::mem::take(&mut self.spent);
        next.begin(self.batch.number + 1);
        std::mem::replace(&mut self.batch, next)
    }

    /// Takes back the memory of a batch.
    pub(super) fn give_back(&mut self, mut batch: Batch) {
        batch.payload.shrink_to(KEPT_BYTES);
        self.spent = batch;
    }
}

impl Batch {
    fn begin(&mut self, number: u64) {
        Framing::begin(&mut self.payload);
        self.marks.clear();
        self.number = number;
    }
}
