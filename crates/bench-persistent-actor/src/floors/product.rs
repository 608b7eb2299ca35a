//! What a call costs: the very actors of the workload, without delay.

use std::path::Path;
use std::time::Instant;

use persistent_actor::Durability;
use persistent_actor_runtime::{Error, Node};
use tokio::runtime::Runtime;

use super::{FloorsError, Probe, micros};
use crate::actors::{LargeActorHandle, SmallActorHandle};
use crate::member::Member;

/// How many small actors take turns.
const SMALL_ACTORS: usize = 2;

/// How many large actors take turns, so that no state is in the cache.
const LARGE_ACTORS: usize = 8;

/// How many small calls make a sample.
const SMALL_CALLS: usize = 500;

/// How many large calls make a sample.
const LARGE_CALLS: usize = 16;

/// Actors that call each other in a ring, as in the workload.
pub(super) struct Ring<M> {
    members: Vec<M>,
    calls: usize,
    _node: Node,
}

/// A ring of small actors.
pub(super) type Small = Ring<SmallActorHandle>;

/// A ring of large actors.
pub(super) type Large = Ring<LargeActorHandle>;

impl Small {
    pub(super) fn start(
        runtime: &Runtime,
        dir: &Path,
        durability: Durability,
    ) -> Result<Self, FloorsError> {
        let path = dir.join(format!("small-{durability}"));
        Self::spawn(runtime, &path, durability, SMALL_ACTORS, SMALL_CALLS)
    }
}

impl Large {
    pub(super) fn start(
        runtime: &Runtime,
        dir: &Path,
        durability: Durability,
    ) -> Result<Self, FloorsError> {
        let path = dir.join(format!("large-{durability}"));
        Self::spawn(runtime, &path, durability, LARGE_ACTORS, LARGE_CALLS)
    }
}

impl<M: Member> Ring<M> {
    fn spawn(
        runtime: &Runtime,
        path: &Path,
        durability: Durability,
        actors: usize,
        calls: usize,
    ) -> Result<Self, FloorsError> {
        runtime.block_on(async {
            let builder = Node::builder().durability(durability);
            let node = match durability {
                Durability::None => builder.in_memory(),
                _ => builder.open(path),
            };
            let node = node.map_err(Error::from)?;
            let mut members = Vec::with_capacity(actors);
            for actor in 0..actors {
                let member = M::spawn(&node, format!("actor-{actor}")).await;
                members.push(member.map_err(Error::from)?);
            }
            Ok(Self { members, calls, _node: node })
        })
    }
}

impl<M: Member> Probe for Ring<M> {
    fn sample(&mut self, runtime: &Runtime) -> Result<Vec<f64>, FloorsError> {
        runtime.block_on(async {
            let mut times = Vec::with_capacity(self.calls);
            let Some(first) = self.members.first() else { return Ok(times) };
            let mut value = first.get_data().await.map_err(Error::from)?;
            for member in self.members.iter().cycle().take(self.calls) {
                let begin = Instant::now();
                value = member.process(0, value).await.map_err(Error::from)?;
                times.push(micros(begin));
            }
            Ok(times)
        })
    }
}
