//! [`MappedFile`]: a file written through memory.
//!
//! A short record that must survive the death of the process, but not of the machine, need not
//! pass through a system call: the memory is that of the system's cache, where `pwrite` puts it,
//! too. What this saves is above all that each write gives the file a new time of change, at
//! most once in some milliseconds: an actor that is called all the time does not notice, 256 that
//! are called in turn pay for it in every commit.

use std::fs::File;
use std::io;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{Ordering, fence};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// The first bytes of a file, mapped for writing.
///
/// The file must not be shortened meanwhile: a write beyond its end, or to a page that cannot be read
/// back from a failing disk, ends the process with SIGBUS.
pub struct MappedFile {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is reached through `self` alone, and is not tied to a thread.
unsafe impl Send for MappedFile {}

impl MappedFile {
    /// Maps the first `len` bytes of a file that is open for reading and writing.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(file: &File, len: usize) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice replaces none.
        let start = unsafe { mmap(null_mut(), len.max(1), protection, MapFlags::SHARED, file, 0)? };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, len })
    }

    /// Writes `bytes` at `offset`, both multiples of 8, from front to back: if the process dies
    /// meanwhile, some leading part of it is there, as with `pwrite`. `false` if it does not fit.
    ///
    /// When this returns, whoever reads the file sees the bytes; what this thread reads afterwards
    /// (such as whether it was superseded) was not read before.
    pub fn write(&self, bytes: &[u8], offset: u64) -> bool {
        let (words, rest) = bytes.as_chunks::<8>();
        let Ok(offset) = usize::try_from(offset) else { return false };
        let fits = offset.checked_add(bytes.len()).is_some_and(|end| end <= self.len);
        if !fits || !rest.is_empty() || !offset.is_multiple_of(8) {
            return false;
        }
        for (index, word) in words.iter().enumerate() {
            let word = u64::from_le_bytes(*word).to_le();
            // SAFETY: within the mapping, as checked above, which lives as long as `self`; aligned,
            // since a mapping starts at a page. No reference to the memory exists. Volatile, so
            // that the words are written in this order.
            unsafe {
                self.start.as_ptr().add(offset + index * 8).cast::<u64>().write_volatile(word);
            }
        }
        fence(Ordering::SeqCst);
        true
    }

    /// The 8 bytes at `offset`, a multiple of 8, as they are now; `None` if they are not mapped.
    pub fn read(&self, offset: u64) -> Option<[u8; 8]> {
        let offset = usize::try_from(offset).ok()?;
        let fits = offset.checked_add(8).is_some_and(|end| end <= self.len);
        if !fits || !offset.is_multiple_of(8) {
            return None;
        }
        // SAFETY: as in `write`. Volatile, since others write to the file.
        let word = unsafe { self.start.as_ptr().add(offset).cast::<u64>().read_volatile() };
        Some(u64::from_le(word).to_le_bytes())
    }
}

impl Drop for MappedFile {
    fn drop(&mut self) {
        // SAFETY: this is the mapping made in `new`, and with `self` the last way to reach it
        // goes. An error would leave it mapped, which harms nobody.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len.max(1)) };
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn what_is_written_is_read_from_the_file_and_nothing_else_changes() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[1; 64], 0).unwrap();
        let mapped = MappedFile::new(&file, 64).unwrap();
        assert!(mapped.write(&[7; 16], 8));
        let mut found = [0; 64];
        file.read_exact_at(&mut found, 0).unwrap();
        assert_eq!(found[..8], [1; 8]);
        assert_eq!(found[8..24], [7; 16]);
        assert_eq!(found[24..], [1; 40]);
    }

    #[test]
    fn what_others_write_to_the_file_is_read() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[1; 20], 0).unwrap();
        let mapped = MappedFile::new(&file, 64).unwrap();
        assert_eq!(mapped.read(8), Some([1; 8]));
        assert_eq!(mapped.read(48), Some([0; 8]), "behind the end");
        file.write_all_at(b"12345678", 48).unwrap();
        assert_eq!(mapped.read(48), Some(*b"12345678"));
        for offset in [4, 60, 64, u64::MAX - 7] {
            assert_eq!(mapped.read(offset), None, "{offset}");
        }
    }

    #[test]
    fn what_does_not_fit_is_not_written() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(64).unwrap();
        let mapped = MappedFile::new(&file, 64).unwrap();
        for (len, offset) in [(16, 56), (8, 64), (8, u64::MAX - 3), (8, 4), (7, 0)] {
            assert!(!mapped.write(&vec![7; len], offset), "{len} at {offset}");
        }
        let mut found = [1; 64];
        file.read_exact_at(&mut found, 0).unwrap();
        assert_eq!(found, [0; 64]);
    }
}
