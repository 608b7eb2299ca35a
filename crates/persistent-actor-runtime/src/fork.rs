//! Makes a copy of this process that is a child of its parent: how a [fork
//! server](crate::fork_server) makes workers.
//!
//! `fork` of the C library would make the copy a child of the server, for which the node could not
//! wait. So this is the system call itself (clone(2) with `CLONE_PARENT`), and what glibc's `fork` does
//! beside it for a process that has one thread: the new thread's id is put where the C library keeps it,
//! and its list of robust mutexes is made known to the kernel. Handlers of `pthread_atfork` are not
//! run. Where it cannot be done so, the server is told, and takes the assignment itself.

use std::ffi::{c_int, c_long, c_void};
use std::io;
use std::os::fd::RawFd;
use std::path::Path;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::thread::{get_clear_child_tid_address, gettid};

use crate::buffers::has_pool;
use crate::descriptors::open_ones;

/// In which of the two processes this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The old one; the id of the new one.
    Old(u32),
    New,
}

/// Which other threads a process may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Company {
    None,
    /// The first thread of a test program, which waits for the one that runs the test: this one.
    Harness,
}

/// Copies this process. The copy has this thread only, and is not tied to the node yet. Beside the
/// standard ones, `known` are the only descriptors that this process may have.
///
/// # Errors
/// There is [no room](is_want_of_room) for another process, or the system or the C library lacks what
/// this takes, or a copy would not be what a new process is: see [`check`].
pub(crate) fn fork(company: Company, known: &[RawFd]) -> io::Result<Side> {
    static IS_CHECKED: AtomicBool = AtomicBool::new(false);
    if !IS_CHECKED.load(Ordering::Relaxed) {
        check(company, known)?;
        // Nobody is left who would change any of it.
        IS_CHECKED.store(company == Company::None, Ordering::Relaxed);
    }
    let thread_id = thread_id_address()?;
    let (robust, robust_bytes) = robust_list()?;
    // SAFETY: no thread but this one runs, or it waits outside of all that the copy uses: see
    // `check_threads`. So memory is in a state that this thread knows, in both processes.
    // `thread_id` is where the C library keeps this thread's id, in memory of this process.
    match unsafe { clone_for_parent(thread_id)? } {
        ..0 => Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: the address and size that were valid for the copied thread; the list is empty,
            // since no robust mutex is locked. Without it nothing else is amiss.
            unsafe { libc::syscall(libc::SYS_set_robust_list, robust, robust_bytes) };
            Ok(Side::New)
        }
        pid => u32::try_from(pid).map(Side::Old).map_err(io::Error::other),
    }
}

/// Whether something failed because there are too many processes or descriptors, or too little memory:
/// it may be otherwise later.
pub(crate) fn is_want_of_room(error: &io::Error) -> bool {
    let error = Errno::from_io_error(error);
    matches!(error, Some(Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE))
}

/// `clone` as `fork` does it, but for the parent, and the stack that both go on with.
///
/// # Safety
/// As for `fork`; and `thread_id` is valid for writing in the copy as long as its thread lives.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
unsafe fn clone_for_parent(thread_id: NonNull<c_int>) -> io::Result<c_long> {
    let flags =
        libc::CLONE_PARENT | libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID | libc::SIGCHLD;
    let none = null_mut::<c_void>();
    let thread_id = thread_id.as_ptr().cast::<c_void>();
    // The last two, the thread's id and its storage, are in the other order elsewhere; the storage
    // is not looked at.
    #[cfg(target_arch = "x86_64")]
    let last = (thread_id, none);
    #[cfg(target_arch = "aarch64")]
    let last = (none, thread_id);
    // SAFETY: without a stack of its own, the copy goes on here on its copy of this one.
    Ok(unsafe { libc::syscall(libc::SYS_clone, c_long::from(flags), none, none, last.0, last.1) })
}

/// Elsewhere the order of the arguments was not looked up.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn clone_for_parent(_: NonNull<c_int>) -> io::Result<c_long> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Where the C library keeps the id of this thread: where it has told the kernel to clear it.
fn thread_id_address() -> io::Result<NonNull<c_int>> {
    let address = get_clear_child_tid_address()?.ok_or(io::ErrorKind::Unsupported)?;
    let address = address.cast::<c_int>();
    // SAFETY: the kernel will write there when this thread ends, so it is memory of this process for
    // an integer of this type; nobody else writes there meanwhile.
    let kept = unsafe { address.read() };
    // Another C library may keep something else there.
    if kept == gettid().as_raw_nonzero().get() {
        Ok(address)
    } else {
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn robust_list() -> io::Result<(*mut c_void, usize)> {
    let (mut head, mut bytes) = (null_mut::<c_void>(), 0_usize);
    // SAFETY: both are valid for writing; 0 stands for this thread.
    let failed =
        unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut bytes) };
    if failed == 0 { Ok((head, bytes)) } else { Err(io::Error::last_os_error()) }
}

/// An error if the copy would have what this process has made for itself alone before it came here: a
/// connection, say, which both would write to.
fn check(company: Company, known: &[RawFd]) -> io::Result<()> {
    // Both would give the same names to their next buffers.
    if has_pool() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    check_threads(company)?;
    check_descriptors(known)
}

/// An error if there are threads that the copy would miss: what they do it would not do, and what they
/// have locked would stay so.
fn check_threads(company: Company) -> io::Result<()> {
    let own = gettid().to_string();
    let mut others = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?;
        if task.file_name().to_str() == Some(&own) {
            continue;
        }
        others += 1;
        if company == Company::None || others > 1 || !falls_asleep(&task.path())? {
            return Err(io::ErrorKind::Unsupported.into());
        }
    }
    Ok(())
}

/// An error if this process has opened something by itself.
fn check_descriptors(known: &[RawFd]) -> io::Result<()> {
    let is_known = |(number, _): &(RawFd, bool)| known.contains(number);
    if open_ones()?.iter().all(is_known) { Ok(()) } else { Err(io::ErrorKind::Unsupported.into()) }
}

/// Whether the harness waits already, or does so soon.
fn falls_asleep(task: &Path) -> io::Result<bool> {
    for _ in 0..100 {
        let stat = std::fs::read_to_string(task.join("stat"))?;
        // The third field of proc_pid_stat(5). The second, a name in parentheses, may hold anything.
        if stat.rsplit_once(") ").is_some_and(|(_, from_third)| from_third.starts_with('S')) {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(false)
}
