//! [`Disk`]: claims and journal segments, and what a power loss leaves of them.

use std::collections::BTreeMap;

use crate::mutation::Mutation;
use crate::view::{Record, View};

/// A journal segment: the name, and which worker's file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SegmentId {
    /// The epoch of its one writer; first part of the name.
    pub epoch: u8,
    /// Which segment of that epoch, from 1; second part of the name.
    pub number: u8,
    /// The incarnation that wrote the file. Not part of the name.
    pub writer: u8,
}

impl SegmentId {
    fn name(self) -> (u8, u8) {
        (self.epoch, self.number)
    }
}

/// A journal segment under its final name. Its snapshot is complete: it was written, and at
/// level `power` synced, under a temporary name that nobody reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Segment {
    /// Its name and writer.
    pub id: SegmentId,
    /// The state it begins with.
    pub snapshot: View,
    /// The commits after that.
    pub records: Vec<Record>,
    /// How many of the records, counted from the first, are synced.
    pub synced: usize,
    /// Whether its name is synced.
    pub named: bool,
    /// Whether its snapshot is synced.
    pub whole: bool,
}

impl Segment {
    fn is_durable(&self) -> bool {
        self.named && self.whole && self.synced == self.records.len()
    }

    fn view(&self, records: usize, mutation: Option<Mutation>) -> View {
        let mut view = self.snapshot.clone();
        self.records[..records].iter().for_each(|record| view.apply(record, mutation));
        view
    }
}

/// What is on the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Disk {
    /// The claims: epoch, and the incarnation that made the file.
    pub claims: BTreeMap<u8, u8>,
    /// By name, oldest first. Of two with the same name the latter has replaced the former, but
    /// the names are not synced yet.
    pub segments: Vec<Segment>,
}

impl Disk {
    /// The highest epoch in any file name.
    pub fn highest_epoch(&self, mutation: Option<Mutation>) -> u8 {
        let claim = self.claims.keys().last().copied().unwrap_or(0);
        let segment = self.segments.last().map_or(0, |segment| segment.id.epoch);
        match mutation {
            Some(Mutation::NumberByClaimsOnly) => claim,
            _ => claim.max(segment),
        }
    }

    /// Makes a claim; `false` if its name exists.
    pub fn claim(&mut self, epoch: u8, incarnation: u8) -> bool {
        let free = !self.claims.contains_key(&epoch);
        self.claims.entry(epoch).or_insert(incarnation);
        free
    }

    /// Whether the claim that this incarnation made is still there (not marked, its link count not zero).
    pub fn holds(&self, epoch: u8, incarnation: u8) -> bool {
        self.claims.get(&epoch) == Some(&incarnation)
    }

    /// The newest segment.
    pub fn newest(&self) -> Option<SegmentId> {
        self.segments.last().map(|segment| segment.id)
    }

    /// What a segment says; `None` if it was removed.
    pub fn read(&self, id: SegmentId, mutation: Option<Mutation>) -> Option<View> {
        let segment = self.segments.iter().find(|segment| segment.id == id)?;
        Some(segment.view(segment.records.len(), mutation))
    }

    /// What an opener would read now; with `durable`, after a loss of all that is not synced.
    pub fn stored(&self, durable: bool, mutation: Option<Mutation>) -> View {
        let mut segments = self.segments.iter().rev();
        let newest = segments.find(|segment| !durable || (segment.named && segment.whole));
        newest.map_or_else(View::default, |segment| {
            let records = if durable { segment.synced } else { segment.records.len() };
            segment.view(records, mutation)
        })
    }

    /// Gives a complete segment its final name. One of that name is replaced: at once, or, at
    /// level `power`, for good when the names are synced. `whole`: the snapshot is synced.
    pub fn publish(&mut self, id: SegmentId, snapshot: View, whole: bool) {
        let at = self.segments.partition_point(|segment| segment.id.name() <= id.name());
        let records = Vec::new();
        let segment = Segment { id, snapshot, records, synced: 0, named: false, whole };
        self.segments.insert(at, segment);
    }

    /// Syncs the directory (or does without, at level `process`).
    pub fn settle_names(&mut self) {
        self.segments.iter_mut().for_each(|segment| segment.named = true);
        self.drop_replaced();
    }

    fn drop_replaced(&mut self) {
        self.segments.reverse();
        self.segments.dedup_by_key(|segment| segment.id.name());
        self.segments.reverse();
    }

    /// Adds a record; it is lost with its file if that was removed meanwhile.
    pub fn append(&mut self, id: SegmentId, record: Record) {
        if let Some(segment) = self.segment(id) {
            segment.records.push(record);
        }
    }

    /// Syncs a segment.
    pub fn sync(&mut self, id: SegmentId) {
        if let Some(segment) = self.segment(id) {
            segment.synced = segment.records.len();
            segment.whole = true;
        }
    }

    /// Removes what the first segment of an epoch replaces, which is all that is older, or what
    /// a checkpoint replaces, which is the segment before.
    pub fn remove_older_segments(&mut self, id: SegmentId) {
        let name = id.name();
        self.segments.retain(|segment| {
            let older = segment.id.name() < name;
            !older || (id.number > 1 && segment.id.epoch != id.epoch)
        });
    }

    /// How many segments have something that is not synced.
    pub fn unsynced_segments(&self) -> usize {
        self.segments.iter().filter(|segment| !segment.is_durable()).count()
    }

    /// Loses the claims, whose names nobody syncs, and what is not synced of each segment, save
    /// those whose bit in `kept` is set (counted over the segments with something to lose).
    pub fn lose_power(&mut self, mut kept: u8) {
        self.claims.clear();
        for segment in self.segments.iter_mut().filter(|segment| !segment.is_durable()) {
            if kept & 1 == 1 {
                (segment.named, segment.whole) = (true, true);
            } else {
                segment.records.truncate(segment.synced);
            }
            segment.synced = segment.records.len();
            kept >>= 1;
        }
        self.segments.retain(|segment| segment.named && segment.whole);
        self.drop_replaced();
    }

    fn segment(&mut self, id: SegmentId) -> Option<&mut Segment> {
        self.segments.iter_mut().find(|segment| segment.id == id)
    }
}
