//! Writes a content to a slot: the pages in which they differ.

use super::Slot;
use crate::page_tree::PAGE;
use crate::store::content::{CHUNK_PAGES, Source, runs};
use crate::store::disk::Disk;
use crate::store::failure::Failure;
use crate::store::slot_file::{CHUNK, CONTENT_OFFSET, Content, chunk_hash};

/// How much of a content in one piece is written at once, if it can be, and then hashed while the
/// disk works. Bytes. The pages of a file stay together in the system's cache as they were first
/// written, and what lies together is written to the disk for less: 10 MiB take 1.4 ms until they
/// are synced, 1.9 to 2.4 ms in pieces of 256 KiB, 3 to 4 ms in pieces of 64 KiB.
const BATCH: usize = 32 * CHUNK;
/// The same for a content in pages, of which mostly a few have changed: all of a batch is put
/// together first. Bytes.
const PAGED_BATCH: usize = 4 * CHUNK;

/// How a content differs from what is known of slots.
pub(super) struct Difference<'a> {
    /// The pages that differ from those of the slot that it is like.
    pub(super) changed: &'a [bool],
    /// The hashes of that slot's chunks.
    pub(super) known: Vec<u64>,
    /// The pages in which the slot that is written differs from that one; all, if it is not known.
    pub(super) stale: Option<Vec<bool>>,
}

impl Difference<'_> {
    fn is_changed(&self, page: usize) -> bool {
        self.changed.get(page).copied().unwrap_or(true)
    }

    /// The hash of a chunk that has not changed.
    fn known(&self, chunk: usize) -> Option<u64> {
        let mut pages = chunk * CHUNK_PAGES..(chunk + 1) * CHUNK_PAGES;
        let same = pages.all(|page| self.changed.get(page).is_none_or(|changed| !changed));
        self.known.get(chunk).copied().filter(|_| same)
    }

    fn is_to_be_written(&self, page: usize) -> bool {
        let stale = self.stale.as_ref().and_then(|stale| stale.get(page).copied());
        self.is_changed(page) || stale != Some(false)
    }
}

impl Slot {
    /// Makes `content` the slot's content.
    pub(super) fn write(
        &mut self,
        disk: &Disk,
        content: Source<'_>,
        difference: &Difference<'_>,
    ) -> Result<(), Failure> {
        let Some(file) = &self.file else { unreachable!("free slots are our own") };
        let len = content.len();
        self.content = Content { len: len as u64, hashes: Vec::new() };
        let mut scratch = Vec::new();
        let at_once = match content {
            Source::Flat(_) => BATCH,
            Source::Paged(_) => PAGED_BATCH,
        };
        for start in (0..len).step_by(at_once) {
            let end = len.min(start + at_once);
            let pages = start / PAGE..end.div_ceil(PAGE);
            let runs = runs(pages, |page| difference.is_to_be_written(page));
            let chunks = start / CHUNK..end.div_ceil(CHUNK);
            let known: Vec<_> = chunks.clone().map(|chunk| difference.known(chunk)).collect();
            if runs.is_empty() && !known.contains(&None) {
                self.content.hashes.extend(known.into_iter().flatten());
                continue;
            }
            let batch = content.slice(start..end, &mut scratch);
            for run in runs {
                let (from, to) = (run.start * PAGE, end.min(run.end * PAGE));
                let offset = CONTENT_OFFSET + from as u64;
                file.write_at(&batch[from - start..to - start], offset)?;
                disk.start_writing(file, offset, (to - from) as u64)?;
            }
            for ((index, bytes), known) in chunks.zip(batch.chunks(CHUNK)).zip(known) {
                self.content.hashes.push(known.unwrap_or_else(|| chunk_hash(bytes, index)));
            }
        }
        self.written = self.written.max(self.content.len);
        Ok(())
    }
}
