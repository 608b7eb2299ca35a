//! [`TrackedBytes`]: a large byte array in one piece that is changed in place; what changed is
//! found by comparison.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::mm::{Advice, madvise};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::chunk_hashes::{CHUNK, chunk_hashes};
use crate::paged_bytes::PagedBytes;

/// Bytes.
const HUGE_PAGE: usize = 2 << 20;

/// A large byte array in one piece that is changed in place, anywhere.
///
/// It dereferences to `[u8]`. A commit reads it once, finds what changed since the last one by a
/// hash (XXH3, 64 bits) of each 64 KiB, and writes only that. From 16 MiB on several threads share
/// the reading: one for each 8 MiB and each processor, and at most four. A call that does not borrow
/// it mutably does not even cause that. Code that knows which ranges it changes is better served by
/// [`PagedBytes`], whose commits do not read the whole.
///
/// It takes its size in memory twice: as it is, and as it was committed last, which is what a
/// failed call goes back to. The hash has a seed of its own in each process, so that nobody who
/// chooses contents can choose two that it takes for the same.
///
/// On disk and to other tools it is a byte array like [`Bytes`](crate::Bytes), and an attribute of
/// the one type can be loaded as the other.
///
/// ```
/// use persistent_actor::TrackedBytes;
/// let mut weights = TrackedBytes::from(vec![0; 1 << 20]);
/// weights[500_000..500_100].fill(1);
/// assert_eq!(weights.iter().filter(|byte| **byte == 1).count(), 100);
/// ```
pub struct TrackedBytes {
    live: Vec<u8>,
    image: Mutex<Image>,
}

/// The content as of the last comparison.
struct Image {
    pages: PagedBytes,
    /// Of each chunk of it.
    hashes: Vec<u64>,
    /// Whether the live content was not borrowed mutably since.
    is_current: bool,
}

impl TrackedBytes {
    fn image(&self) -> MutexGuard<'_, Image> {
        // Each step of an update leaves chunk and hash as they belong together.
        self.image.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An array whose content is that of `pages`.
    fn of(live: Vec<u8>, pages: PagedBytes) -> Self {
        let hashes = chunk_hashes(&live);
        Self { live, image: Mutex::new(Image { pages, hashes, is_current: true }) }
    }
}

impl Image {
    fn update(&mut self, live: &[u8]) {
        if self.is_current {
            return;
        }
        for ((index, chunk), hash) in live.chunks(CHUNK).enumerate().zip(chunk_hashes(live)) {
            if self.hashes[index] != hash {
                self.pages.write_changed(index * CHUNK, chunk);
                self.hashes[index] = hash;
            }
        }
        self.is_current = true;
    }
}

/// Zeros, in huge pages if the system has some for them: reading all of them is what a commit does.
fn zeros(len: usize) -> Vec<u8> {
    let mut memory: Vec<u8> = Vec::with_capacity(len);
    let start = memory.as_mut_ptr();
    let skipped = start.align_offset(HUGE_PAGE);
    let whole = len.saturating_sub(skipped) / HUGE_PAGE * HUGE_PAGE;
    if whole > 0 {
        // SAFETY: the range lies within the memory that was just reserved, and the advice changes
        // nothing that is in it. If it is not taken, small pages serve.
        let _ = unsafe { madvise(start.add(skipped).cast(), whole, Advice::LinuxHugepage) };
    }
    memory.resize(len, 0);
    memory
}

impl From<&[u8]> for TrackedBytes {
    fn from(content: &[u8]) -> Self {
        let mut live = zeros(content.len());
        live.copy_from_slice(content);
        Self::of(live, PagedBytes::from(content))
    }
}

impl From<Vec<u8>> for TrackedBytes {
    fn from(content: Vec<u8>) -> Self {
        Self::from(&content[..])
    }
}

impl Default for TrackedBytes {
    fn default() -> Self {
        Self::from(Vec::new())
    }
}

impl Clone for TrackedBytes {
    fn clone(&self) -> Self {
        let mut image = self.image();
        image.update(&self.live);
        let mut live = zeros(self.live.len());
        live.copy_from_slice(&self.live);
        Self::of(live, image.pages.clone())
    }
}

impl Deref for TrackedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.live
    }
}

impl DerefMut for TrackedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        let image = self.image.get_mut().unwrap_or_else(PoisonError::into_inner);
        image.is_current = false;
        &mut self.live
    }
}

impl PartialEq for TrackedBytes {
    fn eq(&self, other: &Self) -> bool {
        self.live == other.live
    }
}

impl Eq for TrackedBytes {}

impl fmt::Debug for TrackedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = &self.live[..self.live.len().min(8)];
        write!(f, "TrackedBytes({} bytes, {head:?}…)", self.live.len())
    }
}

impl Serialize for TrackedBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut image = self.image();
        image.update(&self.live);
        image.pages.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for TrackedBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pages = PagedBytes::deserialize(deserializer)?;
        let mut live = zeros(pages.len());
        pages.read(0, &mut live);
        Ok(Self::of(live, pages))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{decode, encode};

    #[test]
    fn what_was_changed_in_place_is_found_and_all_that_is_encoded_anew() {
        let mut bytes = TrackedBytes::from(vec![0; 300_000]);
        let first = encode(&bytes).unwrap();
        bytes[70_000] = 1;
        bytes[299_999] = 2;
        let second = encode(&bytes).unwrap();
        assert!(!first.is_same(&second));
        let back: TrackedBytes = decode(&second).unwrap();
        assert_eq!(
            (back[70_000], back[299_999], back.iter().map(|b| u64::from(*b)).sum()),
            (1, 2, 3u64)
        );
        assert_eq!(decode::<TrackedBytes>(&first).unwrap(), TrackedBytes::from(vec![0; 300_000]));
    }

    #[test]
    fn what_was_not_changed_is_the_same_version() {
        let mut bytes = TrackedBytes::from(vec![7; 100_000]);
        let first = encode(&bytes).unwrap();
        assert!(first.is_same(&encode(&bytes).unwrap()));
        bytes[5] = 7;
        assert!(first.is_same(&encode(&bytes).unwrap()), "written with what was there");
    }

    #[test]
    fn a_clone_goes_its_own_way() {
        let mut bytes = TrackedBytes::from(vec![0; 100_000]);
        bytes[1] = 1;
        let mut other = bytes.clone();
        other[2] = 2;
        assert_eq!((bytes[2], other[1]), (0, 1));
        assert_eq!(decode::<TrackedBytes>(&encode(&other).unwrap()).unwrap(), other);
    }
}
