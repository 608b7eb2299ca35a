//! Shared memory in huge pages.
//!
//! Shared memory gets huge pages by itself only where the administrator has said so
//! (`shmem_enabled`). But a process may ask for those of a range that it names, if it is ready to
//! wait for them (`MADV_COLLAPSE`, Linux 6.1). Whoever maps the buffer then has five faults
//! instead of up to 2560 for 10 MiB, and the processor finds its way in it at less cost. A fresh
//! buffer of 10 MiB is filled in 1 ms instead of 7, if the system has huge pages at hand; a virtual
//! machine whose host takes free ones back may need 20 ms, once for each buffer.

use std::ffi::c_void;
use std::ptr::{NonNull, null_mut};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// The size of a huge page on x86-64 and most other machines. Bytes.
pub(crate) const HUGE_PAGE_BYTES: usize = 2 << 20;

/// A free address where `len` bytes can be mapped in huge pages; null, which leaves it to the
/// kernel, if they are too few. Another thread may take it first: it is for a hint, no more.
pub(crate) fn aligned_hint(len: usize) -> *mut c_void {
    let Some(room) = len.checked_add(HUGE_PAGE_BYTES).filter(|_| len >= HUGE_PAGE_BYTES) else {
        return null_mut();
    };
    // SAFETY: a new mapping at an address of the kernel's choice replaces none; nothing refers to
    // it when it is taken down again.
    let start = unsafe {
        let start = mmap_anonymous(null_mut(), room, ProtFlags::empty(), MapFlags::PRIVATE);
        let Ok(start) = start else { return null_mut() };
        let _ = munmap(start, room);
        start
    };
    start.wrapping_byte_add(start.addr().next_multiple_of(HUGE_PAGE_BYTES) - start.addr())
}

/// Puts the memory of `len` bytes from `start` on into huge pages, as far as it fills them.
/// Where that is not possible it stays in small ones.
///
/// # Safety
/// The range must be part of a mapping of this process that stays while this runs.
pub(crate) unsafe fn gather(start: NonNull<c_void>, len: usize) {
    let len = len - len % HUGE_PAGE_BYTES;
    let start = start.as_ptr();
    for offset in (0..len).step_by(HUGE_PAGE_BYTES) {
        // What holds no page at all is not gathered.
        // SAFETY: as the caller vouches; entering a page changes no content.
        let _ = unsafe { madvise(start.byte_add(offset), 1, Advice::LinuxPopulateWrite) };
    }
    if len > 0 {
        // SAFETY: as the caller vouches; where pages lie is nothing that a program sees.
        let _ = unsafe { libc::madvise(start, len, libc::MADV_COLLAPSE) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_is_free_and_aligned_where_huge_pages_fit() {
        assert!(aligned_hint(HUGE_PAGE_BYTES - 1).is_null());
        assert!(aligned_hint(usize::MAX).is_null());
        let hint = aligned_hint(5 * HUGE_PAGE_BYTES / 2);
        assert!(!hint.is_null() && hint.addr().is_multiple_of(HUGE_PAGE_BYTES));
    }

    #[test]
    fn gathering_changes_no_content() {
        let len = 3 * HUGE_PAGE_BYTES + 4096;
        let id = crate::wire::BufferId { pool: 1, index: 1 };
        let mapping = crate::mapping::Mapping::create(id, 4 * HUGE_PAGE_BYTES).unwrap();
        mapping.gather(HUGE_PAGE_BYTES);
        assert!(mapping.bytes().iter().all(|byte| *byte == 0));
        // SAFETY: no other reference exists.
        let bytes = unsafe { &mut mapping.bytes_mut()[..len] };
        bytes.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at / 4093) as u8);
        mapping.gather(len);
        let same = mapping.bytes()[..len].iter().enumerate().all(|(at, b)| *b == (at / 4093) as u8);
        assert!(same && mapping.bytes()[len..].iter().all(|byte| *byte == 0));
    }
}
