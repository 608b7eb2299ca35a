//! [`Zombie`]: a process that was stopped while its successor took over. Fault injection.

use std::io;
use std::sync::Arc;

use persistent_actor::{CallId, CodecError, SessionId, codec};
use serde::Serialize;

use crate::connection::EXIT_FENCED;
use crate::error::CallError;
use crate::event::Exit;
use crate::lending::Payload;
use crate::link::{Flushed, Link};
use crate::process::WorkerProcess;
use crate::wire::Frame;

/// A process that stands still (SIGSTOP) while its successor serves the actor. It believes that
/// it is still the one: its connection stays open, and so do its files.
///
/// Dropping it kills it.
pub struct Zombie {
    process: Arc<WorkerProcess>,
    link: Link,
}

impl Drop for Zombie {
    fn drop(&mut self) {
        self.process.end_now();
        drop(self.link.take_memory(self.process.pid()));
    }
}

/// How a zombie ended that was woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZombieEnd {
    /// It learned that a newer incarnation has taken over, and answered nothing any more.
    Fenced,
    /// It answered all its calls and then ended as it was told: nothing held it back.
    Answered,
    /// It ended otherwise.
    Other(Exit),
}

/// A process could not be superseded, or its zombie not be woken.
#[derive(Debug, thiserror::Error)]
pub enum SupersedeError {
    /// The actor has no process any more.
    #[error(transparent)]
    Actor(#[from] CallError),
    /// The system refused.
    #[error("cannot stop a process and let it go on: {0}")]
    Io(#[from] io::Error),
    /// The call for the zombie cannot be encoded.
    #[error("cannot encode a call: {0}")]
    Encode(#[from] CodecError),
    /// The call for the zombie cannot be sent.
    #[error("cannot send a call to a stopped process: {0}")]
    Send(String),
}

impl Zombie {
    pub(crate) fn new(process: Arc<WorkerProcess>, link: Link) -> Self {
        Self { process, link }
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Sends it one more call of `A::METHODS[method]`, lets it go on (SIGCONT) and waits until it
    /// ends. To be used when its successor has answered a call: before that it may still be the
    /// one. First it finishes what it was stopped in; then it finds that call, so that in any
    /// case it has something to commit; then the end of its connection.
    ///
    /// # Errors
    /// See [`SupersedeError`].
    pub async fn wake_with<Args>(
        mut self,
        method: usize,
        args: &Args,
    ) -> Result<ZombieEnd, SupersedeError>
    where
        Args: Serialize + ?Sized,
    {
        let args = Payload::new(codec::encode(args)?)
            .map_err(|error| SupersedeError::Send(error.to_string()))?;
        let id = CallId { session: SessionId::generate()?, sequence: 0 };
        let method = u32::try_from(method).unwrap_or(u32::MAX);
        self.link.push_call(&args, |args| Frame::Call {
            id,
            acked_below: 0,
            method,
            kill_at: None,
            args,
        });
        if self.link.flush() != Flushed::All {
            return Err(SupersedeError::Send("its connection takes no more".to_owned()));
        }
        self.link.close()?;
        self.process.resume()?;
        let exit = self.process.wait_for_exit().await?;
        Ok(match exit.code {
            Some(EXIT_FENCED) => ZombieEnd::Fenced,
            Some(0) => ZombieEnd::Answered,
            _ => ZombieEnd::Other(exit),
        })
    }
}
