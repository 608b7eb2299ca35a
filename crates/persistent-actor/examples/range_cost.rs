//! What a commit of 4 KiB costs, as a state of its own and within a larger one.
//!
//! `cargo run --release -p persistent-actor --example range_cost [DIRECTORY [LEVEL]]`
//!
//! States of 4 KiB (all of it changed), and of 1 MiB, 64 MiB and 1 GiB of which 4 KiB are changed
//! at random places, take turns. Printed are, in microseconds: the median and the 99 % bound of
//! writing the range and committing, the mean of what is done after the reply has left, and
//! the ratio of the medians. The first commit of each state, which writes all of it, is not counted.

#![allow(clippy::print_stdout, clippy::disallowed_methods)]

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use persistent_actor::{ActorState, CallId, Durability, PagedBytes, Reply, ReplyStatus, SessionId};
use persistent_actor::{Bytes, codec};

const ROUNDS: usize = 20;
const COMMITS: usize = 50;
const CHANGE: usize = 4096;

fn main() -> Result<(), Box<dyn Error>> {
    let base = std::env::args_os().nth(1).unwrap_or_else(|| "target/range_cost".into());
    let base = Path::new(&base);
    let level = std::env::args().nth(2).map_or(Ok(Durability::Power), |level| level.parse())?;
    let mut subjects = Vec::new();
    for size in [CHANGE, 1 << 20, 64 << 20, 1 << 30] {
        subjects.push(Subject::open(base, level, size)?);
    }
    for _ in 0..ROUNDS {
        for subject in &mut subjects {
            (0..COMMITS).try_for_each(|_| subject.commit())?;
        }
    }
    println!(
        "{:<12}{:>10}{:>10}{:>16}{:>8}",
        "state", "median µs", "99 % µs", "after, mean µs", "ratio"
    );
    let least = subjects[0].at(50);
    for subject in &mut subjects {
        let after = subject.after.as_secs_f64() * 1e6 / subject.times.len() as f64;
        let (median, p99) = (subject.at(50), subject.at(99));
        println!(
            "{:<12}{median:>10.1}{p99:>10.1}{after:>16.1}{:>8.2}",
            human(subject.size),
            median / least
        );
    }
    std::fs::remove_dir_all(base)?;
    Ok(())
}

struct Subject {
    size: usize,
    state: ActorState,
    value: PagedBytes,
    commits: u64,
    times: Vec<Duration>,
    after: Duration,
}

impl Subject {
    fn open(base: &Path, level: Durability, size: usize) -> Result<Self, Box<dyn Error>> {
        let path = base.join(size.to_string());
        let _ = std::fs::remove_dir_all(&path);
        let mut state = ActorState::options().durability(level).open(&path)?;
        let value = PagedBytes::zeroed(size);
        state.set("value", &value)?;
        Ok(Self { size, state, value, commits: 0, times: Vec::new(), after: Duration::ZERO })
    }

    fn commit(&mut self) -> Result<(), Box<dyn Error>> {
        self.commits += 1;
        let id = CallId { session: SessionId(1 << 80), sequence: self.commits };
        let reply = Reply { status: ReplyStatus::Returned, value: codec::encode(&())? };
        // Knuth's multiplicative hashing spreads the places.
        let place = self.commits.wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize;
        let place = place % (self.size / CHANGE) * CHANGE;
        let fill = [self.commits as u8; CHANGE];
        let start = Instant::now();
        self.value.write(place, &fill);
        let encoded = match self.size {
            CHANGE => codec::encode(&Bytes::from(self.value.to_vec()))?,
            _ => codec::encode(&self.value)?,
        };
        let changes = vec![("value".to_owned(), encoded)];
        self.state.commit_call(id, self.commits, self.commits, reply, changes)?;
        let answered = Instant::now();
        self.times.push(answered - start);
        self.state.maintain()?;
        self.after += answered.elapsed();
        Ok(())
    }

    fn at(&mut self, percent: usize) -> f64 {
        self.times.sort_unstable();
        self.times[(self.times.len() - 1) * percent / 100].as_secs_f64() * 1e6
    }
}

fn human(bytes: usize) -> String {
    match bytes {
        bytes if bytes >= 1 << 30 => format!("{} GiB", bytes >> 30),
        bytes if bytes >= 1 << 20 => format!("{} MiB", bytes >> 20),
        bytes => format!("{} KiB", bytes >> 10),
    }
}
