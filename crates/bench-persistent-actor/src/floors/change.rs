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
use crate::block::{Block, BlockHandle};

/// How much changes in each call. Bytes.
const CHANGE: usize = 4096;

const SMALL: What =
    What::us("state_4_kib_power", "a call that changes all of a state of 4 KiB, `power`");

/// A size of state.
struct Size {
    len: usize,
    /// The rows that need it.
    rows: &'static [&'static str],
    read: What,
    found: What,
    /// How many calls in a turn.
    times: usize,
}

const MIB: usize = 1 << 20;

macro_rules! size {
    ($name:ident, $read:ident, $found:ident, $key:literal, $text:literal, $len:expr, $times:expr) => {
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
        const $name: Size = Size {
            len: $len,
            rows: &[concat!("change-", $key, "-found")],
            read: $read,
            found: $found,
            times: $times,
        };
    };
}

size!(SIZE_1M, READ_1M, FOUND_1M, "1m", "1 MiB", MIB, 60);
size!(SIZE_64M, READ_64M, FOUND_64M, "64m", "64 MiB", 64 * MIB, 5);
size!(SIZE_1G, READ_1G, FOUND_1G, "1g", "1 GiB", 1024 * MIB, 2);

const SIZES: [Size; 3] = [SIZE_1M, SIZE_64M, SIZE_1G];

pub(super) const ROWS: &[Row] = &[
    Row {
        key: "change-1m-found",
        work: "4 KiB of 1 MiB changed in place, power",
        product: &FOUND_1M,
        floors: &[&READ_1M, &SMALL],
        target: Target::AtMost(1.3),
    },
    Row {
        key: "change-64m-found",
        work: "4 KiB of 64 MiB changed in place, power",
        product: &FOUND_64M,
        floors: &[&READ_64M],
        target: Target::AtMost(1.3),
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
        let mut turns = vec![
            Turn::new(size.read, Read::start(size.len)?, size.times),
            Turn::new(size.found, Change::start(context, size.len)?, size.times),
        ];
        // The commit of 4 KiB is met by the same disk as that of the smallest of the others.
        if found.is_empty() {
            turns.push(Turn::new(SMALL, Change::start(context, CHANGE)?, 60));
        }
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
pub(super) struct Change {
    crew: crew::Crew<BlockHandle>,
    len: usize,
    random: StdRng,
    calls: u8,
}

impl Change {
    pub(super) fn start(context: &Context<'_>, len: usize) -> Result<Self, FloorsError> {
        let crew = block(context, Durability::Power, &format!("block-{len}"), len)?;
        Ok(Self { crew, len, random: StdRng::seed_from_u64(len as u64), calls: 0 })
    }
}

/// An actor with a state of this length.
pub(super) fn block(
    context: &Context<'_>,
    durability: Durability,
    name: &str,
    len: usize,
) -> Result<crew::Crew<BlockHandle>, FloorsError> {
    let mut crew = crew::Crew::empty(context, durability, name)?;
    context.runtime.block_on(async {
        let block = crew.node.actor::<Block>("block").spawn().await.map_err(Error::from)?;
        block.fill(len as u64, 1).await.map_err(Error::from)?;
        crew.members.push(block);
        Ok(crew)
    })
}

impl Probe for Change {
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
            }
            Ok(samples)
        })
    }
}
