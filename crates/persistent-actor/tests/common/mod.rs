//! What the tests of the store share: workloads whose every intermediate state is known, and the
//! rules by which a reopened state is judged.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // Each test file uses a part of it.

pub mod group;
mod in_place;

use std::path::Path;
use std::time::Duration;

use persistent_actor::store::{CallRecord, FileStore, Record, Store, View};
use persistent_actor::testing::{SimDisk, Switches};
use persistent_actor::{
    ActorState, Bytes, CallId, Durability, Encoded, LedgerLimits, OpenError, Options, PagedBytes,
    Reply, ReplyStatus, SessionId, StoreError, codec,
};

#[allow(unused_imports)]
pub use in_place::{Guard, in_place};

/// What errors call the simulated directory.
pub const PATH: &str = "state";

/// SplitMix64 (Steele, Lea, Flood 2014).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Few calls are remembered, so that slots are given back; none for their age, because the
/// records of the tests are as old as 1970.
pub fn limits() -> LedgerLimits {
    LedgerLimits { max_age: Duration::MAX, max_calls: 6, ..LedgerLimits::default() }
}

pub fn options(durability: Durability, switches: Switches) -> Options {
    let options = ActorState::options().durability(durability).switches(switches);
    options.ledger_limits(limits()).small_segments().impatient()
}

/// A value to commit.
#[derive(Clone, Debug)]
pub enum Content {
    /// A few bytes.
    Number(u64),
    /// A string of this length.
    Text(usize),
    /// An array of this length, all zero.
    Zeros(usize),
    /// An array of this length.
    Blob(usize),
    /// The array that the attribute holds, with one byte changed at this place.
    Touched(usize),
    /// What the attribute holds, as a new array.
    Same,
    /// An array in pages of this length.
    Paged(usize),
    /// An array in pages of this length, all zero.
    PagedZeros(usize),
    /// The array that the attribute holds, in pages, so many bytes of it changed from here on.
    Written(usize, usize),
    /// The array in pages that the attribute holds, with a new identity.
    Kept,
    /// What this attribute holds.
    Of(u8),
}

/// One step of a history.
#[derive(Clone, Debug)]
pub enum Step {
    /// Commits these values to these attributes (0 to 3).
    Update(Vec<(u8, Content)>),
    /// The same, caused by a call that is answered with the last of the values, or a number.
    Call(Vec<(u8, Content)>),
    /// A call that is answered with an array that nobody keeps, and changes nothing.
    Answer(usize),
    /// The store is dropped and opened again.
    Reopen,
}

impl Step {
    /// The record that this step makes of `view`, `None` for a reopening.
    pub fn record(&self, view: &View) -> Option<Record> {
        let sequence = view.sequence + 1;
        let (changes, is_call) = match self {
            Self::Update(changes) => (changes.as_slice(), false),
            Self::Call(changes) => (changes.as_slice(), true),
            Self::Answer(_) => (&[][..], true),
            Self::Reopen => return None,
        };
        let mut values: Vec<(String, Encoded)> = Vec::new();
        for (attribute, content) in changes {
            let name = format!("a{attribute}");
            let value = match content {
                Content::Of(other) => view.attributes.get(&format!("a{other}")).cloned(),
                content => Some(value(content, view.attributes.get(&name), sequence)),
            };
            let Some(value) = value else { continue };
            values.retain(|(known, _)| *known != name);
            values.push((name, value));
        }
        let call = is_call.then(|| {
            let reply = match (self, values.last()) {
                (Self::Answer(len), _) => codec::encode(&array(*len, sequence)).unwrap(),
                (_, Some((_, value))) => value.clone(),
                (_, None) => codec::encode(&sequence).unwrap(),
            };
            CallRecord {
                id: CallId { session: SessionId(7 << 80), sequence },
                acked_below: sequence.saturating_sub(3),
                digest: sequence * 31,
                at_ms: sequence,
                reply: Reply { status: ReplyStatus::Returned, value: reply },
            }
        });
        Some(Record { sequence, call, changes: values })
    }
}

fn array(len: usize, seed: u64) -> Bytes {
    Bytes::build(len, |out| {
        for (place, byte) in out.iter_mut().enumerate() {
            *byte = (place as u64 / 7 + seed) as u8;
        }
    })
}

fn value(content: &Content, old: Option<&Encoded>, sequence: u64) -> Encoded {
    let held = || old.and_then(|old| old.blobs.first());
    match content {
        Content::Number(number) => codec::encode(&(number, sequence)),
        Content::Text(len) => {
            let letter = char::from(b'a' + (sequence % 26) as u8);
            codec::encode(&String::from_iter(std::iter::repeat_n(letter, *len)))
        }
        Content::Zeros(len) => codec::encode(&Bytes::from(vec![0; *len])),
        Content::Blob(len) => codec::encode(&array(*len, sequence)),
        Content::Touched(place) => match held() {
            Some(old) => {
                let mut new = old.clone();
                let place = place % old.len().max(1);
                new.make_mut()[place] ^= 0x55;
                codec::encode(&new)
            }
            None => codec::encode(&sequence),
        },
        Content::Same => match held() {
            Some(old) => codec::encode(&Bytes::from(&old[..])),
            None => codec::encode(&sequence),
        },
        Content::Paged(len) => codec::encode(&PagedBytes::from(&array(*len, sequence)[..])),
        Content::PagedZeros(len) => codec::encode(&PagedBytes::zeroed(*len)),
        Content::Written(place, len) => match old.map(codec::decode::<PagedBytes>) {
            Some(Ok(mut held)) if *len <= held.len() => {
                let place = place % (held.len() - len + 1);
                held.visit_mut(place..place + len, |at, part| {
                    part.iter_mut().zip(at..).for_each(|(byte, at)| *byte ^= (at | 1) as u8);
                });
                codec::encode(&held)
            }
            _ => codec::encode(&sequence),
        },
        Content::Of(_) => unreachable!("is no new value"),
        Content::Kept => match old.map(codec::decode::<PagedBytes>) {
            Some(Ok(mut held)) if !held.is_empty() => {
                let first = held.get(0..1);
                held.write(0, &first);
                codec::encode(&held)
            }
            _ => codec::encode(&sequence),
        },
    }
    .unwrap()
}

/// A workload with all there is: short and long records, arrays that change a little or
/// entirely, large CBOR, shared and lone replies, checkpoints, reopenings.
pub fn workload() -> Vec<Step> {
    use Content::{Blob, Kept, Number, Of, Paged, Same, Text, Touched, Written};
    use Step::{Answer, Call, Reopen, Update};
    vec![
        Call(vec![(0, Number(1))]),
        Call(vec![(0, Number(2)), (1, Text(300))]),
        Call(vec![(1, Text(1500))]),
        Call(vec![(2, Blob(70_000))]),
        Call(vec![(2, Touched(66_000))]),
        Call(vec![(2, Touched(3)), (0, Number(3))]),
        Answer(65_536),
        Call(vec![(2, Same)]),
        Reopen,
        Call(vec![(2, Touched(69_999))]),
        Call(vec![(3, Text(66_000))]),
        Call(vec![(3, Text(66_001)), (1, Text(66_002))]),
        Update(vec![(1, Text(900))]),
        Call(vec![(1, Text(1400))]),
        Call(vec![(1, Text(1800)), (2, Blob(131_072))]),
        Call(vec![(1, Text(1000)), (2, Touched(0))]),
        Call(vec![(1, Text(1900))]),
        Call(vec![]),
        Call(vec![(3, Number(0))]),
        Call(vec![(1, Text(2900))]),
        Call(vec![(1, Text(2800))]),
        Reopen,
        Call(vec![(0, Number(4))]),
        // Arrays in pages: patched, shared, answered, folded at a checkpoint, continued.
        Update(vec![(2, Paged(70_000)), (3, Number(1))]),
        Update(vec![(2, Written(4090, 12))]),
        Call(vec![(2, Written(69_000, 1000)), (0, Number(5))]),
        Update(vec![(3, Of(2))]),
        Call(vec![(3, Written(7, 1)), (2, Kept), (0, Number(6))]),
        Call(vec![(2, Written(4093, 5000))]),
        Update(vec![(2, Written(8190, 4500))]),
        Update(vec![(2, Written(100, 4000)), (3, Of(2))]),
        Update(vec![(2, Written(9000, 4000)), (3, Number(2))]),
        Reopen,
        Update(vec![(2, Written(30_000, 3000))]),
        Update(vec![(2, Written(34_000, 5000)), (1, Text(1500))]),
        Update(vec![(2, Written(50_000, 4000)), (1, Text(1600))]),
        Update(vec![(2, Written(1, 60_000))]),
        Call(vec![(2, Written(69_999, 1)), (1, Text(900))]),
    ]
}

/// A workload in which slots become free and are used again, in place and otherwise.
pub fn reusing_workload() -> Vec<Step> {
    use Content::{Blob, Number, Of, Paged, Same, Text, Touched, Written};
    use Step::{Answer, Call, Reopen, Update};
    let mut steps = Vec::new();
    for round in 0..2 {
        steps.extend((0..6).map(|_| Call(vec![(2, Blob(70_000))])));
        steps.extend([
            Call(vec![(2, Touched(66_000)), (1, Text(1700))]),
            Call(vec![(2, Same)]),
            Call(vec![(2, Touched(3)), (1, Text(1800))]),
            Update(vec![(3, Of(2))]),
            Answer(66_000),
            Update(vec![(2, Blob(72_000))]),
            Update(vec![(2, Blob(65_600)), (1, Text(1900))]),
            Update(vec![(3, Touched(9))]),
            Call(vec![(1, Text(70_000))]),
            Call(vec![(1, Text(70_001))]),
            Update(vec![(2, Paged(70_000))]),
            Update(vec![(2, Written(4090, 12))]),
            Update(vec![(2, Blob(66_000)), (1, Text(1500))]),
            Update(vec![(2, Same), (3, Number(1))]),
            Update(vec![(2, Blob(67_000)), (3, Blob(68_000)), (1, Text(900))]),
            Update(vec![(2, Touched(1)), (3, Same), (1, Text(1950))]),
            Update(vec![(2, Blob(150_000)), (3, Touched(60_000))]),
            Update(vec![(2, Same), (1, Text(1960))]),
            Update(vec![(2, Blob(150_000)), (0, Number(round))]),
        ]);
        steps.extend((0..5).map(|_| Call(vec![(2, Touched(100)), (1, Text(1200))])));
        steps.push(Reopen);
    }
    steps
}

/// A short workload without large values, for tests that repeat it for each byte.
pub fn small_workload() -> Vec<Step> {
    use Content::{Number, Text};
    use Step::Call;
    vec![
        Call(vec![(0, Number(1))]),
        Call(vec![(0, Number(2)), (1, Text(700))]),
        Call(vec![(1, Text(300))]),
        Call(vec![(0, Number(3))]),
    ]
}

/// The states that the steps pass through; the index is the sequence number.
pub fn history(steps: &[Step]) -> Vec<View> {
    let mut history = vec![View::default()];
    for step in steps {
        let view = &history[history.len() - 1];
        if let Some(record) = step.record(view) {
            let mut view = view.clone();
            view.apply(record, &limits());
            history.push(view);
        }
    }
    history
}

/// A store together with what is committed, as [`ActorState`] holds them.
pub struct Open {
    pub store: FileStore,
    pub view: View,
}

impl Open {
    pub fn on(disk: &SimDisk, options: &Options) -> Result<Self, OpenError> {
        let (store, view) = FileStore::open_on(disk.storage(), Path::new(PATH), options)?;
        Ok(Self { store, view })
    }

    /// Commits the step; what it answers is durable.
    pub fn commit(&mut self, step: &Step) -> Result<(), StoreError> {
        if let Some(record) = step.record(&self.view) {
            self.store.commit(&record, &self.view)?;
            self.view.apply(record, &limits());
        }
        Ok(())
    }
}

/// Where a run stopped.
#[derive(Debug)]
pub struct Stopped {
    /// The last commit that was answered.
    pub answered: u64,
    /// Why.
    pub reason: String,
}

/// Runs the steps; each answered commit is marked in the disk's log.
pub fn run(disk: &SimDisk, options: &Options, steps: &[Step]) -> Result<(), Stopped> {
    let mut answered = 0;
    let mut open: Option<Open> = None;
    let mut ended = Vec::new();
    for step in steps {
        let stopped = |reason: String| Stopped { answered, reason };
        if matches!(step, Step::Reopen) {
            // The next incarnation may use again what this one leaves.
            ended.extend(open.take().map(|open| open.store.epoch()));
            continue;
        }
        let current = match &mut open {
            Some(current) => current,
            none => {
                let options = options.clone().ended(ended.clone());
                none.insert(Open::on(disk, &options).map_err(|error| stopped(error.to_string()))?)
            }
        };
        if let Err(error) = current.commit(step) {
            let poisoned = current.commit(&Step::Call(vec![])).is_err();
            assert!(poisoned, "after {error} the store went on");
            return Err(stopped(error.to_string()));
        }
        answered = current.view.sequence;
        disk.mark(answered);
        if let Err(error) = current.store.maintain(&mut current.view) {
            assert!(current.commit(&Step::Call(vec![])).is_err(), "after {error} it went on");
            return Err(Stopped { answered, reason: error.to_string() });
        }
    }
    Ok(())
}

/// A promise was broken; says how.
pub type Verdict = Result<(), String>;

/// Opens what is on the disk: it must be a state of the history, not older than `answered`.
pub fn judge(disk: &SimDisk, options: &Options, history: &[View], answered: u64) -> Verdict {
    let open = Open::on(disk, options).map_err(|error| format!("cannot be opened: {error}"))?;
    judge_view(&open.view, history, answered)
}

pub fn judge_view(view: &View, history: &[View], answered: u64) -> Verdict {
    let found = view.sequence;
    if found < answered {
        return Err(format!("commit {answered} was answered, but the state is that of {found}"));
    }
    let Some(expected) = history.get(found as usize) else {
        return Err(format!("commit {found} never took place"));
    };
    if view != expected {
        return Err(format!("the state is not what commit {found} left"));
    }
    Ok(())
}
