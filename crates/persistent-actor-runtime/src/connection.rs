//! [`Connection`]: the worker's end of the socket between it and its node.

use std::error::Error as StdError;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use persistent_actor::store::{Member, Written};
use persistent_actor::{Attempt, Call, CallId, Encoded, SessionId, codec};

use crate::assignment::Assignment;
use crate::buffers::pool;
use crate::handle::KillPoint;
use crate::lending::{Lending, Payload};
use crate::socket::{Inbox, Outbox, receive};
use crate::wire::{Frame, Stamps, Status, WireError};

/// The exit code of a worker that could not go on.
pub(crate) const EXIT_FAILED: i32 = 1;

/// The exit code of a worker that learned that a newer incarnation has taken its state over.
pub(crate) const EXIT_FENCED: i32 = 3;

/// The worker's end of the connection.
pub(crate) struct Connection {
    pub(crate) socket: OwnedFd,
    inbox: Inbox,
    outbox: Outbox,
    lending: Lending,
}

/// What a node wants of a worker that has not been told what to run.
pub(crate) enum First {
    /// To run this.
    Start(Box<Assignment>, Encoded),
    /// To make another worker, which has this socket.
    Fork(OwnedFd),
}

/// What a node wants of its worker.
pub(crate) enum Request {
    /// To run a call. The attempt is said of one that may have been interrupted before.
    Call { sequence: u64, call: Call, kill_at: Option<KillPoint>, attempt: Option<Attempt> },
    /// To say what became of a call.
    Outcome { sequence: u64, id: CallId },
    /// To leave the sync of commits to the group journal, or no more.
    Group(Option<Member>),
}

impl Connection {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        let (inbox, outbox) = (Inbox::new(), Outbox::default());
        Self { socket, inbox, outbox, lending: Lending::default() }
    }

    /// Receives frames until `take` makes something of one; `None` when the node closed the
    /// connection. What concerns shared buffers is done on the way.
    fn receive_until<T>(
        &mut self,
        mut take: impl FnMut(&mut Lending, Frame<'_>, Option<OwnedFd>) -> Result<T, WireError>,
    ) -> io::Result<Option<T>> {
        loop {
            let Self { inbox, lending, .. } = self;
            let taken = receive(&self.socket, inbox, |frame, descriptor| match frame {
                Frame::Buffer { id, len } => match descriptor {
                    Some(descriptor) => lending.learn(id, len, descriptor).map(|()| None),
                    None => Err(WireError("a buffer without its descriptor".to_owned())),
                },
                Frame::Slot { id, len } => match descriptor {
                    Some(descriptor) => lending.learn_slot(id, len, descriptor).map(|()| None),
                    None => Err(WireError("a slot without its descriptor".to_owned())),
                },
                Frame::Inherit { len } => match descriptor {
                    Some(descriptor) => inherit(descriptor, len).map(|()| None),
                    None => Err(WireError("a buffer without its descriptor".to_owned())),
                },
                Frame::Forget { id } => {
                    lending.forget(id);
                    Ok(None)
                }
                Frame::Release { id } => lending.take_back(id).map(|()| None),
                frame => take(lending, frame, descriptor).map(Some),
            })?;
            match taken {
                None => return Ok(None),
                Some(Ok(Some(taken))) => return Ok(Some(taken)),
                Some(Ok(None)) => {}
                Some(Err(error)) => return Err(io::Error::other(error)),
            }
        }
    }

    pub(crate) fn receive_first(&mut self) -> io::Result<Option<First>> {
        self.receive_until(|lending, frame, descriptor| match (frame, descriptor) {
            (Frame::Start { options, initial }, _) => {
                let options = lending.borrow(&options)?;
                let assignment = codec::decode(&options).map_err(|e| WireError(e.to_string()))?;
                Ok(First::Start(Box::new(assignment), lending.borrow(&initial)?))
            }
            (Frame::Fork, Some(socket)) => Ok(First::Fork(socket)),
            (other, _) => Err(WireError(format!("{other:?} before the start"))),
        })
    }

    pub(crate) fn receive_request(&mut self, run: SessionId) -> io::Result<Option<Request>> {
        let mut announced = None;
        loop {
            let request = self.receive_until(|lending, frame, _| match frame {
                Frame::Attempt { id, deaths, limit, last } => {
                    announced = Some((id, Attempt { run, deaths, limit, last: last.to_owned() }));
                    Ok(None)
                }
                Frame::Ask { sequence, id } => Ok(Some(Request::Outcome { sequence, id })),
                Frame::Group { member } => {
                    let member = member.map(|(run, number)| Member { run, number });
                    Ok(Some(Request::Group(member)))
                }
                Frame::Call { id, acked_below, method, kill_at, args } => {
                    let args = lending.borrow(&args)?;
                    let mut call = Call { id, acked_below, method: method as usize, args };
                    let attempt = announced.take().and_then(|(announced, attempt)| {
                        identify(&mut call, announced);
                        needs_intent(announced, &attempt).then_some(attempt)
                    });
                    Ok(Some(Request::Call { sequence: id.sequence, call, kill_at, attempt }))
                }
                other => Err(WireError(format!("{other:?} is not for a worker"))),
            })?;
            match request {
                None => return Ok(None),
                Some(Some(request)) => return Ok(Some(request)),
                Some(None) => {}
            }
        }
    }

    pub(crate) fn send(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        self.outbox.push(frame);
        self.flush()
    }

    pub(crate) fn reply(
        &mut self,
        sequence: u64,
        replayed: bool,
        (status, value): (Status, Encoded),
        stamps: Stamps,
    ) -> io::Result<()> {
        let (status, payload) = match Payload::new(value) {
            Ok(payload) => (status, payload),
            // It ran, and its caller cannot be given the result.
            Err(error) => {
                let reason = encoded_text(&format!("the reply is {error}"));
                let payload = Payload::new(reason).map_err(|e| io::Error::other(e.to_string()))?;
                (Status::Unsendable, payload)
            }
        };
        let value = self.lending.lend(&payload, &mut self.outbox);
        let frame = Frame::Reply { sequence, status, replayed, stamps, value };
        self.outbox.push(&frame);
        self.flush()
    }

    /// Adds what the commit of the next reply has left to the group journal.
    pub(crate) fn push_written(&mut self, written: Written<'_>) {
        let Written { epoch, number, offset, bytes } = written;
        self.outbox.push(&Frame::Written { epoch, number, offset, bytes });
    }

    /// Tells the node what was dropped since the last frame.
    pub(crate) fn release(&mut self) -> io::Result<()> {
        self.lending.push_returns(&mut self.outbox);
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        // The socket blocks, so that all of it is sent.
        self.outbox.flush(self.socket.as_fd()).map(|_| ())
    }

    /// Tells the node why this worker cannot go on, and exits.
    pub(crate) fn fail(&mut self, error: &dyn StdError) -> ! {
        self.fail_with(EXIT_FAILED, error)
    }

    pub(crate) fn fail_with(&mut self, code: i32, error: &dyn StdError) -> ! {
        let reason = with_causes(error);
        // If the node is gone there is nobody to tell.
        let _ = self.send(&Frame::Fatal { reason: &reason });
        std::process::exit(code)
    }
}

fn inherit(descriptor: OwnedFd, len: u64) -> Result<(), WireError> {
    let taken = pool().inherit(descriptor, len);
    taken.map_err(|error| WireError(format!("cannot map a shared buffer: {error}")))
}

fn with_causes(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        // Some messages end with that of their cause.
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}

/// Gives the call the identity that its caller has chosen. Nothing is known of which replies
/// that caller has.
fn identify(call: &mut Call, id: CallId) {
    if call.id != id {
        call.id = id;
        call.acked_below = 0;
    }
}

/// Whether a call may have been interrupted: the actor died of it, or its caller has chosen its
/// identity before this run of the program began, and may have sent it in an earlier run.
fn needs_intent(id: CallId, attempt: &Attempt) -> bool {
    let before = id.session.is_foreign() || id.session.started_ms() <= attempt.run.started_ms();
    attempt.deaths > 0 || before
}

pub(crate) fn encoded_text(text: &str) -> Encoded {
    // A text always encodes.
    codec::encode(text).unwrap_or_default()
}
