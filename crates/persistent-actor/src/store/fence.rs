//! One writer, the newest opener wins (`docs/format.md`, section 6).

use std::io::ErrorKind;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use rustix::time::{ClockId, clock_gettime};

use super::disk::{Disk, DiskFile, Listing};
use super::failure::Failure;
use super::mapped::MappedFile;
use super::names::FileName;
use super::storage;
use crate::testing::Switches;

/// How often an opener steps back for others that open at the same moment.
const MAX_ATTEMPTS: usize = 64;

/// What a newer opener writes into an older claim before it removes it, and where; the text that
/// says who holds the claim is shorter.
const MARK: [u8; 8] = *b"\nfenced\n";
const MARK_OFFSET: u64 = 128;

/// How long a writer that looks for the mark may not notice that its claim has no name any more.
/// Milliseconds.
const NAME_EVERY_MS: u64 = 100;

/// The right to write, until a newer opener takes it.
pub(crate) struct Claim {
    pub(crate) epoch: u64,
    file: DiskFile,
    /// The file as memory: a look at the mark in it takes no system call, which in an actor whose
    /// memory others have driven out of the cache takes 1.4 µs. Without it, the name tells.
    memory: Option<MappedFile>,
    /// When the claim was last seen to have a name, in milliseconds of the coarse monotonic clock.
    named_at_ms: AtomicU64,
}

impl Claim {
    /// Claims the next epoch and fences all older ones; `names` are those of all files, as they
    /// were just now. `None` if newer openers came before us each time.
    pub(crate) fn take(
        disk: &Disk,
        names: Listing,
        switches: Switches,
    ) -> Result<Option<Self>, Failure> {
        let holder = storage::describe_holder();
        let mut known = Some(names);
        for _ in 0..MAX_ATTEMPTS {
            let listing = known.take().map_or_else(|| disk.list(), Ok)?;
            let epoch = highest_epoch(&listing).saturating_add(1);
            let file = match disk.create(FileName::Claim(epoch)) {
                Err(failure) if failure.kind() == ErrorKind::AlreadyExists => continue,
                other => other?,
            };
            debug_assert!((holder.len() as u64) < MARK_OFFSET, "the text is no mark");
            if let Err(failure) = file.write_at(holder.as_bytes(), 0) {
                // As if it had not been made; what is reported is why.
                let _ = disk.remove_if_there(file.name);
                return Err(failure);
            }
            let listing = disk.list()?;
            if highest_epoch(&listing) > epoch {
                disk.remove_if_there(file.name)?;
                continue;
            }
            let is_older = |name: &FileName| matches!(name, FileName::Claim(n) if *n < epoch);
            let mut older: Vec<FileName> = listing.names.into_iter().filter(is_older).collect();
            // Whoever may be at work comes last: if this fails, it goes on.
            older.sort_unstable_by_key(|claim| claim.epoch());
            for claim in older {
                if switches.mark {
                    mark(disk, claim)?;
                }
                disk.remove_if_there(claim)?;
            }
            let named_at_ms = AtomicU64::new(0);
            return Ok(Some(Self { epoch, file, memory: None, named_at_ms }));
        }
        Ok(None)
    }

    /// From now on looks for the mark, if others can write it and this process sees that.
    pub(crate) fn look_for_mark(&mut self, disk: &Disk) -> Result<(), Failure> {
        let file = disk.open_for_writing(self.file.name)?;
        self.memory = file.and_then(|file| file.map_in_place(MARK_OFFSET + MARK.len() as u64));
        Ok(())
    }

    /// Whether no newer opener has taken over. That somebody else has removed the files is noticed,
    /// too, but it may take [`NAME_EVERY_MS`].
    pub(crate) fn holds(&self) -> Result<bool, Failure> {
        // What was written before must be there for whoever marks the claim after this look.
        fence(Ordering::SeqCst);
        let mark = self.memory.as_ref().and_then(|memory| memory.read(MARK_OFFSET));
        if mark.is_some_and(|mark| mark != [0; 8]) {
            return Ok(false);
        }
        let now = coarse_ms();
        if mark.is_some() && now < self.named_at_ms.load(Ordering::Relaxed) + NAME_EVERY_MS {
            return Ok(true);
        }
        let is_named = self.file.is_linked()?;
        if is_named {
            self.named_at_ms.store(now, Ordering::Relaxed);
        }
        Ok(is_named)
    }

    /// The same; that somebody else has removed the files is noticed at once.
    pub(crate) fn holds_now(&self) -> Result<bool, Failure> {
        self.named_at_ms.store(0, Ordering::Relaxed);
        self.holds()
    }
}

/// Lets the holder of an older claim know that it is fenced.
fn mark(disk: &Disk, claim: FileName) -> Result<(), Failure> {
    // Where no claim can be marked, nobody looks for a mark.
    let Some(file) = disk.open_for_writing(claim)? else { return Ok(()) };
    file.write_at(&MARK, MARK_OFFSET)?;
    // What is read from here on is no older.
    fence(Ordering::SeqCst);
    Ok(())
}

/// The time in milliseconds, some late, and late enough for the first look at a claim to be at its
/// name.
fn coarse_ms() -> u64 {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    // Time since boot is not negative.
    NAME_EVERY_MS + now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}

fn highest_epoch(listing: &Listing) -> u64 {
    listing.names.iter().filter_map(|name| name.epoch()).max().unwrap_or(0)
}
