//! Our store, used as the local engine uses it: one record per call, {changes, reply, call id}.

use std::sync::Arc;

use anyhow::{Context, Result};
use persistent_actor::codec::{Encoded, encode};
use persistent_actor::store::{GroupJournal, GroupedState};
use persistent_actor::{
    ActorState, Bytes, CallId, Durability, PagedBytes, Reply, ReplyStatus, SessionId,
};

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

impl Product {
    fn put(&mut self, value: Encoded) -> Result<()> {
        let changes = vec![(ATTRIBUTE.to_owned(), value)];
        let reply = Reply { status: ReplyStatus::Returned, value: self.reply.clone() };
        let id = self.next;
        self.next.sequence += 1;
        // A caller that waits for each reply has those of all earlier calls.
        self.state.commit_call(id, id.sequence, id.sequence, reply, changes)?;
        Ok(())
    }
}

impl Engine for Product {
    fn commit(&mut self, update: &Update<'_>) -> Result<()> {
        self.put(encode(update.value)?)
    }

    fn upkeep(&mut self) -> Result<()> {
        Ok(self.state.maintain()?)
    }

    fn load(&mut self) -> Result<Option<Bytes>> {
        Ok(self.state.get(ATTRIBUTE)?)
    }
}

/// The same as a node runs it at level power: the sync is shared with all states of the group.
pub(crate) struct ProductInGroup {
    group: Arc<GroupJournal>,
    state: GroupedState,
    next: CallId,
    reply: Encoded,
}

impl ProductInGroup {
    pub(crate) fn open(group: &Arc<GroupJournal>, name: &str) -> Result<Self> {
        let state = GroupJournal::open_state(group, name, ActorState::options())?;
        let session = SessionId::generate().context("make a session id")?;
        let next = CallId { session, sequence: 0 };
        Ok(Self { group: group.clone(), state, next, reply: encode(&())? })
    }
}

impl Engine for ProductInGroup {
    fn commit(&mut self, update: &Update<'_>) -> Result<()> {
        let changes = vec![(ATTRIBUTE.to_owned(), encode(update.value)?)];
        let reply = Reply { status: ReplyStatus::Returned, value: self.reply.clone() };
        let id = self.next;
        self.next.sequence += 1;
        let ticket = self.state.commit_call(id, id.sequence, id.sequence, reply, changes)?;
        Ok(self.group.wait(ticket)?)
    }

    fn upkeep(&mut self) -> Result<()> {
        Ok(self.state.maintain()?)
    }

    fn load(&mut self) -> Result<Option<Bytes>> {
        Ok(self.state.state().get(ATTRIBUTE)?)
    }
}

/// [`Product`] with a state in pages, told which bytes change.
pub(crate) struct ProductPages {
    product: Product,
    pages: PagedBytes,
}

impl ProductPages {
    pub(crate) fn open(setup: &Setup<'_>, durability: Durability) -> Result<Self> {
        Ok(Self { product: Product::open(setup, durability)?, pages: PagedBytes::zeroed(0) })
    }
}

impl Engine for ProductPages {
    fn commit(&mut self, update: &Update<'_>) -> Result<()> {
        let value = update.value;
        match self.pages.len() == value.len() {
            true => self.pages.write(update.changed.start, &value[update.changed.clone()]),
            false => self.pages = PagedBytes::from(&value[..]),
        }
        self.product.put(encode(&self.pages)?)
    }

    fn upkeep(&mut self) -> Result<()> {
        self.product.upkeep()
    }

    fn load(&mut self) -> Result<Option<Bytes>> {
        self.product.load()
    }
}
