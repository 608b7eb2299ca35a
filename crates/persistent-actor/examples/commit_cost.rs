//! What a commit costs, next to the raw writes that it cannot do without.
//!
//! `cargo run --release -p persistent-actor --example commit_cost [DIRECTORY]`
//!
//! For each size and level the store and the floor take turns, so that both meet the same disk;
//! printed are medians in microseconds and their ratio. The floor at `process` is one `pwrite`
//! of the value into a prewritten file, at `power` one `pwrite` and one `fdatasync`.

#![allow(clippy::print_stdout, clippy::disallowed_methods)]

use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use persistent_actor::codec::{self, Encoded};
use persistent_actor::{ActorState, Bytes, CallId, Durability, Reply, ReplyStatus, SessionId};

const ROUNDS: usize = 7;

fn main() -> Result<(), Box<dyn Error>> {
    let base = std::env::args_os().nth(1).unwrap_or_else(|| "target/commit_cost".into());
    let base = Path::new(&base);
    println!("{:<34}{:>12}{:>12}{:>8}", "commit", "store µs", "floor µs", "ratio");
    for durability in [Durability::Process, Durability::Power] {
        for (size, commits) in [(16, 4000), (4096, 2000), (1 << 20, 60), (10 << 20, 12)] {
            compare(base, durability, size, commits, Change::Everything)?;
        }
        compare(base, durability, 10 << 20, 60, Change::OneByte)?;
    }
    reopen(base)?;
    std::fs::remove_dir_all(base)?;
    Ok(())
}

#[derive(Clone, Copy, PartialEq)]
enum Change {
    Everything,
    OneByte,
}

fn compare(
    base: &Path,
    durability: Durability,
    size: usize,
    commits: usize,
    change: Change,
) -> Result<(), Box<dyn Error>> {
    let path = base.join(format!("{durability}-{size}-{}", change == Change::OneByte));
    let _ = std::fs::remove_dir_all(&path);
    let mut state = ActorState::options().durability(durability).open(&path)?;
    let file = File::create(path.with_extension("floor"))?;
    let raw_len = if change == Change::OneByte { codec::BLOB_MIN_BYTES } else { size };
    // The slow address range of the kernel's copy is kept out of the floor, too.
    let mut raw = vec![0; raw_len + 4096];
    for offset in 0..3 {
        file.write_all_at(&raw, offset * raw_len as u64)?;
    }
    file.sync_all()?;
    let mut value = vec![1u8; size];
    let (mut store, mut floor) = (Vec::new(), Vec::new());
    let mut sequence = 0;
    for round in 0..ROUNDS {
        for _ in 0..commits / ROUNDS + 1 {
            touch(&mut value, change, sequence);
            let encoded = encode(&value)?;
            let taken = commit(&mut state, sequence, encoded)?;
            sequence += 1;
            if round > 0 {
                store.push(taken);
            }
        }
        for n in 0..commits / ROUNDS + 1 {
            raw.fill(sequence as u8);
            let start = Instant::now();
            file.write_all_at(&raw[..raw_len], (n % 2 * raw_len) as u64)?;
            if durability == Durability::Power {
                file.sync_data()?;
            }
            if round > 0 {
                floor.push(start.elapsed());
            }
        }
    }
    let (store, floor) = (median(store), median(floor));
    let what = if change == Change::OneByte { ", one byte changed" } else { "" };
    let name = format!("{durability} {}{what}", human(size));
    println!("{name:<34}{store:>12.2}{floor:>12.2}{:>8.2}", store / floor);
    Ok(())
}

fn encode(value: &[u8]) -> Result<Encoded, codec::CodecError> {
    match value.len() >= codec::BLOB_MIN_BYTES {
        true => codec::encode(&Bytes::from(value)),
        false => Ok(Encoded { inline: value.to_vec(), blobs: Vec::new() }),
    }
}

fn touch(value: &mut [u8], change: Change, sequence: u64) {
    match change {
        Change::Everything => value.fill(sequence as u8),
        Change::OneByte => {
            let place = (sequence as usize * 1_000_003) % value.len();
            value[place] = value[place].wrapping_add(1);
        }
    }
}

/// Commits a call that sets one attribute; the time until its reply could leave.
fn commit(
    state: &mut ActorState,
    sequence: u64,
    value: Encoded,
) -> Result<Duration, Box<dyn Error>> {
    let id = CallId { session: SessionId(1 << 80), sequence };
    let reply = Reply { status: ReplyStatus::Returned, value: codec::encode(&())? };
    let changes = vec![("value".to_owned(), value)];
    let start = Instant::now();
    state.commit_call(id, sequence, sequence, reply, changes)?;
    let taken = start.elapsed();
    state.maintain()?;
    Ok(taken)
}

fn reopen(base: &Path) -> Result<(), Box<dyn Error>> {
    for size in [16, 10 << 20] {
        let path = base.join(format!("reopen-{size}"));
        let mut state = ActorState::open(&path)?;
        state.update([("value", encode(&vec![1; size])?)])?;
        drop(state);
        let mut times = Vec::new();
        for _ in 0..20 {
            let start = Instant::now();
            drop(ActorState::open(&path)?);
            times.push(start.elapsed());
        }
        println!("{:<34}{:>12.2}", format!("power {} reopen", human(size)), median(times));
    }
    Ok(())
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
}

fn human(bytes: usize) -> String {
    match bytes {
        bytes if bytes >= 1 << 20 => format!("{} MiB", bytes >> 20),
        bytes if bytes >= 1 << 10 => format!("{} KiB", bytes >> 10),
        bytes => format!("{bytes} B"),
    }
}
