//! A large content that is to be stored, and in which pages it differs from another.

use std::ops::Range;

use super::slot_file::CHUNK;
use crate::bytes::Bytes;
use crate::page_tree::{PAGE, PageTree};
use crate::paged_bytes::Paged;

/// The pages of a chunk.
pub(super) const CHUNK_PAGES: usize = CHUNK / PAGE;

/// A content in one piece, or in pages.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    Flat(&'a [u8]),
    Paged(&'a PageTree),
}

impl<'a> Source<'a> {
    pub(super) fn of(bytes: &'a Bytes) -> Self {
        match Paged::of(bytes) {
            Some(tree) => Self::Paged(tree),
            None => Self::Flat(bytes),
        }
    }

    pub(super) fn len(self) -> usize {
        match self {
            Self::Flat(bytes) => bytes.len(),
            Self::Paged(tree) => tree.len(),
        }
    }

    /// All that is at hand in one piece and holds `range`, put together in `scratch` if need be,
    /// and where it begins.
    pub(super) fn around(self, range: Range<usize>, scratch: &'a mut Vec<u8>) -> (&'a [u8], usize) {
        match self {
            Self::Flat(bytes) => (bytes, 0),
            Self::Paged(tree) => {
                scratch.resize(range.len(), 0);
                tree.read(range.start, scratch);
                (scratch, range.start)
            }
        }
    }

    /// A page, shorter or empty at the end.
    fn page(self, index: usize) -> &'a [u8] {
        let start = (index * PAGE).min(self.len());
        match self {
            Self::Flat(bytes) => &bytes[start..bytes.len().min(start + PAGE)],
            Self::Paged(tree) if index < tree.pages() => tree.page(index),
            Self::Paged(_) => &[],
        }
    }

    /// Which pages of either content differ from the other's. Pages that do not may be said to
    /// differ if their neighbours do.
    pub(super) fn changed_pages(self, old: Source<'_>) -> Vec<bool> {
        let pages = self.len().max(old.len()).div_ceil(PAGE);
        let mut changed = vec![false; pages];
        match (self, old) {
            (Self::Paged(new), Source::Paged(old)) if new.len() == old.len() => {
                let mut differing = Vec::new();
                new.differing(old, &mut differing);
                differing.into_iter().for_each(|index| changed[index] = true);
            }
            (Self::Flat(new), Source::Flat(old)) => {
                for (index, flags) in changed.chunks_mut(CHUNK_PAGES).enumerate() {
                    compare_chunk(chunk(new, index), chunk(old, index), flags);
                }
            }
            (new, old) => {
                for (index, flag) in changed.iter_mut().enumerate() {
                    *flag = new.page(index) != old.page(index);
                }
            }
        }
        changed
    }
}

/// The chunk with this index, shorter or empty at the end.
fn chunk(content: &[u8], index: usize) -> &[u8] {
    let start = (index * CHUNK).min(content.len());
    &content[start..content.len().min(start + CHUNK)]
}

/// Compares the pages of a chunk, each by itself only where some are the same: a content that
/// has changed altogether is not worth a look at every page.
fn compare_chunk(new: &[u8], old: &[u8], flags: &mut [bool]) {
    let (new_pages, old_pages) = (Source::Flat(new), Source::Flat(old));
    let differs = |page: usize| new_pages.page(page) != old_pages.page(page);
    if differs(0) && differs(flags.len() - 1) {
        flags.fill(true);
    } else if new != old {
        for (page, flag) in flags.iter_mut().enumerate() {
            *flag = differs(page);
        }
    }
}

/// The unbroken runs of indices in `range` for which `is_in` holds.
pub(super) fn runs(range: Range<usize>, is_in: impl Fn(usize) -> bool) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for index in range.filter(|index| is_in(*index)) {
        match runs.last_mut() {
            Some(run) if run.end == index => run.end += 1,
            _ => runs.push(index..index + 1),
        }
    }
    runs
}

/// `into` becomes true wherever `other` is, or reaches further.
pub(super) fn merge(into: &mut Vec<bool>, other: &[bool]) {
    into.resize(into.len().max(other.len()), true);
    for (index, flag) in into.iter_mut().enumerate() {
        *flag |= other.get(index).copied().unwrap_or(true);
    }
}
