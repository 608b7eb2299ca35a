//! 4 KiB of a larger state changed: found by comparison, beside reading the state once, and told
//! by the actor, beside the commit of a state of 4 KiB.

use std::time::Instant;

use persistent_actor::Durability;
use persistent_actor_runtime::Error;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::runtime::Runtime;

use super::memory::{Region, read_all};
use super::probe::{Probe, Share, Turn, alternate, micros};
use super::what::{Found, Row, Target, What};
use super::{Context, Effort, FloorsError, crew, system};
use crate::block::{Array, BlockHandle, PagesHandle, TrackedHandle};

/// How much changes in each call. Bytes.
const CHANGE: usize = 4096;

/// A size of state.
struct Size {
    len: usize,
    /// The rows that need it.
    rows: &'static [&'static str],
    /// The commit of a small state, beside the others of this size: the same disk, the same moment.
    small: What,
    read: What,
    found: What,
    told: What,
    /// How many calls in a turn.
    times: usize,
}

const MIB: usize = 1 << 20;

macro_rules! size {
    ($name:ident, $small:ident, $read:ident, $found:ident, $told:ident, $key:literal, $text:literal, $len:expr, $times:expr) => {
        const $small: What = What::us(
            concat!("state_4_kib_beside_", $key),
            "a call that changes all of a state of 4 KiB, `power`",
        );
        const $read: What = What::us(
            concat!("read_", $key),
            concat!("reading ", $text, " once, cold where it is larger than the caches"),
        );
        const $found: What = What::us(
            concat!("change_found_", $key),
            concat!(
                "a call that changes 4 KiB of ",
                $text,
                " in place, found by comparison, `power`"
            ),
        );
        const $told: What = What::us(
            concat!("change_told_", $key),
            concat!("a call that changes 4 KiB of ", $text, " in pages, `power`"),
        );
        const $name: Size = Size {
            len: $len,
            rows: &[concat!("change-", $key, "-found"), concat!("change-", $key, "-told")],
            small: $small,
            read: $read,
            found: $found,
            told: $told,
            times: $times,
        };
    };
}

size!(SIZE_1M, SMALL_1M, READ_1M, FOUND_1M, TOLD_1M, "1m", "1 MiB", MIB, 60);
size!(SIZE_64M, SMALL_64M, READ_64M, FOUND_64M, TOLD_64M, "64m", "64 MiB", 64 * MIB, 5);
size!(SIZE_1G, SMALL_1G, READ_1G, FOUND_1G, TOLD_1G, "1g", "1 GiB", 1024 * MIB, 2);

const SIZES: [Size; 3] = [SIZE_1M, SIZE_64M, SIZE_1G];

pub(super) const ROWS: &[Row] = &[
    Row {
        key: "change-1m-told",
        work: "4 KiB of 1 MiB changed range-wise, power",
        product: &TOLD_1M,
        floors: &[&SMALL_1M],
        target: Target::AtMost(2.0),
    },
    Row {
        key: "change-1m-found",
        work: "4 KiB of 1 MiB changed in place, power",
        product: &FOUND_1M,
        floors: &[&READ_1M, &SMALL_1M],
        target: Target::AtMost(1.3),
    },
    Row {
        key: "change-64m-told",
        work: "4 KiB of 64 MiB changed range-wise, power",
        product: &TOLD_64M,
        floors: &[&SMALL_64M],
        target: Target::AtMost(2.0),
    },
    Row {
        key: "change-64m-found",
        work: "4 KiB of 64 MiB changed in place, power",
        product: &FOUND_64M,
        floors: &[&READ_64M],
        target: Target::AtMost(1.3),
    },
    Row {
        key: "change-1g-told",
        work: "4 KiB of 1 GiB changed range-wise, power",
        product: &TOLD_1G,
        floors: &[&SMALL_1G],
        target: Target::AtMost(2.0),
    },
    Row {
        key: "change-1g-found",
        work: "4 KiB of 1 GiB changed in place, power",
        product: &FOUND_1G,
        floors: &[&READ_1G],
        target: Target::AtMost(1.3),
    },
];

pub(super) fn measure(context: &Context<'_>) -> Result<Vec<Found>, FloorsError> {
    let rounds = match context.effort {
        Effort::Quick => 2,
        Effort::Normal | Effort::Full => 3,
    };
    let mut found = Vec::new();
    for size in &SIZES {
        let is_slow = size.len > 64 * MIB && context.effort == Effort::Quick;
        if is_slow || !size.rows.iter().any(|row| context.wants(row)) {
            continue;
        }
        let mut turns = [
            Turn::new(size.read, Read::start(size.len)?, size.times),
            Turn::new(size.found, Change::<TrackedHandle>::start(context, size.len)?, size.times),
            Turn::new(size.told, Change::<PagesHandle>::start(context, size.len)?, 60),
            Turn::new(size.small, Change::<BlockHandle>::start(context, CHANGE)?, 60),
        ];
        // Short ones are as noisy as the disk, unless there are many.
        let rounds = if size.len <= MIB { 5 * rounds } else { rounds };
        found.extend(alternate(&mut turns, (2, rounds), context.runtime)?);
    }
    Ok(found)
}

/// Reading memory once.
pub(super) struct Read {
    memory: Region,
}

impl Read {
    pub(super) fn start(len: usize) -> Result<Self, FloorsError> {
        let mut memory = Region::map(len).map_err(system("take memory"))?;
        memory.as_mut_slice().fill(1);
        Ok(Self { memory })
    }
}

impl Probe for Read {
    fn sample(&mut self, _: &Runtime, share: &Share) -> Result<Vec<f64>, FloorsError> {
        let mut samples = Vec::new();
        while share.wants_more(samples.len()) {
            let begin = Instant::now();
            std::hint::black_box(read_all(std::hint::black_box(self.memory.as_slice())));
            samples.push(micros(begin));
        }
        Ok(samples)
    }
}

/// Calls that change a part of an actor's state, at random places.
pub(super) struct Change<H> {
    crew: crew::Crew<H>,
    len: usize,
    random: StdRng,
    calls: u8,
}

impl<H: Array> Change<H> {
    pub(super) fn start(context: &Context<'_>, len: usize) -> Result<Self, FloorsError> {
        let crew = block(context, Durability::Power, &format!("{}-{len}", H::KIND), len)?;
        Ok(Self { crew, len, random: StdRng::seed_from_u64(len as u64), calls: 0 })
    }
}

/// An actor with a state of this length.
pub(super) fn block<H: Array>(
    context: &Context<'_>,
    durability: Durability,
    name: &str,
    len: usize,
) -> Result<crew::Crew<H>, FloorsError> {
    let mut crew = crew::Crew::empty(context, durability, name)?;
    context.runtime.block_on(async {
        let block = H::spawn(&crew.node, "block").await.map_err(Error::from)?;
        block.fill(len as u64, 1).await.map_err(Error::from)?;
        crew.members.push(block);
        Ok(crew)
    })
}

impl<H: Array> Probe for Change<H> {
    fn sample(&mut self, runtime: &Runtime, share: &Share) -> Result<Vec<f64>, FloorsError> {
        runtime.block_on(async {
            let mut samples = Vec::new();
            let Some(block) = self.crew.members.first() else { return Ok(samples) };
            while share.wants_more(samples.len()) {
                // A state below 4 KiB changes as a whole.
                let len = CHANGE.min(self.len);
                let place = self.random.random_range(0..self.len / len) * len;
                self.calls = self.calls.wrapping_add(1);
                let begin = Instant::now();
                let call = block.change(place as u64, len as u64, self.calls);
                call.await.map_err(Error::from)?;
                samples.push(micros(begin));
                let last = block.byte((place + len - 1) as u64).await.map_err(Error::from)?;
                if last != Some(self.calls) {
                    return Err(FloorsError::Wrong("a change is not in the state"));
                }
            }
            Ok(samples)
        })
    }
}
