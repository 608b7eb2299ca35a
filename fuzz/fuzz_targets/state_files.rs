//! A whole state with one file changed: whoever reads, salvages or opens it agrees with the
//! others, and none of them panics.
//!
//! Input: which file (0 to 3); flags (1: its checksums are made right; 2: it ends with the
//! content; 4: it is missing); an offset, 2 bytes; the content from there on.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use persistent_actor::store::fuzzing;
use persistent_actor::testing::SimDisk;
use persistent_actor::{ActorState, LedgerLimits};
use persistent_actor_fuzz::{check, format};

fn changed(input: &[u8]) -> Option<Vec<(String, Vec<u8>)>> {
    let ([which, flags, low, high], content) = input.split_first_chunk()?;
    let which = usize::from(*which) % format::STATE.len();
    let mut files: Vec<(String, Vec<u8>)> = format::STATE
        .iter()
        .map(|(name, content)| ((*name).to_owned(), content.to_vec()))
        .collect();
    if flags & 4 != 0 {
        files.remove(which);
        return Some(files);
    }
    let file = &mut files[which].1;
    let offset = usize::from(u16::from_le_bytes([*low, *high]));
    let end = offset + content.len();
    file.resize(file.len().max(end), 0);
    file[offset..end].copy_from_slice(content);
    if flags & 2 != 0 {
        file.truncate(end);
    }
    if flags & 1 != 0 {
        match which {
            0 => format::seal_identity(file),
            2 => format::seal_journal(file),
            3 => format::seal_slot(file),
            _ => {}
        }
    }
    Some(files)
}

fuzz_target!(|input: &[u8]| {
    let Some(mut files) = changed(input) else { return };
    let disk = SimDisk::with_files(files.clone());
    let read = fuzzing::read_state(disk.storage());
    check::salvage_agrees(&read, &fuzzing::salvage_state(disk.storage()));
    files.sort();
    assert!(disk.files() == files, "reading writes nothing");

    let limits = LedgerLimits { max_age: Duration::MAX, ..LedgerLimits::default() };
    let options = ActorState::options().create(false).impatient().ledger_limits(limits);
    match (options.open_on(disk.storage(), "state"), read) {
        (Ok(state), Ok((view, _))) => {
            check::view(&view);
            assert!(*state.view() == view);
        }
        (Err(_), Err(_)) => {}
        (opened, read) => {
            let (opened, read) = (opened.map(|_| "a state"), read.map(|_| "a state"));
            panic!("opening gave {opened:?}, reading {read:?}")
        }
    }
});
