//! Which descriptors this process has open, and who gets them.

use std::fs::DirEntry;
use std::io;
use std::os::fd::RawFd;

/// All that are open but the standard ones, and whether they stay here (CLOEXEC) when another
/// executable is started.
pub(crate) fn open_ones() -> io::Result<Vec<(RawFd, bool)>> {
    let number = |entry: io::Result<DirEntry>| {
        entry.map(|entry| entry.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()))
    };
    // Listed to the end first, so that the descriptor that this takes is closed again.
    let listed = std::fs::read_dir("/proc/self/fd")?.map(number);
    let numbers = listed.collect::<io::Result<Vec<_>>>()?;
    let flags = |number: RawFd| {
        // SAFETY: nothing but its flags is asked, of whatever has this number.
        let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
        (flags >= 0).then_some((number, flags & libc::FD_CLOEXEC != 0))
    };
    Ok(numbers.into_iter().flatten().filter(|number| *number > 2).filter_map(flags).collect())
}
