//! [`WorkerProcess`]: one child process, owned: whoever drops it kills it and waits for it.
//!
//! The only place that sends signals.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, getpgid, getpid, kill_process,
    kill_process_group, pidfd_open, pidfd_send_signal, setpgid, waitid,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::event::Exit;
use crate::spawner;

/// One child process. Dropping it kills it and waits for it.
#[derive(Debug)]
pub(crate) struct WorkerProcess {
    pid: Pid,
    /// How it ended; known from the moment on in which it is reaped, and its id may be another's.
    ended: Mutex<Option<Exit>>,
}

impl WorkerProcess {
    /// A child of this program, which nobody else waits for.
    pub(crate) fn new(pid: Pid) -> Self {
        Self { pid, ended: Mutex::default() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// Sends SIGKILL; nothing happens if the process is gone already.
    pub(crate) fn kill(&self) {
        // Nobody reaps the process while its lock is held, so its id is still its own.
        let ended = self.ended();
        if ended.is_none() && self.is_ours() {
            // Sending fails only for a process that is gone: it is our child.
            let _ = kill_process(self.pid, Signal::KILL);
        }
    }

    /// Whether the number is still that of our child, if need be of what is left of it. Somebody
    /// else may have waited for it: a program may let the system do so (SIGCHLD ignored), or wait for
    /// all its children.
    fn is_ours(&self) -> bool {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(self.pid), look).is_ok()
    }

    /// Stops the process (SIGSTOP) and waits until it stands still; `false` if it is gone.
    pub(crate) async fn suspend(&self) -> io::Result<bool> {
        if !self.signal(Signal::STOP)? {
            return Ok(false);
        }
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // Nothing tells of a stop but a signal to this whole program; it takes microseconds.
        while self.try_reap(&mut self.ended())?.is_none() {
            if waitid(WaitId::Pid(self.pid), options)?.is_some() {
                return Ok(true);
            }
            tokio::task::yield_now().await;
        }
        Ok(false)
    }

    /// Whether it runs: is neither gone nor stopped.
    pub(crate) fn is_awake(&self) -> bool {
        // Nobody reaps the process while its lock is held, so its id is still its own.
        let ended = self.ended();
        let either = WaitIdOptions::EXITED | WaitIdOptions::STOPPED;
        let look = WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        ended.is_none() && matches!(waitid(WaitId::Pid(self.pid), either | look), Ok(None))
    }

    /// Lets a stopped process go on (SIGCONT); nothing happens if it is gone.
    pub(crate) fn resume(&self) -> io::Result<()> {
        self.signal(Signal::CONT).map(|_| ())
    }

    /// Sends a signal unless the process is gone.
    fn signal(&self, signal: Signal) -> io::Result<bool> {
        // The same here.
        let mut ended = self.ended();
        if self.try_reap(&mut ended)?.is_some() {
            return Ok(false);
        }
        kill_process(self.pid, signal)?;
        Ok(true)
    }

    /// A child that this process, a [fork server](crate::fork_server), has made: from now on it
    /// leads a process group of its own. Until now it was in the server's, where the server's
    /// [end](Self::end_group) would have found it.
    ///
    /// # Errors
    /// It is no child of this program that is in that group.
    pub(crate) fn adopt(&self, pid: u32) -> io::Result<Self> {
        let pid = process_id(pid).ok_or(io::ErrorKind::InvalidData)?;
        if getpgid(Some(pid))? != self.pid {
            return Err(io::ErrorKind::InvalidData.into());
        }
        setpgid(Some(pid), Some(pid))?;
        Ok(Self::new(pid))
    }

    /// Kills all processes of the group that this one leads, and waits until they are gone. All of
    /// them are children of this program.
    pub(crate) fn end_group(&self) {
        let mut ended = self.ended();
        if ended.is_some() || !self.is_ours() {
            return;
        }
        let killed = kill_process_group(self.pid, Signal::KILL);
        if !is_ending(killed) {
            self.await_end_for(MOMENT);
        }
        // As long as this process is not reaped, the group is its own; and while others are left in
        // it, nobody else gets its number. The kernel gives out all other numbers before this one
        // comes again.
        reap_all(WaitId::Pgid(Some(self.pid)), killed);
        *ended = Some(UNKNOWN_EXIT);
    }

    /// Waits until it has ended by itself, but not longer than this.
    fn await_end_for(&self, patience: Timespec) {
        if let Ok(descriptor) = pidfd_open(self.pid, PidfdFlags::empty()) {
            let _ = poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&patience));
        }
    }

    /// Kills the process if it still runs and waits until it is gone.
    pub(crate) async fn end(&self) -> Exit {
        self.kill();
        match self.wait_for_exit().await {
            Ok(exit) => exit,
            // No descriptor for the process to be had: wait for it here.
            Err(_) => self.end_now(),
        }
    }

    /// Like [`WorkerProcess::end`], blocking the thread for the moment that it takes.
    pub(crate) fn end_now(&self) -> Exit {
        self.kill();
        self.reap(&mut self.ended()).unwrap_or(UNKNOWN_EXIT)
    }

    /// Waits until the process is gone by itself.
    pub(crate) async fn wait_for_exit(&self) -> io::Result<Exit> {
        if let Some(exit) = self.try_reap(&mut self.ended())? {
            return Ok(exit);
        }
        // The process is not reaped, so its id is still its own.
        let descriptor = pidfd_open(self.pid, PidfdFlags::empty())?;
        // SAFETY: an `OwnedFd` is open as long as it lives, and its number never changes; the
        // `AsyncFd` owns it until it is dropped itself.
        let ended = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE)? };
        let _ = ended.readable().await?;
        self.reap(&mut self.ended())
    }

    /// Takes away what is left of the process, if it has ended.
    fn try_reap(&self, ended: &mut Option<Exit>) -> io::Result<Option<Exit>> {
        if ended.is_none() {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            *ended = waitid(WaitId::Pid(self.pid), options)?.as_ref().map(exit);
        }
        Ok(*ended)
    }

    /// Waits for its end, and takes away what is left of it.
    fn reap(&self, ended: &mut Option<Exit>) -> io::Result<Exit> {
        if let Some(exit) = *ended {
            return Ok(exit);
        }
        let status = retry_on_intr(|| waitid(WaitId::Pid(self.pid), WaitIdOptions::EXITED));
        let exit = status?.as_ref().map_or(UNKNOWN_EXIT, exit);
        Ok(*ended.insert(exit))
    }

    fn ended(&self) -> MutexGuard<'_, Option<Exit>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        self.end_now();
    }
}

/// How long a process is waited for that cannot be killed, but that nobody holds any more.
const MOMENT: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// How often the children of this program are looked through for the holder of a worker's memory.
const MAX_SEARCHES: u32 = 8;

/// The process that [holds](crate::memory_holder) the memory of a worker. Dropping it kills it and
/// waits for it.
#[derive(Debug)]
pub(crate) struct MemoryHolder {
    descriptor: OwnedFd,
}

impl MemoryHolder {
    /// The process of this id, which that worker has started; `None` if there is no such process,
    /// or no descriptor to be had for it. Then it is ended.
    pub(crate) fn new(pid: u32, worker: u32) -> Option<Self> {
        let (pid, worker) = (process_id(pid)?, process_id(worker)?);
        let descriptor = pidfd_open(pid, PidfdFlags::empty());
        // A worker leads a process group, in which is what it starts. Asked last, so that the
        // descriptor is not that of another process which has got the id since.
        if pid == worker || getpgid(Some(pid)) != Ok(worker) {
            return None;
        }
        if let Ok(descriptor) = descriptor {
            return Some(Self { descriptor });
        }
        // It is a child of this process and not reaped, so its id is still its own.
        reap(WaitId::Pid(pid), kill_process(pid, Signal::KILL));
        None
    }

    /// The one that this worker, which is gone and waited for, has left without that this program
    /// has heard of it: what it said of itself lies in a socket which nobody reads any more.
    ///
    /// Needs no word of it. Whether a child is left in the worker's process group the kernel tells
    /// for certain, and as long as one is, the number of the group is given to nobody else. The
    /// holder is then found among the children of the thread that has started the worker. What
    /// else may be in the group, processes that the actor has started and that came to this program
    /// when it died, came to another thread (the kernel passes orphans to the first one) and lives
    /// on.
    ///
    /// If the number is another worker's already, because there was no holder, that worker is not
    /// touched; at worst it loses its own holder, without which its death is noticed later.
    pub(crate) fn left_by(worker: u32) -> Option<Self> {
        let group = process_id(worker)?;
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // The kernel may skip one of the children while others end.
        for _ in 0..MAX_SEARCHES {
            if matches!(waitid(WaitId::Pgid(Some(group)), options), Err(Errno::CHILD)) {
                return None;
            }
            let thread = spawner::thread().ok()?.as_raw_nonzero();
            let children = std::fs::read_to_string(format!("/proc/self/task/{thread}/children"));
            let holder = children.ok()?.split_ascii_whitespace().find_map(|pid| {
                let pid = pid.parse().ok()?;
                // Asked first because there may be thousands.
                let is_in_group = getpgid(Some(process_id(pid)?)) == Ok(group);
                is_in_group.then(|| Self::new(pid, worker))?
            });
            if holder.is_some() {
                return holder;
            }
        }
        None
    }

    /// Sends SIGKILL; nothing happens if the process is gone already.
    pub(crate) fn kill(&self) {
        let _ = self.send_kill();
    }

    fn send_kill(&self) -> rustix::io::Result<()> {
        pidfd_send_signal(&self.descriptor, Signal::KILL)
    }

    /// Kills it and waits until it, and the memory, is gone.
    pub(crate) async fn end(self) {
        if !is_ending(self.send_kill()) {
            return;
        }
        // SAFETY: `self` has the descriptor, which stays open until this function ends, after
        // `ended` is gone.
        let ended =
            unsafe { AsyncFd::register_with_interest(self.descriptor.as_fd(), Interest::READABLE) };
        if let Ok(ended) = ended {
            let _ = ended.readable().await;
        }
    }
}

impl Drop for MemoryHolder {
    fn drop(&mut self) {
        reap(WaitId::PidFd(self.descriptor.as_fd()), self.send_kill());
    }
}

/// Whether a process that SIGKILL was sent to, with this result, is about to be gone. It is not if
/// this program may not send it any more, having given up its privileges since.
fn is_ending(sent: rustix::io::Result<()>) -> bool {
    matches!(sent, Ok(()) | Err(Errno::SRCH))
}

/// Takes away what is left of a child that SIGKILL was sent to, with this result. Does not wait
/// for one that lives on.
fn reap(child: WaitId<'_>, sent: rustix::io::Result<()>) {
    let patience = if is_ending(sent) { WaitIdOptions::empty() } else { WaitIdOptions::NOHANG };
    let _ = retry_on_intr(|| waitid(child.clone(), WaitIdOptions::EXITED | patience));
}

/// The same with all children that this stands for.
fn reap_all(children: WaitId<'_>, sent: rustix::io::Result<()>) {
    let patience = if is_ending(sent) { WaitIdOptions::empty() } else { WaitIdOptions::NOHANG };
    let one = || retry_on_intr(|| waitid(children.clone(), WaitIdOptions::EXITED | patience));
    while let Ok(Some(_)) = one() {}
}

fn process_id(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// Of a process that this program could not wait for.
const UNKNOWN_EXIT: Exit = Exit { code: None, signal: None };

fn exit(status: &WaitIdStatus) -> Exit {
    Exit { code: status.exit_status(), signal: status.terminating_signal() }
}

/// Ends this process by SIGKILL: no clean-up, as when it is killed from outside.
pub(crate) fn kill_this_process() -> ! {
    loop {
        // Cannot fail; and the signal has arrived when the call returns.
        let _ = kill_process(getpid(), Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::process::Command;

    use super::*;

    #[test]
    #[allow(clippy::zombie_processes, reason = "waiting for it is what is tested")]
    fn a_child_that_may_not_be_killed_is_not_waited_for_and_any_other_is() {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = process_id(child.id()).unwrap();
        // Returns, and the child lives on.
        reap(WaitId::Pid(pid), Err(Errno::PERM));
        let seen = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        assert!(waitid(WaitId::Pid(pid), seen).unwrap().is_none());
        reap(WaitId::Pid(pid), kill_process(pid, Signal::KILL));
        assert_eq!(waitid(WaitId::Pid(pid), seen).unwrap_err(), Errno::CHILD);
        // Nobody is left.
        reap(WaitId::Pid(pid), Err(Errno::SRCH));
    }
}
