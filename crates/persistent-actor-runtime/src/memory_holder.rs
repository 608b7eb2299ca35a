//! A process that keeps the memory of a worker when that dies.
//!
//! The kernel takes down the memory of a process that was killed before it closes its sockets, so
//! a death is noticed the later the more memory is mapped: 30 MiB of shared buffers take 2 ms,
//! most of the time of a restart. Memory that another process shares is not taken down, and then the
//! death of a worker is noticed, and the worker can be waited for, within 0.1 ms whatever it had
//! mapped. The memory is let go afterwards, when nobody waits any more: the node ends the holder.
//!
//! The holder does nothing. It has no descriptors but one of the node's process, runs nothing of
//! the actor, writes nothing and reads nothing; so when the worker is gone, nobody is left who
//! would write to its buffers or files. It is a child of the node, not of the worker: the node waits for it, and no zombie is left
//! to anybody else; and it dies with the node as a worker does.
//!
//! It is started only where all that this takes is there: where something is missing, a death is
//! noticed later, and that is all.

use std::ffi::{c_int, c_void};
use std::io;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use rustix::net::SendFlags;
use rustix::process::{
    Pid, PidfdFlags, Signal, getpgrp, getpid, getppid, pidfd_open, set_parent_process_death_signal,
};

use crate::wire::memory_frame;

/// From so much shared memory on it is worth a process. Bytes.
pub(crate) const MIN_BYTES: usize = 4 << 20;

/// The holder's stack. Bytes; one or two pages of it are used.
const STACK_BYTES: usize = 64 * 1024;

/// Whether `rustix` makes its system calls itself, and so touches no `errno`, which the holder shares
/// with the worker. Its other way is to go through `libc`, and then it has errors of that one's type.
const SYSTEM_CALLS_ARE_RAW: bool = size_of::<rustix::io::Errno>() < size_of::<c_int>();

/// What the holder is told. Never freed: the holder may read it at any time.
struct Orders {
    node: Pid,
    socket: RawFd,
    has_announced: AtomicBool,
}

/// Starts the holder of this worker's memory. It announces itself on the socket, where nothing of
/// another frame may be under way; when this returns, it has done so, or it is dead.
pub(crate) fn start(socket: BorrowedFd<'_>) -> io::Result<()> {
    check_means()?;
    let node = getppid().ok_or(io::ErrorKind::NotFound)?;
    let has_announced = AtomicBool::new(false);
    let orders: &Orders =
        Box::leak(Box::new(Orders { node, socket: socket.as_raw_fd(), has_announced }));
    let holder = without_signals(|| clone_into_hold(orders))?;
    while !orders.has_announced.load(Ordering::Acquire) {
        let mut descriptors = [PollFd::new(&holder, PollFlags::IN)];
        let moment = Timespec { tv_sec: 0, tv_nsec: 50_000 };
        if poll(&mut descriptors, Some(&moment)).is_ok_and(|ended| ended > 0) {
            break;
        }
    }
    Ok(())
}

/// An error if the system lacks what the holder, or the node to get rid of it, needs: asked before
/// there is one.
fn check_means() -> io::Result<()> {
    // A kernel that does not know `CLONE_PIDFD` ignores it; this call is the younger one.
    drop(pidfd_open(getpid(), PidfdFlags::empty())?);
    // SAFETY: closes nothing: no descriptor has this number.
    if unsafe { libc::syscall(libc::SYS_close_range, u32::MAX, u32::MAX, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // How the node finds a holder of which it has not heard: in the worker's process group, among
    // the children of a thread.
    let is_told_of = getpgrp() == getpid() && Path::new("/proc/thread-self/children").exists();
    if is_told_of && SYSTEM_CALLS_ARE_RAW { Ok(()) } else { Err(io::ErrorKind::Unsupported.into()) }
}

/// Makes the process; gives a descriptor of it.
fn clone_into_hold(orders: &'static Orders) -> io::Result<OwnedFd> {
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new private mapping at an address of the kernel's choice; never unmapped.
    let stack = unsafe { mmap_anonymous(null_mut(), STACK_BYTES, protection, MapFlags::PRIVATE)? };
    let flags = libc::CLONE_VM | libc::CLONE_PARENT | libc::CLONE_PIDFD | libc::SIGCHLD;
    let mut descriptor: c_int = -1;
    // SAFETY: The new process runs `hold` on a stack of its own, which is never unmapped and which
    // nobody else uses; its upper end is aligned. `orders` lives for ever. The two processes share
    // memory like threads; `hold` keeps to what can be done so, without thread-local storage of its
    // own: see there. `descriptor` is written before this returns.
    let pid = unsafe {
        let top = stack.cast::<u8>().add(STACK_BYTES).cast();
        let argument = std::ptr::from_ref(orders).cast_mut().cast();
        libc::clone(hold, top, flags, argument, &raw mut descriptor)
    };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    // See `check_means`: it does know of descriptors of processes.
    if descriptor < 0 {
        return Err(io::ErrorKind::Unsupported.into());
    }
    // SAFETY: the kernel has made it for us just now; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// The holder: announces itself, closes all descriptors and waits to be killed, or for the node to
/// end: the kernel kills no child for a parent that may not do so itself, having given up its
/// privileges since.
///
/// It shares its memory, and so its thread-local storage, with the thread that has started it. So
/// it does nothing but system calls through `rustix`, which neither allocate nor, as
/// [`SYSTEM_CALLS_ARE_RAW`] says, touch `errno`; of those that it makes through `libc`, one sets
/// `errno` if it fails, while the thread waits, which does not look at it.
extern "C" fn hold(orders: *mut c_void) -> c_int {
    // SAFETY: `start` passes this, and it lives for ever.
    let orders: &'static Orders = unsafe { &*orders.cast_const().cast() };
    // The node may have died before: who is the parent now is no node.
    let tied = set_parent_process_death_signal(Some(Signal::KILL)).is_ok();
    if tied && getppid() == Some(orders.node) {
        let _ = rustix::thread::set_name(c"actor-memory");
        // SAFETY: the descriptors were copied with the process, so this one is open.
        let socket = unsafe { BorrowedFd::borrow_raw(orders.socket) };
        let frame = memory_frame(getpid().as_raw_nonzero().get().cast_unsigned());
        let sent = rustix::net::send(socket, &frame, SendFlags::NOSIGNAL);
        // SAFETY: it closes this process's copies, which nothing here uses any more.
        let closed = unsafe { libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0) };
        // With a copy of the socket left, the death of the worker would not be noticed.
        if sent == Ok(frame.len()) && closed == 0 {
            orders.has_announced.store(true, Ordering::Release);
            // Asked before who is the parent: the id may be another's by now.
            let node = pidfd_open(orders.node, PidfdFlags::empty());
            // Never closed but by the end of this process: to close it takes `libc`.
            let node = ManuallyDrop::new(node);
            if getppid() == Some(orders.node) {
                wait_for_end(node.as_ref().ok());
            }
        }
    }
    // SAFETY: ends this process only, at once, and runs nothing of the worker's clean-up.
    unsafe { libc::_exit(0) }
}

/// Waits until that process has ended; for ever, if there is no descriptor of it. All signals are
/// blocked but the one that cannot be.
fn wait_for_end(process: Option<&OwnedFd>) {
    let Some(process) = process else {
        loop {
            let _ = poll(&mut [], None);
        }
    };
    while !matches!(poll(&mut [PollFd::new(process, PollFlags::IN)], None), Ok(1..)) {}
}

/// Runs `start` with all signals blocked, so that what it starts runs no handler of the actor's.
fn without_signals<T>(start: impl FnOnce() -> T) -> T {
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both sets are valid for writing; `sigfillset` makes the one whole, the call the other.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
    }
    let result = start();
    // SAFETY: `before` was filled in above: with valid arguments the call does not fail.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), null_mut()) };
    result
}
