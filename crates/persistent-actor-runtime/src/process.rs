//! [`WorkerProcess`]: one child process, owned: whoever drops it kills it and waits for it.
//!
//! The only place that sends signals.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, getpgid, getpid, kill_process, pidfd_open,
    pidfd_send_signal, waitid,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::event::Exit;

/// One child process. Dropping it kills it and waits for it.
#[derive(Debug)]
pub(crate) struct WorkerProcess {
    pid: u32,
    child: Mutex<Child>,
}

impl WorkerProcess {
    pub(crate) fn new(child: Child) -> Self {
        Self { pid: child.id(), child: Mutex::new(child) }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends SIGKILL; nothing happens if the process is gone already.
    pub(crate) fn kill(&self) {
        // Sending fails only for a process that is gone: it is our child.
        let _ = self.child().kill();
    }

    /// Stops the process (SIGSTOP) and waits until it stands still; `false` if it is gone.
    pub(crate) async fn suspend(&self) -> io::Result<bool> {
        if !self.signal(Signal::STOP)? {
            return Ok(false);
        }
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // Nothing tells of a stop but a signal to this whole program; it takes microseconds.
        while self.child().try_wait()?.is_none() {
            if waitid(WaitId::Pid(self.id()?), options)?.is_some() {
                return Ok(true);
            }
            tokio::task::yield_now().await;
        }
        Ok(false)
    }

    /// Whether it runs: is neither gone nor stopped.
    pub(crate) fn is_awake(&self) -> bool {
        // Nobody reaps the process while its lock is held, so its id is still its own.
        let mut child = self.child();
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let is_stopped = |id| waitid(WaitId::Pid(id), options).is_ok_and(|status| status.is_some());
        matches!(child.try_wait(), Ok(None)) && self.id().is_ok_and(|id| !is_stopped(id))
    }

    /// Lets a stopped process go on (SIGCONT); nothing happens if it is gone.
    pub(crate) fn resume(&self) -> io::Result<()> {
        self.signal(Signal::CONT).map(|_| ())
    }

    /// Sends a signal unless the process is gone.
    fn signal(&self, signal: Signal) -> io::Result<bool> {
        // Nobody reaps the process while its lock is held, so its id is still its own.
        let mut child = self.child();
        if child.try_wait()?.is_some() {
            return Ok(false);
        }
        kill_process(self.id()?, signal)?;
        Ok(true)
    }

    fn id(&self) -> io::Result<Pid> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        pid.ok_or_else(|| io::ErrorKind::InvalidInput.into())
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
        let mut child = self.child();
        let _ = child.kill();
        child.wait().map_or(Exit { code: None, signal: None }, exit)
    }

    /// Waits until the process is gone by itself.
    pub(crate) async fn wait_for_exit(&self) -> io::Result<Exit> {
        if let Some(status) = self.child().try_wait()? {
            return Ok(exit(status));
        }
        // The process is not reaped, so its id is still its own.
        let descriptor = pidfd_open(self.id()?, PidfdFlags::empty())?;
        // SAFETY: an `OwnedFd` is open as long as it lives, and its number never changes; the
        // `AsyncFd` owns it until it is dropped itself.
        let ended = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE)? };
        let _ = ended.readable().await?;
        Ok(exit(self.child().wait()?))
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        self.end_now();
    }
}

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
        let id = |pid: u32| i32::try_from(pid).ok().and_then(Pid::from_raw);
        let (pid, worker) = (id(pid)?, id(worker)?);
        let descriptor = pidfd_open(pid, PidfdFlags::empty());
        // A worker leads a process group, in which is what it starts. Asked last, so that the
        // descriptor is not that of another process which has got the id since.
        if getpgid(Some(pid)) != Ok(worker) {
            return None;
        }
        if let Ok(descriptor) = descriptor {
            return Some(Self { descriptor });
        }
        // It is a child of this process and not reaped, so its id is still its own.
        let _ = kill_process(pid, Signal::KILL);
        let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
        None
    }

    /// Sends SIGKILL; nothing happens if the process is gone already.
    pub(crate) fn kill(&self) {
        let _ = pidfd_send_signal(&self.descriptor, Signal::KILL);
    }

    /// Kills it and waits until it, and the memory, is gone.
    pub(crate) async fn end(self) {
        self.kill();
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
        self.kill();
        let _ = waitid(WaitId::PidFd(self.descriptor.as_fd()), WaitIdOptions::EXITED);
    }
}

fn exit(status: ExitStatus) -> Exit {
    Exit { code: status.code(), signal: status.signal() }
}

/// Ends this process by SIGKILL: no clean-up, as when it is killed from outside.
pub(crate) fn kill_this_process() -> ! {
    loop {
        // Cannot fail; and the signal has arrived when the call returns.
        let _ = kill_process(getpid(), Signal::KILL);
    }
}
