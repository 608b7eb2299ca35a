//! What is on a [`SimDisk`](super::SimDisk) after everything has stopped.

use std::collections::{BTreeMap, BTreeSet};

use super::{Image, Loss, Op, write_to};
use crate::store::frame::SECTOR;

impl Loss {
    /// Whether something that was not synced is there.
    fn keeps(self, random: &mut Random) -> bool {
        match self {
            Self::Nothing | Self::TornWrite(_) => true,
            Self::Unsynced => false,
            Self::Random(_) => random.below(2) == 0,
        }
    }
}

/// What is surely on the disk after some operations, and what may be.
pub(super) struct Replay {
    durable: Image,
    /// Since the names were synced.
    names: Vec<Op>,
    /// Since the file was synced.
    writes: BTreeMap<u64, Vec<(u64, Vec<u8>)>>,
    /// Was to be synced when that failed; no later sync brings it back.
    doomed: BTreeMap<u64, Vec<(u64, Vec<u8>)>>,
    last: Option<Op>,
}

impl Replay {
    pub(super) fn new(base: &Image) -> Self {
        Self {
            durable: base.clone(),
            names: Vec::new(),
            writes: BTreeMap::new(),
            doomed: BTreeMap::new(),
            last: None,
        }
    }

    pub(super) fn apply(&mut self, op: &Op) {
        match op {
            Op::Write { inode, offset, bytes } => {
                self.writes.entry(*inode).or_default().push((*offset, bytes.clone()));
            }
            Op::Sync { inode } => {
                let content = self.durable.contents.entry(*inode).or_default();
                for (offset, bytes) in self.writes.remove(inode).unwrap_or_default() {
                    write_to(content, offset, &bytes);
                }
            }
            Op::FailedSync { inode } => {
                let writes = self.writes.remove(inode).unwrap_or_default();
                self.doomed.entry(*inode).or_default().extend(writes);
            }
            Op::SyncNames => {
                for op in std::mem::take(&mut self.names) {
                    change_names(&mut self.durable.names, &op);
                }
            }
            Op::SyncDir { dir } => {
                let (of_dir, others) =
                    std::mem::take(&mut self.names).into_iter().partition(|op| op.is_in(dir));
                self.names = others;
                let of_dir: Vec<Op> = of_dir;
                for op in of_dir {
                    change_names(&mut self.durable.names, &op);
                }
            }
            Op::SyncOwnName { dir } => {
                self.durable.dirs.insert(dir.clone());
            }
            Op::Create { .. } | Op::Rename { .. } | Op::Remove { .. } => {
                self.names.push(op.clone());
            }
            Op::Mark(_) => {}
        }
        self.last = Some(op.clone());
    }

    pub(super) fn finish(mut self, loss: Loss) -> Image {
        let mut random = Random(match loss {
            Loss::Random(seed) | Loss::TornWrite(seed) => seed,
            _ => 0,
        });
        if let (Loss::TornWrite(_), Some(Op::Write { inode, .. })) = (loss, &self.last)
            && let Some((_, bytes)) =
                self.writes.get_mut(inode).and_then(|writes| writes.last_mut())
        {
            bytes.truncate(random.below(bytes.len() + 1));
        }
        for op in std::mem::take(&mut self.names) {
            if loss.keeps(&mut random) {
                change_names(&mut self.durable.names, &op);
            }
        }
        for pending in [self.doomed, self.writes] {
            for (inode, writes) in pending {
                let content = self.durable.contents.entry(inode).or_default();
                match loss {
                    Loss::Nothing | Loss::TornWrite(_) => {
                        for (offset, bytes) in &writes {
                            write_to(content, *offset, bytes);
                        }
                    }
                    Loss::Unsynced => {}
                    Loss::Random(_) => write_some(content, &writes, &mut random),
                }
            }
        }
        lose_dirs(&mut self.durable, loss, &mut random);
        let names = &self.durable.names;
        self.durable.contents.retain(|inode, _| names.values().any(|named| named == inode));
        self.durable
    }
}

/// A directory whose own name is lost takes all with it that is in it.
fn lose_dirs(image: &mut Image, loss: Loss, random: &mut Random) {
    let Image { names, dirs, .. } = image;
    let all: BTreeSet<String> = names.keys().map(|name| dir_of(name).to_owned()).collect();
    for dir in all.difference(&dirs.clone()) {
        if loss.keeps(random) {
            dirs.insert(dir.clone());
        } else {
            names.retain(|name, _| dir_of(name) != dir);
        }
    }
}

/// The directory that a file lies in, with a slash behind it; nothing for that of the whole disk.
pub(super) fn dir_of(name: &str) -> &str {
    name.rfind('/').map_or("", |slash| &name[..=slash])
}

/// Of each sector, any state that it went through may be on the disk; and the file may have its
/// old or its new length.
fn write_some(content: &mut Vec<u8>, writes: &[(u64, Vec<u8>)], random: &mut Random) {
    let old_len = content.len();
    let end = writes.iter().map(|(offset, bytes)| *offset as usize + bytes.len()).max();
    let end = end.unwrap_or(0).max(old_len);
    content.resize(end.next_multiple_of(SECTOR), 0);
    for sector in 0..content.len() / SECTOR {
        let range = sector * SECTOR..(sector + 1) * SECTOR;
        let touching: Vec<_> = writes
            .iter()
            .filter(|(offset, bytes)| {
                (*offset as usize) < range.end && *offset as usize + bytes.len() > range.start
            })
            .collect();
        let kept = random.below(touching.len() + 1);
        for (offset, bytes) in &touching[..kept] {
            let offset = *offset as usize;
            let from = range.start.max(offset);
            let to = range.end.min(offset + bytes.len());
            content[from..to].copy_from_slice(&bytes[from - offset..to - offset]);
        }
    }
    let len = if random.below(4) == 0 { old_len } else { end };
    content.truncate(len);
}

fn change_names(names: &mut BTreeMap<String, u64>, op: &Op) {
    match op {
        Op::Create { name, inode } => {
            names.insert(name.clone(), *inode);
        }
        Op::Rename { from, to } => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
        Op::Remove { name } => {
            names.remove(name);
        }
        _ => {}
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}
