//! [`Link`]: the node's end of the connection to one incarnation of an actor.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use persistent_actor::store::Member;
use rustix::net::Shutdown;
use tokio::io::unix::AsyncFd;

use crate::lending::{Lending, Payload};
use crate::mapping::Mapping;
use crate::process::MemoryHolder;
use crate::socket::Outbox;
use crate::wire::{Frame, Value};

/// The node's end of the connection to one incarnation of an actor.
///
/// Callers send straight from here, without a detour through a task; only what the socket does
/// not take at once is left to the supervisor.
pub(crate) struct Link {
    socket: Arc<AsyncFd<OwnedFd>>,
    outbox: Outbox,
    pub(crate) lending: Lending,
    /// The worker has loaded its state and takes calls.
    pub(crate) ready: bool,
    /// The epoch under which it opened its state; 0 while that is not known, or if there is none.
    pub(crate) epoch: u64,
    /// The worker was told that no more calls will come.
    pub(crate) closed: bool,
    /// Why nothing can be sent any more.
    pub(crate) broken: Option<String>,
    pub(crate) seat: Seat,
    /// Who keeps the worker's memory when it dies.
    pub(crate) memory: Option<MemoryHolder>,
}

/// An incarnation's place in the group of those that commit at the same time.
#[derive(Default)]
pub(crate) struct Seat {
    /// As whom; `None` if it never was in it.
    pub(crate) member: Option<Member>,
    /// Whether it leaves its syncs to the group journal now.
    pub(crate) is_taken: bool,
    /// How many calls in a row it was nearly alone.
    pub(crate) alone: u32,
    /// The commit of the next reply has left its sync to the group journal.
    pub(crate) has_written: bool,
    /// The group journal has failed: what this incarnation still answers counts for nothing.
    pub(crate) is_void: bool,
}

/// What became of frames that were to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// They are sent.
    All,
    /// Some wait until the socket takes them.
    Blocked,
    /// The connection is broken.
    Broken,
}

impl Link {
    pub(crate) fn new(socket: Arc<AsyncFd<OwnedFd>>) -> Self {
        let (outbox, lending) = (Outbox::default(), Lending::default());
        let seat = Seat::default();
        let (ready, epoch, closed, broken) = (false, 0, false, None);
        Self { socket, outbox, lending, ready, epoch, closed, broken, seat, memory: None }
    }

    /// Passes the buffers of an incarnation that is gone to this one.
    pub(crate) fn push_legacy(&mut self, buffers: Vec<Arc<Mapping>>) {
        for buffer in buffers {
            let frame = Frame::Inherit { len: buffer.len() as u64 };
            self.outbox.push_with_descriptor(&frame, buffer);
        }
    }

    /// Tells the worker what to run.
    pub(crate) fn push_start(&mut self, options: &Payload, initial: &Payload) {
        let options = self.lending.lend(options, &mut self.outbox);
        let initial = self.lending.lend(initial, &mut self.outbox);
        self.outbox.push(&Frame::Start { options, initial });
    }

    /// Adds the frame that `make` builds around `args`.
    pub(crate) fn push_call<'a>(
        &mut self,
        args: &'a Payload,
        make: impl FnOnce(Value<'a>) -> Frame<'a>,
    ) {
        if self.broken.is_none() {
            let args = self.lending.lend(args, &mut self.outbox);
            self.outbox.push(&make(args));
        }
    }

    /// Adds a frame that refers to no buffer.
    pub(crate) fn push(&mut self, frame: &Frame<'_>) {
        if self.broken.is_none() {
            self.outbox.push(frame);
        }
    }

    /// Sends what waits, as far as the socket takes it.
    pub(crate) fn flush(&mut self) -> Flushed {
        if self.broken.is_some() {
            return Flushed::Broken;
        }
        match self.outbox.flush(self.socket.get_ref().as_fd()) {
            Ok(true) => Flushed::All,
            Ok(false) => Flushed::Blocked,
            Err(error) => {
                self.broken = Some(format!("cannot send to its process: {error}"));
                Flushed::Broken
            }
        }
    }

    /// Whether frames wait until the socket takes them.
    pub(crate) fn is_blocked(&self) -> bool {
        self.broken.is_none() && !self.outbox.is_empty()
    }

    /// Who keeps the memory of this worker, which is gone and waited for: also if nothing was heard
    /// of that yet, and nothing will be, because nobody reads from here any more.
    pub(crate) fn take_memory(&mut self, worker: u32) -> Option<MemoryHolder> {
        self.memory.take().or_else(|| MemoryHolder::left_by(worker))
    }

    /// Tells the worker that no more calls will come: it exits.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        self.closed = true;
        Ok(rustix::net::shutdown(self.socket.get_ref(), Shutdown::Write)?)
    }
}
