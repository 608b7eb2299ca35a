//! A whole journal segment, beside the slots to which it may refer: reading it and salvaging it
//! never panic, take memory in proportion, agree with each other, and what was read can be
//! written.
//!
//! Input: a byte of flags (1: the checksums are made right; 2: there is an `identity`; 4: the
//! file ends with a sector more), then the file up to its last zeros.

#![no_main]

use libfuzzer_sys::fuzz_target;
use persistent_actor::store::fuzzing;
use persistent_actor::testing::SimDisk;
use persistent_actor_fuzz::{check, format, memory};

fuzz_target!(|input: &[u8]| {
    let Some((flags, journal)) = input.split_first() else { return };
    let mut journal = journal.to_vec();
    let sectors = journal.len().div_ceil(512) + usize::from(flags & 4 != 0);
    journal.resize(sectors * 512, 0);
    if flags & 1 != 0 {
        format::seal_journal(&mut journal);
    }
    let size = journal.len();
    let disk = SimDisk::with_files(format::files(journal, flags & 2 != 0));
    let limit = (2 << 20) + 64 * size;
    let read = memory::bounded(limit, || fuzzing::read_state(disk.storage()));
    let salvaged = memory::bounded(limit, || fuzzing::salvage_state(disk.storage()));
    if let Ok((view, _)) = &read {
        check::view(view);
        check::view_reads_back(view);
    }
    check::salvage_agrees(&read, &salvaged);
});
