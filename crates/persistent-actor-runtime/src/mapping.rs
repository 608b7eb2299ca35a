//! [`Mapping`]: one shared-memory buffer, mapped into this process.
//!
//! # Who may write when
//!
//! A buffer belongs to the process whose [pool](crate::buffers::Pool) made it, and only that
//! process maps it writable. When it is dead and reaped, and nobody holds the content any more,
//! the buffer can pass to its successor. It writes while no [`Bytes`](persistent_actor::Bytes) over the
//! buffer exists outside the hand that fills it. Once the content was sent to another process,
//! the sender keeps a `Bytes` of its own over it ([`Lending`](crate::lending::Lending)) until the
//! receiver has said that it dropped all of its own, or the receiver is dead and reaped; and what
//! comes back from a receiver keeps what was lent to it, so that it stays when the receiver is gone.
//! So while anybody, here or there, can see the content as a `&[u8]`, nobody writes it. The processes are
//! the same executable of the same user, and no other process can open the buffer: it has no
//! name.
//!
//! A worker that is dead and reaped writes no more, even if its memory is
//! [held](crate::memory_holder) a moment longer: who holds it never touches it.
//!
//! # Slot files
//!
//! At durability `process` a worker builds large values in the slot files of its state, and gives
//! out their descriptors instead of a buffer's. The same rules hold, with these differences: the
//! store says when the maker may write ([`SlotPool`](persistent_actor::store::SlotPool)), the
//! memory never passes to a successor, and the size cannot be sealed. Nothing of ours ever
//! shortens a slot file, and what is mapped was written before. Reading it can fault
//! (SIGBUS, which ends the process) only if somebody else shortens the file, which lies in a
//! directory that only the user of these very processes can write to, or if the disk cannot read
//! back a page that the kernel had taken out of memory.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use persistent_actor::store::SlotId;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, ftruncate};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};

use crate::huge_pages::{self, HUGE_PAGE_BYTES};
use crate::wire::BufferId;

/// The largest buffer. Bytes.
pub(crate) const MAX_BUFFER_BYTES: usize = 1 << 36;

/// The size of a buffer never changes, so that reading it can never fault.
const SIZE_SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW);

/// A shared-memory buffer, mapped into this process.
pub(crate) struct Mapping {
    id: BufferId,
    start: NonNull<u8>,
    len: usize,
    writable: bool,
    /// Its pages are there, but this process has touched none of them.
    cold: AtomicBool,
    /// How much of it lies in huge pages, if the system could. Bytes.
    gathered: AtomicUsize,
    home: Home,
    descriptor: OwnedFd,
}

/// Where a buffer lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Home {
    /// In memory that has no name.
    Memory,
    /// In a slot file of this process's state.
    Slot(SlotId),
    /// In a slot file that another process has written: a peer, or an earlier incarnation.
    PeersSlot,
}

/// How much of this process's memory is mapped here. Bytes.
static MAPPED_BYTES: AtomicUsize = AtomicUsize::new(0);

/// How much memory of this process is shared buffers and slot files. Bytes.
pub(crate) fn mapped_bytes() -> usize {
    MAPPED_BYTES.load(Ordering::Relaxed)
}

/// Where the content begins in a slot file. Bytes.
const SLOT_CONTENT_OFFSET: u64 = 4096;

// SAFETY: the memory is reached through `&self` for reading and through `bytes_mut`, whose
// callers see to it that they are alone; it is not tied to a thread.
unsafe impl Send for Mapping {}
// SAFETY: as for `Send`.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Makes a buffer of `len` bytes, zeroed, and maps it for writing.
    pub(crate) fn create(id: BufferId, len: usize) -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let descriptor = rustix::fs::memfd_create("persistent-actor", flags)?;
        ftruncate(&descriptor, len as u64)?;
        fcntl_add_seals(&descriptor, SIZE_SEALS | SealFlags::SEAL)?;
        Self::map(id, descriptor, len, true, Home::Memory)
    }

    /// Maps the first `len` bytes of a slot's content for writing.
    pub(crate) fn of_slot(
        id: BufferId,
        slot: SlotId,
        descriptor: OwnedFd,
        len: u64,
    ) -> io::Result<Self> {
        Self::map_slot(id, descriptor, len, true, Home::Slot(slot))
    }

    /// Maps what another process has put into a slot, for reading.
    pub(crate) fn open_slot(id: BufferId, descriptor: OwnedFd, len: u64) -> io::Result<Self> {
        Self::map_slot(id, descriptor, len, false, Home::PeersSlot)
    }

    fn map_slot(
        id: BufferId,
        descriptor: OwnedFd,
        len: u64,
        writable: bool,
        home: Home,
    ) -> io::Result<Self> {
        let size = u64::try_from(rustix::fs::fstat(&descriptor)?.st_size).unwrap_or(0);
        if len > MAX_BUFFER_BYTES as u64 || size.checked_sub(SLOT_CONTENT_OFFSET) < Some(len) {
            return Err(io::Error::other(format!("{len} bytes in a slot file of {size}")));
        }
        Self::map(id, descriptor, len as usize, writable, home)
    }

    /// Maps a buffer that another process made, for reading.
    pub(crate) fn open(id: BufferId, descriptor: OwnedFd, len: u64) -> io::Result<Self> {
        Self::open_checked(id, descriptor, len, false)
    }

    /// Maps a buffer whose maker is gone and that nobody else holds, for writing.
    pub(crate) fn inherit(id: BufferId, descriptor: OwnedFd, len: u64) -> io::Result<Self> {
        let mapping = Self::open_checked(id, descriptor, len, true)?;
        mapping.cold.store(true, Ordering::Relaxed);
        // Its maker has done what it could.
        mapping.gathered.store(mapping.len, Ordering::Relaxed);
        Ok(mapping)
    }

    /// Makes the first `len` bytes ready to be written, if the buffer was inherited.
    ///
    /// Its pages are there, and have to be entered into this process's page table only: for 10 MiB
    /// this takes 0.8 ms, and the 2560 faults of writing without it 3.3 ms.
    pub(crate) fn warm(&self, len: usize) {
        if self.cold.swap(false, Ordering::Relaxed) {
            // SAFETY: the range lies in the mapping, and nothing is changed by reading it.
            let _ = unsafe {
                let len = len.min(self.len);
                madvise(self.start.as_ptr().cast(), len, Advice::LinuxPopulateRead)
            };
        }
    }

    /// Puts the first `len` bytes into huge pages, if they have not been before.
    pub(crate) fn gather(&self, len: usize) {
        let len = len.min(self.len);
        if self.home == Home::Memory && self.gathered.fetch_max(len, Ordering::Relaxed) < len {
            // SAFETY: the range lies in the mapping, which stays as long as `self` is borrowed.
            unsafe { huge_pages::gather(self.start.cast(), len) };
        }
    }

    fn open_checked(
        id: BufferId,
        descriptor: OwnedFd,
        len: u64,
        writable: bool,
    ) -> io::Result<Self> {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if len > MAX_BUFFER_BYTES {
            return Err(io::Error::other(format!("a shared buffer of {len} bytes")));
        }
        if !fcntl_get_seals(&descriptor)?.contains(SIZE_SEALS) {
            return Err(io::Error::other("a shared buffer whose size is not sealed"));
        }
        let size = rustix::fs::fstat(&descriptor)?.st_size;
        if u64::try_from(size) != Ok(len as u64) {
            return Err(io::Error::other(format!("a shared buffer of {size} bytes, not {len}")));
        }
        Self::map(id, descriptor, len, writable, Home::Memory)
    }

    fn map(
        id: BufferId,
        descriptor: OwnedFd,
        len: usize,
        writable: bool,
        home: Home,
    ) -> io::Result<Self> {
        let offset = if home == Home::Memory { 0 } else { SLOT_CONTENT_OFFSET };
        let protection =
            if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        let hint = if home == Home::Memory { huge_pages::aligned_hint(len) } else { null_mut() };
        // SAFETY: a new mapping at an address that is only proposed replaces none.
        let start =
            unsafe { mmap(hint, len.max(1), protection, MapFlags::SHARED, &descriptor, offset)? };
        let start = NonNull::new(start.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        if len >= HUGE_PAGE_BYTES {
            // Five faults instead of 2560 for 10 MiB, and as much less to take down when the
            // process dies. Where the administrator has not allowed that for all shared memory
            // (`shmem_enabled`), only what is gathered has huge pages.
            // SAFETY: the range is the mapping that was made just now; advice changes no content.
            let _ = unsafe { madvise(start.as_ptr().cast(), len, Advice::LinuxHugepage) };
        }
        MAPPED_BYTES.fetch_add(len, Ordering::Relaxed);
        let (cold, gathered) = (AtomicBool::new(false), AtomicUsize::new(0));
        Ok(Self { id, start: start.cast(), len, writable, cold, gathered, home, descriptor })
    }

    pub(crate) fn id(&self) -> BufferId {
        self.id
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The slot of this process's state that it is, if it is one.
    pub(crate) fn slot(&self) -> Option<SlotId> {
        match self.home {
            Home::Slot(slot) => Some(slot),
            Home::Memory | Home::PeersSlot => None,
        }
    }

    /// Whether it lies in a slot file, of whomever.
    pub(crate) fn is_in_file(&self) -> bool {
        self.home != Home::Memory
    }

    /// Takes the pages out of this process's page table; the next access enters them again.
    pub(crate) fn refresh(&self) {
        // SAFETY: the range is that of the mapping. It is shared, so its content lies in the file
        // (or in the buffer, which has a descriptor) and is found there again, unchanged.
        let _ = unsafe { madvise(self.start.as_ptr().cast(), self.len, Advice::LinuxDontNeed) };
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// The content.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: `start` and `len` are those of a mapping that lives as long as `self`; its file
        // is sealed against shrinking or a slot file, so all of it can be read. Nobody writes while a reference
        // lives (see the module's documentation).
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// The content, for writing.
    ///
    /// # Safety
    /// The buffer must belong to this process, and no other reference to its content, in this
    /// process or another, may exist until the result is dropped.
    #[expect(clippy::mut_from_ref, reason = "the caller vouches for being alone")]
    pub(crate) unsafe fn bytes_mut(&self) -> &mut [u8] {
        assert!(self.writable, "only the process that made a buffer writes it");
        // SAFETY: as in `bytes`; mapped writable, and the caller is alone.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is the mapping made in `map`, and with `self` the last way to reach it
        // goes. An error would leave it mapped, which harms nobody.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len.max(1)) };
        MAPPED_BYTES.fetch_sub(self.len, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: BufferId = BufferId { pool: 1, index: 2 };

    fn duplicate(mapping: &Mapping) -> OwnedFd {
        mapping.descriptor().try_clone_to_owned().unwrap()
    }

    #[test]
    fn what_the_maker_writes_is_read_through_the_descriptor() {
        let made = Mapping::create(ID, 10_000).unwrap();
        // SAFETY: no other reference exists.
        unsafe { made.bytes_mut() }.fill(7);
        let opened = Mapping::open(ID, duplicate(&made), 10_000).unwrap();
        assert!(opened.bytes().iter().all(|byte| *byte == 7));
        assert_eq!(opened.len(), 10_000);
    }

    #[test]
    fn a_buffer_that_could_shrink_or_is_of_another_size_is_refused() {
        let made = Mapping::create(ID, 4096).unwrap();
        let refused = Mapping::open(ID, duplicate(&made), 8192).err().unwrap();
        assert!(refused.to_string().contains("not 8192"), "{refused}");
        assert!(ftruncate(made.descriptor(), 0).is_err(), "the size is sealed");

        let unsealed = rustix::fs::memfd_create("test", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&unsealed, 4096).unwrap();
        let refused = Mapping::open(ID, unsealed, 4096).err().unwrap();
        assert!(refused.to_string().contains("not sealed"), "{refused}");
    }
}
