//! A call to an actor of 10 MiB, beside adding 10 MiB and writing them.
//!
//! All on one processor, as in the benchmark's chain. So many arrays take turns that none is in a
//! cache, on both sides; all memory was used before; and what comes out is read to its last byte.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use persistent_actor::Durability;
use persistent_actor::store::StorageFile;
use persistent_actor_runtime::Error;
use tokio::runtime::Runtime;

use super::bare::{Ring, prewritten};
use super::memory::{Region, read_all};
use super::probe::{Probe, Share, Turn, alternate, micros};
use super::what::{Found, Limit, Row, Target, What};
use super::{Context, Effort, FloorsError, crew, system};
use crate::actors::{LARGE_BYTES, LargeActorHandle};

const ADD: What =
    What::us("add_10_mib", "10 MiB added out of place, cold in cache, and the sum read in place");
const WRITE: What =
    What::us("write_10_mib_fdatasync", "`pwrite` of 10 MiB to a prewritten file and `fdatasync`");
const BEST: What = What::us(
    "best_10_mib",
    "the same addition, its sum written to a prewritten file in pieces that the disk gets at \
     once, and synced; a record written and synced; the sum read",
);
const NONE: What = What::us("large_call_none", "a call with 10 MiB, no safe state, its reply read");
const PROCESS: What =
    What::us("large_call_process", "a call with 10 MiB, `process`, its reply read");
const POWER: What = What::us("large_call_power", "a call with 10 MiB, `power`, its reply read");

pub(super) const ROWS: &[Row] = &[
    Row {
        key: "large-none",
        work: "10 MiB call, no safe state",
        product: &NONE,
        floors: &[&ADD],
        target: Target::AtMost(1.5),
    },
    Row {
        key: "large-process",
        work: "10 MiB call, process",
        product: &PROCESS,
        floors: &[&NONE],
        target: Target::AtMost(1.6),
    },
    Row {
        key: "large-power",
        work: "10 MiB call, power",
        product: &POWER,
        floors: &[&WRITE],
        target: Target::AtMost(1.2),
    },
];

pub(super) const LIMITS: &[Limit] = &[Limit { row: "large-power", best: &BEST }];

/// How many arrays, and how many actors, take turns.
const ARRAYS: usize = 8;

pub(super) fn measure(context: &Context<'_>) -> Result<Vec<Found>, FloorsError> {
    let _one = context.on_one_processor();
    let (rounds, times) = match context.effort {
        Effort::Quick => (2, ARRAYS),
        Effort::Normal | Effort::Full => (5, 2 * ARRAYS),
    };
    let product = |durability| Calls::start(context, durability);
    let mut turns = [
        Turn::new(ADD, Add::start()?, times),
        Turn::new(NONE, product(Durability::None)?, times),
        Turn::new(PROCESS, product(Durability::Process)?, times),
        Turn::new(WRITE, Write::start(context.dir, "floor-large")?, times),
        Turn::new(BEST, Best::start(context.dir)?, times),
        Turn::new(POWER, product(Durability::Power)?, times),
    ];
    alternate(&mut turns, (3, rounds), context.runtime)
}

/// Arrays added out of place.
struct Add {
    states: Vec<Region>,
    sums: Vec<Region>,
}

impl Add {
    fn start() -> Result<Self, FloorsError> {
        let arrays = |byte| -> io::Result<Vec<Region>> {
            let filled = |_| {
                let mut region = Region::map(LARGE_BYTES)?;
                region.as_mut_slice().fill(byte);
                Ok(region)
            };
            (0..ARRAYS).map(filled).collect()
        };
        let memory = system("take memory");
        Ok(Self { states: arrays(1).map_err(&memory)?, sums: arrays(2).map_err(memory)? })
    }

    /// Adds what the actor before has answered to a state, as in the chain.
    fn add(&mut self, index: usize) -> &[u8] {
        let argument = self.states[(index + ARRAYS - 1) % ARRAYS].as_slice();
        let inputs = self.states[index].as_slice().iter().zip(argument);
        let sum = self.sums[index].as_mut_slice();
        for (sum, (a, b)) in sum.iter_mut().zip(inputs) {
            *sum = a.wrapping_add(*b);
        }
        sum
    }

    /// What was the sum is the state now.
    fn pass_on(&mut self, index: usize) {
        std::mem::swap(&mut self.states[index], &mut self.sums[index]);
    }
}

impl Probe for Add {
    fn sample(&mut self, _: &Runtime, share: &Share) -> Result<Vec<f64>, FloorsError> {
        in_turn(share, |index| {
            let begin = Instant::now();
            std::hint::black_box(read_all(self.add(index)));
            let time = micros(begin);
            self.pass_on(index);
            Ok(time)
        })
    }
}

/// Samples as many as are wanted, with one array after the other.
fn in_turn(
    share: &Share,
    mut sample: impl FnMut(usize) -> Result<f64, FloorsError>,
) -> Result<Vec<f64>, FloorsError> {
    let mut samples = Vec::new();
    while share.wants_more(samples.len()) {
        samples.push(sample(samples.len() % ARRAYS)?);
    }
    Ok(samples)
}

/// An array written and synced, alternately to one of two places.
struct Write {
    file: File,
    content: Region,
    second: bool,
}

impl Write {
    fn start(dir: &Path, name: &str) -> Result<Self, FloorsError> {
        let file = prewritten(&dir.join(name), 2 * LARGE_BYTES);
        let file = file.map_err(system("make a file"))?;
        let content = Region::map(LARGE_BYTES).map_err(system("take memory"))?;
        Ok(Self { file, content, second: false })
    }

    /// Where the next array goes.
    fn next_place(&mut self) -> u64 {
        self.second = !self.second;
        if self.second { 0 } else { LARGE_BYTES as u64 }
    }

    fn write(&mut self) -> io::Result<()> {
        let offset = self.next_place();
        self.file.write_all_at(self.content.as_slice(), offset)?;
        self.file.sync_data()
    }
}

impl Probe for Write {
    fn sample(&mut self, _: &Runtime, share: &Share) -> Result<Vec<f64>, FloorsError> {
        let mut samples = Vec::new();
        while share.wants_more(samples.len()) {
            self.content.as_mut_slice().fill(samples.len() as u8);
            let begin = Instant::now();
            self.write().map_err(system("write a file"))?;
            samples.push(micros(begin));
        }
        Ok(samples)
    }
}

/// All that a call at `power` cannot do without, and nothing of an engine.
struct Best {
    add: Add,
    files: Vec<Write>,
    record: Ring,
}

/// Where the pieces end that the disk gets at once: it begins early, and large pages of the file are
/// not cut. In 1/2 MiB.
const ENDS: [usize; 7] = [1, 2, 4, 8, 12, 16, 20];
const _: () = assert!(ENDS[6] << 19 == LARGE_BYTES);

impl Best {
    fn start(dir: &Path) -> Result<Self, FloorsError> {
        let files = (0..ARRAYS).map(|index| Write::start(dir, &format!("best-large-{index}")));
        let record = Ring::create(&dir.join("best-record")).map_err(system("make a file"))?;
        Ok(Self { add: Add::start()?, files: files.collect::<Result<_, _>>()?, record })
    }

    fn call(&mut self, index: usize) -> io::Result<u64> {
        let place = self.files[index].next_place();
        let file = &self.files[index].file;
        let sum = self.add.add(index);
        let mut from = 0;
        for end in ENDS.map(|end| end << 19) {
            let (piece, offset) = (&sum[from..end], place + from as u64);
            file.write_all_at(piece, offset)?;
            StorageFile::start_writing(file, offset, piece.len() as u64)?;
            from = end;
        }
        file.sync_data()?;
        self.record.commit()?;
        Ok(read_all(sum))
    }
}

impl Probe for Best {
    fn sample(&mut self, _: &Runtime, share: &Share) -> Result<Vec<f64>, FloorsError> {
        in_turn(share, |index| {
            let begin = Instant::now();
            std::hint::black_box(self.call(index).map_err(system("write a file"))?);
            let time = micros(begin);
            self.add.pass_on(index);
            Ok(time)
        })
    }
}

/// Actors that call each other in a ring, as in the chain.
struct Calls {
    crew: crew::Crew<LargeActorHandle>,
}

impl Calls {
    fn start(context: &Context<'_>, durability: Durability) -> Result<Self, FloorsError> {
        Ok(Self { crew: crew::Crew::start(context, durability, "large", ARRAYS)? })
    }
}

impl Probe for Calls {
    fn sample(&mut self, runtime: &Runtime, share: &Share) -> Result<Vec<f64>, FloorsError> {
        runtime.block_on(async {
            let mut samples = Vec::new();
            let Some(first) = self.crew.members.first() else { return Ok(samples) };
            let mut value = first.get_data().await.map_err(Error::from)?;
            for member in self.crew.members.iter().cycle() {
                if !share.wants_more(samples.len()) {
                    break;
                }
                let begin = Instant::now();
                value = member.process(0, value).await.map_err(Error::from)?;
                std::hint::black_box(read_all(&value));
                samples.push(micros(begin));
            }
            Ok(samples)
        })
    }
}
