//! Frames and descriptors over a Unix socket: what waits to be sent, and what has arrived.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, send,
    sendmsg, socketpair,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::mapping::Mapping;
use crate::wire::{Frame, LENGTH_BYTES, WireError, announced_length};

/// A connected pair: the node's end, which never blocks, and the worker's, which does.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (node, worker) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::io::ioctl_fionbio(&node, true)?;
    Ok((node, worker))
}

/// A socket, to be woken when something arrives.
///
/// For reading only: the socket becomes writable anew with each message that the worker takes, and
/// to be woken by that would double the cost of a call.
pub(crate) fn for_reading(socket: OwnedFd) -> io::Result<Arc<AsyncFd<OwnedFd>>> {
    // SAFETY: an `OwnedFd` is open as long as it lives, and its number never changes; the
    // `AsyncFd` owns it until it is dropped itself.
    Ok(Arc::new(unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE)? }))
}

/// The same socket, to be woken when it takes more.
pub(crate) fn for_writing(socket: &AsyncFd<OwnedFd>) -> io::Result<AsyncFd<OwnedFd>> {
    let again = socket.get_ref().try_clone()?;
    // SAFETY: as for the socket itself.
    Ok(unsafe { AsyncFd::register_with_interest(again, Interest::WRITABLE)? })
}

/// How much room the outbox keeps when it is empty. Bytes.
const KEPT_OUTBOX_BYTES: usize = 256 * 1024;

/// Frames that wait to be sent.
#[derive(Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
    /// Buffers whose descriptor goes with the byte at this position.
    attachments: VecDeque<(usize, Arc<Mapping>)>,
}

impl Outbox {
    pub(crate) fn push(&mut self, frame: &Frame<'_>) {
        frame.encode(&mut self.bytes);
    }

    /// Adds a frame with a descriptor beside it.
    pub(crate) fn push_with_descriptor(&mut self, frame: &Frame<'_>, buffer: Arc<Mapping>) {
        self.attachments.push_back((self.bytes.len(), buffer));
        self.push(frame);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Sends what waits, as far as the socket takes it: `false` when it would block.
    pub(crate) fn flush(&mut self, socket: BorrowedFd<'_>) -> io::Result<bool> {
        while self.sent < self.bytes.len() {
            match self.send_some(socket) {
                Ok(()) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    self.forget_sent();
                    return Ok(false);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_OUTBOX_BYTES);
        self.sent = 0;
        Ok(true)
    }

    /// Lets go of what was sent, once that is the larger part: under a load that never lets the outbox
    /// become empty, it must not grow.
    fn forget_sent(&mut self) {
        if self.sent < KEPT_OUTBOX_BYTES.max(self.bytes.len() / 2) {
            return;
        }
        self.bytes.drain(..self.sent);
        self.attachments.iter_mut().for_each(|(at, _)| *at -= self.sent);
        self.sent = 0;
    }

    /// Sends bytes up to the next attachment; with the one that is due now.
    fn send_some(&mut self, socket: BorrowedFd<'_>) -> rustix::io::Result<()> {
        let due = self.attachments.front().is_some_and(|(at, _)| *at == self.sent);
        let next = self.attachments.get(usize::from(due)).map_or(self.bytes.len(), |(at, _)| *at);
        let bytes = &self.bytes[self.sent..next];
        if !due {
            self.sent += send(socket, bytes, SendFlags::NOSIGNAL)?;
            return Ok(());
        }

        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors;
        if let Some((_, buffer)) = self.attachments.front() {
            descriptors = [buffer.descriptor()];
            // The space is made for one descriptor.
            let fits = control.push(SendAncillaryMessage::ScmRights(&descriptors));
            debug_assert!(fits);
        }
        self.sent += sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
        self.attachments.pop_front();
        Ok(())
    }
}

/// Sends a frame with a descriptor beside it, at once.
pub(crate) fn send_descriptor(
    socket: BorrowedFd<'_>,
    frame: &Frame<'_>,
    descriptor: BorrowedFd<'_>,
) -> io::Result<()> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    let descriptors = [descriptor];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    // The space is made for one descriptor.
    let fits = control.push(SendAncillaryMessage::ScmRights(&descriptors));
    debug_assert!(fits);
    let send = || sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL);
    // It is short, and nothing else is under way.
    if retry_on_intr(send)? == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// How much room the inbox starts with. Bytes.
const INBOX_BYTES: usize = 128 * 1024;

/// How many descriptors may arrive at once; each message carries one.
const MAX_DESCRIPTORS_AT_ONCE: usize = 4;

/// What has arrived and was not yet read.
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    descriptors: VecDeque<OwnedFd>,
}

/// What a look at the socket gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrived {
    /// Bytes; `more` if there may be others.
    Bytes { more: bool },
    /// Nothing for now.
    Nothing,
    /// The peer has closed its end.
    End,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; INBOX_BYTES], start: 0, end: 0, descriptors: VecDeque::new() }
    }

    /// Takes in what the socket has.
    pub(crate) fn fill(&mut self, socket: BorrowedFd<'_>) -> io::Result<Arrived> {
        self.make_room()?;
        let room = &mut self.bytes[self.end..];
        let room_bytes = room.len();
        let mut space =
            [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS_AT_ONCE))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut slices = [IoSliceMut::new(room)];
            match recvmsg(socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Ok(received) => break received,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Ok(Arrived::Nothing),
                // The peer died with bytes from here unread.
                Err(rustix::io::Errno::CONNRESET) => return Ok(Arrived::End),
                Err(error) => return Err(error.into()),
            }
        };
        if received.flags.contains(ReturnFlags::CTRUNC) {
            return Err(io::Error::other("descriptors were lost: too many are open"));
        }
        let before = self.descriptors.len();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        if received.bytes == 0 {
            return Ok(Arrived::End);
        }
        self.end += received.bytes;
        // A message with a descriptor ends a receive early, though more may wait behind it.
        let more = received.bytes == room_bytes || self.descriptors.len() > before;
        Ok(Arrived::Bytes { more })
    }

    /// The next frame that has arrived whole, with its descriptor if one belongs to it.
    pub(crate) fn next(&mut self) -> Result<Option<(Frame<'_>, Option<OwnedFd>)>, WireError> {
        let waiting = &self.bytes[self.start..self.end];
        let Some((frame, len)) = Frame::decode(waiting)? else { return Ok(None) };
        self.start += len;
        let descriptor = match frame {
            Frame::Buffer { .. } | Frame::Slot { .. } | Frame::Inherit { .. } | Frame::Fork => {
                match self.descriptors.pop_front() {
                    Some(descriptor) => Some(descriptor),
                    None => return Err(WireError(format!("{frame:?} without its descriptor"))),
                }
            }
            _ => None,
        };
        Ok(Some((frame, descriptor)))
    }

    pub(crate) fn has_whole_frame(&self) -> Result<bool, WireError> {
        let waiting = &self.bytes[self.start..self.end];
        let length = announced_length(waiting)?;
        Ok(length.is_some_and(|length| waiting.len() >= LENGTH_BYTES + length))
    }

    /// Moves what waits to the front and makes room for the frame that is arriving.
    fn make_room(&mut self) -> io::Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            return Ok(());
        }
        self.bytes.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let length = announced_length(&self.bytes[..self.end]).map_err(io::Error::other)?;
        let needed = LENGTH_BYTES + length.unwrap_or(0);
        if needed >= self.bytes.len() {
            self.bytes.resize(needed + INBOX_BYTES, 0);
        }
        Ok(())
    }
}

/// Receives until a whole frame is there, then gives it to `take`; `None` at the end of the
/// stream. For blocking sockets.
pub(crate) fn receive<T>(
    socket: impl AsFd,
    inbox: &mut Inbox,
    take: impl FnOnce(Frame<'_>, Option<OwnedFd>) -> T,
) -> io::Result<Option<T>> {
    while !inbox.has_whole_frame().map_err(io::Error::other)? {
        sleep_until_readable(socket.as_fd());
        if inbox.fill(socket.as_fd())? == Arrived::End {
            return Ok(None);
        }
    }
    let next = inbox.next().map_err(io::Error::other)?;
    Ok(next.map(|(frame, descriptor)| take(frame, descriptor)))
}

/// Sleeps until something has arrived.
///
/// Whoever sleeps in `recvmsg` itself is woken for nothing whenever the peer takes what was sent
/// before, since the socket then has room to write; `poll` knows what it waits for.
fn sleep_until_readable(socket: BorrowedFd<'_>) {
    // If it fails, the receive that follows sleeps.
    let _ = poll(&mut [PollFd::from_borrowed_fd(socket, PollFlags::IN)], None);
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::wire::BufferId;

    const ROUNDS: u64 = 50;

    /// The value of a field in the `status` of a thread of this process.
    fn status(thread: &str, field: &str) -> String {
        let status = std::fs::read_to_string(format!("/proc/self/task/{thread}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim_start_matches(':').trim().to_owned()
    }

    fn this_thread() -> String {
        rustix::thread::gettid().as_raw_nonzero().to_string()
    }

    fn times_asleep() -> u64 {
        status(&this_thread(), "voluntary_ctxt_switches").parse().unwrap()
    }

    fn wait_until_asleep(thread: &str) {
        let start = Instant::now();
        while !status(thread, "State").starts_with('S') {
            assert!(start.elapsed() < Duration::from_secs(60), "it does not fall asleep");
            thread::yield_now();
        }
    }

    #[test]
    fn an_outbox_that_never_becomes_empty_does_not_grow() {
        const FRAMES: usize = 10_000;
        let (near, far) = pair().unwrap();
        let (mut outbox, mut inbox) = (Outbox::default(), Inbox::new());
        let reason = "x".repeat(16 * 1024);
        let mut pushed = 0;
        let mut push = |outbox: &mut Outbox| {
            let len = pushed as u64;
            match pushed % 100 {
                0 => {
                    let id = BufferId { pool: 1, index: len };
                    let buffer = Arc::new(Mapping::create(id, 4096).unwrap());
                    outbox.push_with_descriptor(&Frame::Buffer { id, len }, buffer);
                }
                _ => outbox.push(&Frame::Fatal { reason: &reason }),
            }
            pushed += 1;
        };
        // More than the socket and the inbox hold together.
        (0..200).for_each(|_| push(&mut outbox));
        assert!(!outbox.flush(near.as_fd()).unwrap());
        for taken in 0..FRAMES {
            while !inbox.has_whole_frame().unwrap() {
                inbox.fill(far.as_fd()).unwrap();
            }
            let (frame, descriptor) = inbox.next().unwrap().unwrap();
            // Each descriptor comes with its frame.
            let is_buffer = matches!(frame, Frame::Buffer { len, .. } if len == taken as u64);
            assert_eq!((is_buffer, descriptor.is_some()), (taken % 100 == 0, taken % 100 == 0));
            push(&mut outbox);
            assert!(!outbox.flush(near.as_fd()).unwrap());
            assert!(outbox.bytes.len() < 8 << 20, "{} bytes after {taken}", outbox.bytes.len());
        }
    }

    #[test]
    fn who_waits_for_a_call_is_not_woken_when_its_last_reply_is_taken() {
        let (node, worker) = pair().unwrap();
        let (tell, told) = mpsc::channel();
        let works = thread::spawn(move || {
            tell.send(this_thread()).unwrap();
            let (mut inbox, mut outbox) = (Inbox::new(), Outbox::default());
            let before = times_asleep();
            for _ in 0..ROUNDS {
                outbox.push(&Frame::Waits);
                assert!(outbox.flush(worker.as_fd()).unwrap());
                let received = receive(&worker, &mut inbox, |frame, _| frame == Frame::Waits);
                assert_eq!(received.unwrap(), Some(true));
            }
            times_asleep() - before
        });
        let (thread, mut inbox, mut outbox) =
            (told.recv().unwrap(), Inbox::new(), Outbox::default());
        for _ in 0..ROUNDS {
            wait_until_asleep(&thread);
            while inbox.fill(node.as_fd()).unwrap() == Arrived::Nothing {}
            assert!(inbox.next().unwrap().is_some());
            // Had that woken it, it would sleep a second time now.
            wait_until_asleep(&thread);
            outbox.push(&Frame::Waits);
            assert!(outbox.flush(node.as_fd()).unwrap());
        }
        let asleep = works.join().unwrap();
        assert!(asleep < ROUNDS * 3 / 2, "it slept {asleep} times for {ROUNDS} messages");
    }
}
