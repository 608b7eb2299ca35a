//! The cost of a commit at `power` against the size of the state.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use persistent_actor::Durability;
use persistent_actor_runtime::Error;
use tokio::runtime::Runtime;

use super::super::bare::prewritten;
use super::super::change::{Change, Read, block};
use super::super::memory::Region;
use super::super::probe::{Probe, Share, Turn, alternate, micros};
use super::super::what::{What, find};
use super::super::{Context, Effort, FloorsError, crew, system};
use crate::block::{BlockHandle, PagesHandle, TrackedHandle};
use crate::measurement::median;

const WHOLE: What = What::us("whole", "all of it changed");
const FOUND: What = What::us("found", "4 KiB changed in place, found by comparison");
const TOLD: What = What::us("told", "4 KiB changed, told by the actor");
const WRITE: What = What::us("floor_write", "pwrite + fdatasync of all of it");
const READ: What = What::us("floor_read", "reading it once");

const KIB: usize = 1 << 10;
const GIB: usize = 1 << 30;

/// At most so many calls in a turn.
const TIMES: usize = 100;

/// 1 KiB to 1 GiB, each four times the one before.
pub(super) fn points(effort: Effort) -> Vec<usize> {
    let all = std::iter::successors(Some(KIB), |len| Some(len * 4)).take_while(|len| *len <= GIB);
    match effort {
        Effort::Quick => all.filter(|len| *len <= 16 << 20).collect(),
        Effort::Normal | Effort::Full => all.collect(),
    }
}

pub(super) fn measure(context: &Context<'_>, len: usize) -> Result<Vec<Vec<String>>, FloorsError> {
    let rounds = if context.effort == Effort::Quick { 2 } else { 3 };
    let whats = [WHOLE, FOUND, TOLD, WRITE, READ];
    let mut turns = [
        Turn::new(WHOLE, Fill::start(context, len)?, TIMES),
        Turn::new(FOUND, Change::<TrackedHandle>::start(context, len)?, TIMES),
        Turn::new(TOLD, Change::<PagesHandle>::start(context, len)?, TIMES),
        Turn::new(WRITE, Write::start(context, len)?, TIMES),
        Turn::new(READ, Read::start(len)?, TIMES),
    ];
    let mut found = Vec::new();
    for round in 0..rounds {
        let warm_up = if round == 0 { 2 } else { 0 };
        found.push(alternate(&mut turns, (warm_up, 1), context.runtime)?);
    }
    let row = |what: &What| {
        let times: Vec<f64> = found.iter().filter_map(|round| find(round, what)).collect();
        let low = times.iter().copied().min_by(f64::total_cmp)?;
        let high = times.iter().copied().max_by(f64::total_cmp)?;
        let time = |time: f64| format!("{time:.2}");
        let key = what.key.to_owned();
        Some(vec![len.to_string(), key, time(median(times)?), time(low), time(high)])
    };
    Ok(whats.iter().filter_map(row).collect())
}

/// Calls that replace the whole state.
struct Fill {
    crew: crew::Crew<BlockHandle>,
    len: usize,
    calls: u8,
}

impl Fill {
    fn start(context: &Context<'_>, len: usize) -> Result<Self, FloorsError> {
        let crew = block(context, Durability::Power, &format!("fill-{len}"), len)?;
        Ok(Self { crew, len, calls: 0 })
    }
}

impl Probe for Fill {
    fn sample(&mut self, runtime: &Runtime, share: &Share) -> Result<Vec<f64>, FloorsError> {
        runtime.block_on(async {
            let mut samples = Vec::new();
            let Some(block) = self.crew.members.first() else { return Ok(samples) };
            while share.wants_more(samples.len()) {
                self.calls = self.calls.wrapping_add(1);
                let begin = Instant::now();
                block.fill(self.len as u64, self.calls).await.map_err(Error::from)?;
                samples.push(micros(begin));
            }
            Ok(samples)
        })
    }
}

/// As much written and synced, alternately to one of two places of a prewritten file.
struct Write {
    file: File,
    content: Region,
    calls: u64,
}

impl Write {
    fn start(context: &Context<'_>, len: usize) -> Result<Self, FloorsError> {
        let file = prewritten(&context.dir.join("floor"), 2 * len);
        let content = Region::map(len).map_err(system("take memory"))?;
        Ok(Self { file: file.map_err(system("make a file"))?, content, calls: 0 })
    }
}

impl Probe for Write {
    fn sample(&mut self, _: &Runtime, share: &Share) -> Result<Vec<f64>, FloorsError> {
        let mut samples = Vec::new();
        while share.wants_more(samples.len()) {
            self.calls += 1;
            self.content.as_mut_slice().fill(self.calls as u8);
            let offset = self.calls % 2 * self.content.as_slice().len() as u64;
            let begin = Instant::now();
            let written = self.file.write_all_at(self.content.as_slice(), offset);
            written.and_then(|()| self.file.sync_data()).map_err(system("write a file"))?;
            samples.push(micros(begin));
        }
        Ok(samples)
    }
}
