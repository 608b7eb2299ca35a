//! The product's side of a measurement: actors on a node of their own.

use std::path::Path;
use std::rc::Rc;

use persistent_actor::Durability;
use persistent_actor_runtime::{Error, Node, NodeBuilder};
use tokio::runtime::{Handle, Runtime};

use super::{Context, FloorsError};
use crate::member::Member;

/// Actors on a node of their own; they end with this value.
pub(super) struct Crew<M> {
    pub(super) members: Vec<M>,
    pub(super) node: Node,
    runtime: Rc<Runtime>,
}

impl<M: Member> Crew<M> {
    /// Starts so many, one after the other.
    pub(super) fn start(
        context: &Context<'_>,
        durability: Durability,
        name: &str,
        actors: usize,
    ) -> Result<Self, FloorsError> {
        let mut crew = Self::empty(context, durability, name)?;
        context.runtime.block_on(async {
            for actor in 0..actors {
                let member = M::spawn(&crew.node, format!("actor-{actor}")).await;
                crew.members.push(member.map_err(Error::from)?);
            }
            Ok(crew)
        })
    }
}

impl<M> Crew<M> {
    /// A node without actors.
    pub(super) fn empty(
        context: &Context<'_>,
        durability: Durability,
        name: &str,
    ) -> Result<Self, FloorsError> {
        let path = context.dir.join(format!("{name}-{durability}"));
        let _inside = context.runtime.enter();
        let node = open(Node::builder().durability(durability), durability, &path)?;
        let runtime = context.runtime.clone();
        Ok(Self { members: Vec::new(), node, runtime })
    }
}

fn open(builder: NodeBuilder, durability: Durability, path: &Path) -> Result<Node, FloorsError> {
    let node = match durability {
        Durability::None => builder.in_memory(),
        _ => builder.open(path),
    };
    Ok(node.map_err(Error::from)?)
}

impl<M> Drop for Crew<M> {
    /// Waits until the processes are gone, so that none disturbs what is measured next.
    fn drop(&mut self) {
        self.members.clear();
        // In the midst of an error there may be a runtime around already; its end ends them.
        if Handle::try_current().is_err() {
            self.runtime.block_on(self.node.shutdown());
        }
    }
}
