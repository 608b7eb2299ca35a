//! Whether a long life costs anything: latency, memory, disk and the time to open, over many calls
//! to one actor.
//!
//! `cargo run --release -p persistent-actor --example million_calls [CALLS [LEVEL [DIRECTORY]]]`
//!
//! Defaults: 1 000 000 calls at `process` in `target/million_calls`. Each call commits a counter
//! and its reply; the caller acknowledges the call before, as the local engine does. Printed is a CSV
//! row for each tenth: times in microseconds (of the calls since the row before), sizes in bytes. The
//! state is closed and opened again for each row.

#![allow(clippy::print_stdout, clippy::disallowed_methods)]

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use persistent_actor::{
    ActorState, CallId, Durability, Options, Reply, ReplyStatus, SessionId, codec,
};

const ROWS: u64 = 10;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let calls: u64 = args.next().as_deref().unwrap_or("1000000").parse()?;
    let durability: Durability = args.next().as_deref().unwrap_or("process").parse()?;
    let path = args.next().unwrap_or_else(|| "target/million_calls".to_owned());
    let path = Path::new(&path);
    let _ = std::fs::remove_dir_all(path);
    let options = ActorState::options().durability(durability);
    println!("calls,level,median_us,p99_us,p999_us,longest_us,reopen_us,disk_bytes,resident_bytes");
    let session = SessionId::generate()?;
    let mut state = options.clone().open(path)?;
    for row in 0..ROWS {
        let range = calls * row / ROWS..calls * (row + 1) / ROWS;
        let end = range.end;
        let mut times = Vec::with_capacity((calls / ROWS) as usize);
        for sequence in range {
            let id = CallId { session, sequence };
            let start = Instant::now();
            call(&mut state, id)?;
            times.push(start.elapsed());
        }
        drop(state);
        let (reopened, reopen) = open(&options, path)?;
        state = reopened;
        if state.get::<u64>("counter")? != Some(end) {
            return Err("the counter is wrong".into());
        }
        times.sort_unstable();
        println!(
            "{end},{durability},{},{},{},{},{},{},{}",
            micros(at(&times, 0.5)),
            micros(at(&times, 0.99)),
            micros(at(&times, 0.999)),
            micros(at(&times, 1.0)),
            micros(reopen),
            disk_bytes(path)?,
            resident_bytes()?,
        );
    }
    std::fs::remove_dir_all(path)?;
    Ok(())
}

fn call(state: &mut ActorState, id: CallId) -> Result<(), Box<dyn Error>> {
    let value = codec::encode(&(id.sequence + 1))?;
    let reply = Reply { status: ReplyStatus::Returned, value: value.clone() };
    state.commit_call(id, id.sequence, 7, reply, vec![("counter".to_owned(), value)])?;
    // Checkpoints happen here: after the reply, and before the next call.
    state.maintain()?;
    Ok(())
}

fn open(options: &Options, path: &Path) -> Result<(ActorState, Duration), Box<dyn Error>> {
    let start = Instant::now();
    let state = options.clone().open(path)?;
    Ok((state, start.elapsed()))
}

fn at(sorted: &[Duration], part: f64) -> Duration {
    let index = (sorted.len() as f64 * part) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

fn micros(time: Duration) -> String {
    format!("{:.1}", time.as_nanos() as f64 / 1000.0)
}

fn disk_bytes(path: &Path) -> std::io::Result<u64> {
    let sizes = std::fs::read_dir(path)?.map(|entry| Ok(entry?.metadata()?.len()));
    sizes.sum()
}

fn resident_bytes() -> Result<u64, Box<dyn Error>> {
    let pages = std::fs::read_to_string("/proc/self/statm")?;
    let resident = pages.split(' ').nth(1).ok_or("statm has no second field")?;
    Ok(resident.parse::<u64>()? * 4096)
}
