//! What many writers at once get out of one group journal, next to a bare journal that does
//! nothing but batch.
//!
//! `cargo run --release -p persistent-actor --example group_commit [DIRECTORY] [WRITERS]`
//!
//! Each writer is a thread that commits one small value after the other to a state of its own and
//! waits until each is durable. The floor is a journal without states, checksums or checkpoints: who
//! waits first writes what has gathered with one `pwrite` and one `fdatasync`. Both take
//! turns, so that they meet the same disk; printed are medians of commits a second.

#![allow(clippy::print_stdout, clippy::disallowed_methods, clippy::unwrap_used)]

use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use persistent_actor::store::GroupJournal;
use persistent_actor::{ActorState, Durability, codec};

const ROUNDS: usize = 5;
const WINDOW: Duration = Duration::from_millis(1500);

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let base = args.next().unwrap_or_else(|| "target/group_commit".to_owned());
    let base = Path::new(&base);
    let writers: usize = args.next().map_or(Ok(256), |n| n.parse())?;
    let _ = std::fs::remove_dir_all(base);
    std::fs::create_dir_all(base)?;
    let (mut ours, mut floor, mut alone) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        floor.push(bare(&base.join("bare"), writers)?);
        ours.push(grouped(&base.join(format!("group-{round}")), writers)?);
        alone.push(each_for_itself(&base.join(format!("alone-{round}")), writers)?);
    }
    let [ours, floor, alone] = [ours, floor, alone].map(median);
    println!("{writers} writers, commits a second (medians of {ROUNDS})");
    println!("bare batching journal   {floor:>10.0}");
    println!("one group journal       {ours:>10.0}   {:.2} of it", ours / floor);
    println!("a sync for each         {alone:>10.0}   {:.2} of it", alone / floor);
    std::fs::remove_dir_all(base)?;
    Ok(())
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// Runs a thread for each of `writers` for a while and counts what they do.
fn rate<W: FnMut() + Send>(writers: Vec<W>) -> f64 {
    let stop = AtomicBool::new(false);
    let start = Instant::now();
    let commits: u64 = thread::scope(|scope| {
        let stop = &stop;
        let threads: Vec<_> = writers
            .into_iter()
            .map(|mut write| {
                scope.spawn(move || {
                    let mut commits = 0;
                    while !stop.load(Ordering::Relaxed) {
                        write();
                        commits += 1;
                    }
                    commits
                })
            })
            .collect();
        thread::sleep(WINDOW);
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    commits as f64 / start.elapsed().as_secs_f64()
}

fn grouped(root: &Path, writers: usize) -> Result<f64, Box<dyn Error>> {
    let options = ActorState::options();
    std::fs::create_dir_all(root)?;
    let group = Arc::new(GroupJournal::open(root, &options)?);
    let mut states = Vec::new();
    for n in 0..writers {
        states.push(GroupJournal::open_state(&group, &format!("s{n}"), options.clone())?);
    }
    let keeper_ends = AtomicBool::new(false);
    let rate = thread::scope(|scope| {
        scope.spawn(|| {
            while !keeper_ends.load(Ordering::Relaxed) {
                if group.needs_maintenance() {
                    group.maintain().unwrap();
                }
                thread::sleep(Duration::from_millis(5));
            }
        });
        let writers = states.iter_mut().map(|state| {
            let (mut n, group) = (0u64, &group);
            move || {
                n += 1;
                let value = codec::encode(&n).unwrap();
                let ticket = state.update([("n", value)]).unwrap();
                group.wait(ticket).unwrap();
            }
        });
        let rate = rate(writers.collect());
        keeper_ends.store(true, Ordering::Relaxed);
        rate
    });
    for state in states {
        state.close()?;
    }
    group.close()?;
    Ok(rate)
}

fn each_for_itself(root: &Path, writers: usize) -> Result<f64, Box<dyn Error>> {
    let mut states = Vec::new();
    for n in 0..writers {
        let options = ActorState::options().durability(Durability::Power);
        states.push(options.open(root.join(format!("s{n}")))?);
    }
    let writers = states.iter_mut().map(|state| {
        let mut n = 0u64;
        move || {
            n += 1;
            state.set("n", &n).unwrap();
        }
    });
    Ok(rate(writers.collect()))
}

/// The floor: a journal that only batches.
struct Bare {
    file: File,
    queue: Mutex<Queue>,
    done: [Condvar; 2],
}

#[derive(Default)]
struct Queue {
    batch: Vec<u8>,
    spent: Vec<u8>,
    number: u64,
    durable: u64,
    led: bool,
    offset: u64,
}

const BARE_BYTES: u64 = 64 << 20;
const RECORD: [u8; 96] = [7; 96];

fn bare(path: &Path, writers: usize) -> Result<f64, Box<dyn Error>> {
    let file = File::create(path)?;
    let zeros = vec![0; 1 << 20];
    for offset in (0..BARE_BYTES).step_by(zeros.len()) {
        file.write_all_at(&zeros, offset)?;
    }
    file.sync_all()?;
    let queue = Mutex::new(Queue { number: 1, ..Queue::default() });
    let journal = Bare { file, queue, done: [Condvar::new(), Condvar::new()] };
    let writers = (0..writers).map(|_| || journal.commit());
    Ok(rate(writers.collect()))
}

impl Bare {
    fn commit(&self) {
        let mut queue = self.queue.lock().unwrap();
        queue.batch.extend_from_slice(&RECORD);
        let mine = queue.number;
        while queue.durable < mine {
            if queue.led {
                queue = self.done[(mine % 2) as usize].wait(queue).unwrap();
                continue;
            }
            queue.led = true;
            let mut batch = std::mem::take(&mut queue.spent);
            std::mem::swap(&mut batch, &mut queue.batch);
            let number = queue.number;
            queue.number += 1;
            if queue.offset + batch.len() as u64 > BARE_BYTES {
                queue.offset = 0;
            }
            let offset = queue.offset;
            queue.offset += batch.len().next_multiple_of(512) as u64;
            drop(queue);
            self.file.write_all_at(&batch, offset).unwrap();
            self.file.sync_data().unwrap();
            batch.clear();
            queue = self.queue.lock().unwrap();
            queue.spent = batch;
            queue.durable = number;
            queue.led = false;
            self.done[(number % 2) as usize].notify_all();
            self.done[((number + 1) % 2) as usize].notify_one();
        }
    }
}
