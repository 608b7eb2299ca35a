//! Our store, used as the local engine uses it: one record per call, {changes, reply, call id}.

use anyhow::{Context, Result};
use persistent_actor::codec::{Encoded, encode};
use persistent_actor::{ActorState, Bytes, CallId, Durability, Reply, ReplyStatus, SessionId};

use super::{Engine, Setup, Update};

const ATTRIBUTE: &str = "state";

/// One [`ActorState`] with one attribute.
pub(crate) struct Product {
    state: ActorState,
    next: CallId,
    reply: Encoded,
}

impl Product {
    pub(crate) fn open(setup: &Setup<'_>, durability: Durability) -> Result<Self> {
        let path = setup.dir.join("state");
        let state = ActorState::options().durability(durability).open(&path)?;
        let session = SessionId::generate().context("make a session id")?;
        Ok(Self { state, next: CallId { session, sequence: 0 }, reply: encode(&())? })
    }
}

impl Engine for Product {
    fn commit(&mut self, update: &Update<'_>) -> Result<()> {
        let changes = vec![(ATTRIBUTE.to_owned(), encode(update.value)?)];
        let reply = Reply { status: ReplyStatus::Returned, value: self.reply.clone() };
        let id = self.next;
        self.next.sequence += 1;
        // A caller that waits for each reply has those of all earlier calls.
        self.state.commit_call(id, id.sequence, id.sequence, reply, changes)?;
        Ok(())
    }

    fn upkeep(&mut self) -> Result<()> {
        Ok(self.state.maintain()?)
    }

    fn load(&mut self) -> Result<Option<Bytes>> {
        Ok(self.state.get(ATTRIBUTE)?)
    }
}
