//! One slot file: its header, its chunks, and how it is read (`docs/format.md`, section 4).

use twox_hash::XxHash3_64;
use xxhash_rust::xxh3::xxh3_64;

use super::disk::{Disk, DiskFile};
use super::failure::ReadError;
use super::layout::{Put, is_zero, u32_at, u64_at, u128_at};
use super::names::{FileId, FileName};
use super::payload::SlotRef;
use super::storage::StorageFile;
use crate::page_tree::{PAGE, PageTree};

/// The unit of comparing, writing and checking. Bytes.
pub(crate) const CHUNK: usize = 64 * 1024;
/// Where a slot's content starts. Bytes.
pub(crate) const CONTENT_OFFSET: u64 = 4096;

const MAGIC: &[u8; 8] = b"PAslot\0\0";
const HEADER_CHECKED: usize = 40;

/// What a slot holds.
#[derive(Clone, Default)]
pub(crate) struct Content {
    pub(crate) len: u64,
    pub(crate) hashes: Vec<u64>,
}

impl Content {
    pub(crate) fn checksum(&self) -> u64 {
        self.hashes.iter().fold(0, |sum, hash| sum.wrapping_add(*hash))
    }
}

/// The hash of a chunk.
///
/// `twox_hash` finds out when it runs whether the processor has AVX2, `xxhash_rust` when it is
/// compiled: 10 MiB that are not in the cache take 0.8 ms instead of 1.5.
pub(crate) fn chunk_hash(chunk: &[u8], index: usize) -> u64 {
    XxHash3_64::oneshot_with_seed(index as u64, chunk)
}

/// The first page of a slot file.
pub(crate) fn encode_header(state_id: u128, id: FileId) -> Vec<u8> {
    let mut page = Vec::with_capacity(CONTENT_OFFSET as usize);
    page.extend_from_slice(MAGIC);
    page.put_u32(super::FORMAT_VERSION);
    page.put_u32(id.number);
    page.put_u128(state_id);
    page.put_u64(id.epoch);
    let check = xxh3_64(&page);
    page.put_u64(check);
    page.resize(CONTENT_OFFSET as usize, 0);
    page
}

/// An open slot file for reading, its header checked.
pub(crate) struct SlotReader {
    file: DiskFile,
    verify: bool,
    /// How long a content can be at most. Bytes.
    pub(crate) room: u64,
}

impl SlotReader {
    pub(crate) fn open(
        disk: &Disk,
        id: FileId,
        state_id: u128,
        verify: bool,
    ) -> Result<Self, ReadError> {
        let name = FileName::Slot(id);
        let file = match disk.open(name) {
            Err(failure) if failure.kind() == std::io::ErrorKind::NotFound => {
                return Err(ReadError::damaged(
                    name,
                    0,
                    "the journal refers to it, but it is missing",
                ));
            }
            other => other?,
        };
        let Some(room) = file.size()?.checked_sub(CONTENT_OFFSET) else {
            return Err(ReadError::damaged(name, 0, "the file is shorter than its header"));
        };
        let mut page = vec![0; CONTENT_OFFSET as usize];
        file.read_at(&mut page, 0)?;
        if &page[..8] != MAGIC {
            return Err(ReadError::damaged(name, 0, "the file does not start like a slot"));
        }
        let version = u32_at(&page, 8);
        if version > super::FORMAT_VERSION {
            return Err(ReadError::Newer { name, found: version });
        }
        let good = xxh3_64(&page[..HEADER_CHECKED]) == u64_at(&page, HEADER_CHECKED)
            && is_zero(&page[HEADER_CHECKED + 8..]);
        if verify && (!good || version == 0) {
            return Err(ReadError::damaged(name, 0, "the checksum of the slot header is wrong"));
        }
        let found = FileId { epoch: u64_at(&page, 32), number: u32_at(&page, 12) };
        if found != id || u128_at(&page, 16) != state_id {
            return Err(ReadError::damaged(name, 0, "the slot belongs to another state"));
        }
        Ok(Self { file, verify, room })
    }

    /// Reads the content that `reference` names into `buffer` and checks it.
    pub(crate) fn read(&self, reference: SlotRef, buffer: &mut [u8]) -> Result<Content, ReadError> {
        let mut content = Content { len: reference.len, hashes: Vec::new() };
        let mut bounce = if copies_slowly(buffer) { vec![0; CHUNK] } else { Vec::new() };
        for (index, chunk) in buffer.chunks_mut(CHUNK).enumerate() {
            let offset = CONTENT_OFFSET + (index * CHUNK) as u64;
            if bounce.is_empty() {
                self.file.read_at(chunk, offset)?;
            } else {
                let bounce = &mut bounce[..chunk.len()];
                self.file.read_at(bounce, offset)?;
                chunk.copy_from_slice(bounce);
            }
            content.hashes.push(chunk_hash(chunk, index));
        }
        self.check(reference, &content)?;
        Ok(content)
    }

    /// Reads the content that `reference` names, checks it, and keeps nothing of it.
    ///
    /// Through a buffer that stays in the cache: 10 MiB take 0.7 ms, and 2 ms into memory that
    /// has yet to be entered into the page table.
    pub(crate) fn verify(&self, reference: SlotRef) -> Result<Content, ReadError> {
        let mut content = Content { len: reference.len, hashes: Vec::new() };
        let len = reference.len as usize;
        let mut buffer = vec![0; CHUNK.min(len)];
        for (index, start) in (0..len).step_by(CHUNK).enumerate() {
            let chunk = &mut buffer[..CHUNK.min(len - start)];
            self.file.read_at(chunk, CONTENT_OFFSET + start as u64)?;
            content.hashes.push(chunk_hash(chunk, index));
        }
        self.check(reference, &content)?;
        Ok(content)
    }

    /// The file, for whoever maps it.
    pub(crate) fn storage_file(&self) -> &dyn StorageFile {
        self.file.storage_file()
    }

    /// Reads and checks a content, in pages.
    pub(crate) fn read_pages(&self, reference: SlotRef) -> Result<(Content, PageTree), ReadError> {
        let mut content = Content { len: reference.len, hashes: Vec::new() };
        let len = reference.len as usize;
        let mut chunk = vec![0; CHUNK.min(len)];
        let tree = PageTree::build(len, |page, out| {
            let start = page * PAGE;
            if start.is_multiple_of(CHUNK) {
                chunk.truncate(len - start);
                self.file.read_at(&mut chunk, CONTENT_OFFSET + start as u64)?;
                content.hashes.push(chunk_hash(&chunk, start / CHUNK));
            }
            out.copy_from_slice(&chunk[start % CHUNK..][..out.len()]);
            Ok::<(), ReadError>(())
        })?;
        self.check(reference, &content)?;
        Ok((content, tree))
    }

    fn check(&self, reference: SlotRef, content: &Content) -> Result<(), ReadError> {
        if self.verify && content.checksum() != reference.checksum {
            let reason = "the checksum of the content is wrong";
            return Err(ReadError::damaged(self.file.name, CONTENT_OFFSET, reason));
        }
        Ok(())
    }
}

/// Whether the kernel would copy a page-aligned content slowly to this address: on some
/// processors it does if target minus source is 1 to 31 modulo 4096 (measured: 4.2 ms instead of
/// 0.6 for 10 MiB), as with large allocations of glibc.
fn copies_slowly(buffer: &[u8]) -> bool {
    (1..32).contains(&(buffer.as_ptr().addr() % 4096))
}
