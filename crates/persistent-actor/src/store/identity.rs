//! The file `identity`: which state a directory holds (`docs/format.md`, section 2).

use std::fmt::Write;
use std::io::ErrorKind;

use xxhash_rust::xxh3::xxh3_64;

use super::disk::Disk;
use super::failure::{Failure, ReadError};
use super::names::{FileId, FileName};

const TITLE: &str = "persistent-actor state";
/// More than any version of the file needs. Bytes.
const MAX_SIZE: u64 = 4096;

fn encode(state_id: u128, version: u32) -> String {
    let mut text = format!("{TITLE}\nversion {version}\nid {state_id:032x}\n");
    let check = xxh3_64(text.as_bytes());
    // Writing to a string does not fail.
    let _ = writeln!(text, "check {check:016x}");
    text
}

/// Reads the state's id.
pub(crate) fn read(disk: &Disk, verify: bool) -> Result<u128, ReadError> {
    let damaged = |reason| ReadError::damaged(FileName::Identity, 0, reason);
    let file = disk.open(FileName::Identity)?;
    let size = file.size()?;
    if size > MAX_SIZE {
        return Err(damaged("the file is too long"));
    }
    let mut bytes = vec![0; size as usize];
    file.read_at(&mut bytes, 0)?;
    let text = String::from_utf8(bytes).map_err(|_| damaged("it is not text"))?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    if text.lines().next() != Some(TITLE) {
        return Err(damaged("it does not start like the identity of a state"));
    }
    let version = field("version ").and_then(|version| version.parse().ok()).unwrap_or(0);
    if version > super::FORMAT_VERSION {
        return Err(ReadError::Newer { name: FileName::Identity, found: version });
    }
    let id = field("id ").and_then(|id| u128::from_str_radix(id, 16).ok());
    match id {
        Some(id) if !verify || (version > 0 && text == encode(id, version)) => Ok(id),
        _ => Err(damaged("its checksum is wrong")),
    }
}

/// Writes the file; it appears with its whole content, synced at any level: a successor at `power`
/// that finds it does not ask who wrote it, which may be a writer that it has fenced.
///
/// The writer may have been superseded meanwhile, which it learns before its next answer. If the
/// file is there by then, the successor has written the same: it has read our journal, and so the
/// state's id. If our temporary file is gone, the successor has removed it, and sees to the file
/// itself.
pub(crate) fn write(disk: &Disk, state_id: u128, epoch: u64) -> Result<(), Failure> {
    // Journals have numbers from 1 on, so this name is free.
    let mut file = disk.create(FileName::Temporary(FileId { epoch, number: 0 }))?;
    let text = encode(state_id, super::FORMAT_VERSION);
    file.write_at(text.as_bytes(), 0)?;
    disk.sync_at_any_level(&file)?;
    match disk.rename(&mut file, FileName::Identity) {
        Err(failure) if failure.kind() == ErrorKind::AlreadyExists => {
            disk.remove_if_there(file.name)
        }
        Err(failure) if failure.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
