//! Memory as good as this machine has it: page-aligned, in huge pages where it is large.
//!
//! A fresh small page costs 2.5 µs, and the time to notice a death grows with the number of pages
//! of the dead. A floor must not pay for what nobody has to pay.

use std::ffi::c_void;
use std::io;
use std::ptr::{NonNull, null_mut};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// From this length on, memory is asked for in huge pages. Bytes.
const HUGE_PAGE: usize = 2 << 20;

/// A mapping of its own.
pub(super) struct Region {
    start: NonNull<c_void>,
    len: usize,
}

impl Region {
    /// Zeroed memory that nobody has used before.
    pub(super) fn map(len: usize) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new private mapping at an address that the kernel chooses aliases nothing.
        let start =
            unsafe { mmap_anonymous(null_mut(), len.max(1), protection, MapFlags::PRIVATE)? };
        let start = NonNull::new(start).ok_or(io::ErrorKind::OutOfMemory)?;
        if len >= HUGE_PAGE {
            // SAFETY: the range is the mapping just made; the advice changes no content. Where
            // there are no huge pages, small ones serve.
            let _ = unsafe { madvise(start.as_ptr(), len, Advice::LinuxHugepage) };
        }
        Ok(Self { start, len })
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        // SAFETY: `len` readable bytes are mapped at `start`, zeroed by the kernel, for as long
        // as `self` lives.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.len) }
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`; the mapping is writable and `self` is borrowed uniquely.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().cast(), self.len) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the range is exactly the mapping, and nothing refers to it any more.
        let _ = unsafe { munmap(self.start.as_ptr(), self.len.max(1)) };
    }
}

/// Reads every byte once.
pub(super) fn read_all(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let sum = words.iter().fold(0u64, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
    rest.iter().fold(sum, |sum, byte| sum.wrapping_add(u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_any_length_holds_what_is_written() {
        for len in [0, 1, 4096, HUGE_PAGE + 5] {
            let mut region = Region::map(len).unwrap();
            region.as_mut_slice().fill(3);
            assert_eq!(region.as_slice().len(), len);
            assert!(region.as_slice().iter().all(|byte| *byte == 3));
        }
    }

    #[test]
    fn every_byte_counts() {
        let mut bytes = vec![0; 4099];
        for at in [0, 7, 8, 4095, 4098] {
            bytes[at] += 1;
            assert_ne!(read_all(&bytes), read_all(&[0; 4099]), "{at}");
            bytes[at] = 0;
        }
    }
}
