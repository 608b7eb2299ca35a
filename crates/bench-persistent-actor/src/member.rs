//! [`Member`]: an actor of the chain as the workload sees it, small or large.

use std::future::Future;

use persistent_actor_runtime::{
    Actor, Bytes, CallError, Integer, KillPoint, Node, SpawnError, SupersedeError, Zombie,
    ZombieEnd,
};

use crate::actors::{LARGE_BYTES, LargeActor, LargeActorHandle, SmallActor, SmallActorHandle};
use crate::chain::Number;

/// The result of a call to an actor.
pub type Reply<T> = Result<T, CallError>;

/// An actor of the chain.
pub trait Member: Clone + Send + Sync + 'static {
    /// What travels along the chain.
    type Value: Clone + Send + Sync + 'static;
    /// What a value amounts to.
    type Number: Number;

    /// Starts an actor and waits until it is ready.
    fn spawn(node: &Node, name: String) -> impl Future<Output = Result<Self, SpawnError>> + Send;
    /// Reads the state.
    fn get_data(&self) -> impl Future<Output = Reply<Self::Value>> + Send;
    /// How many calls of `process` have taken effect.
    fn applied(&self) -> impl Future<Output = Reply<u64>> + Send;
    /// Adds `arg` to the state after a delay; the reply is the state.
    fn process(
        &self,
        delay_ms: u64,
        arg: Self::Value,
    ) -> impl Future<Output = Reply<Self::Value>> + Send;
    /// Kills the actor's process.
    fn kill(&self) -> impl Future<Output = Reply<()>> + Send;
    /// Kills the actor's process in its next call, at this point.
    fn kill_in_next_call(&self, point: KillPoint);
    /// Stops the actor's process and has its successor started beside it.
    fn supersede(&self) -> impl Future<Output = Result<Zombie, SupersedeError>> + Send;
    /// Sends a stopped process one more call of `process` with `arg` and lets it go on.
    fn wake(
        zombie: Zombie,
        arg: Self::Value,
    ) -> impl Future<Output = Result<ZombieEnd, SupersedeError>> + Send;

    /// The value that amounts to this number (of bytes: modulo 256).
    fn value(number: u8) -> Self::Value;
    /// What the value amounts to, at a glance: of an array the first byte. A flaw elsewhere in
    /// the array stays in the state, where [`Member::examine`] finds it.
    fn number(value: &Self::Value) -> Self::Number;
    /// What the value amounts to, all of it looked at; `None` for an array of mixed bytes or of
    /// another length.
    fn examine(value: &Self::Value) -> Option<Self::Number>;
}

/// The number of the method `process`.
fn process_of<A: Actor>() -> usize {
    // A number beyond the range is answered as an unknown method.
    A::METHODS.iter().position(|method| method.name == "process").unwrap_or(usize::MAX)
}

impl Member for SmallActorHandle {
    type Value = Integer;
    type Number = Integer;

    async fn spawn(node: &Node, name: String) -> Result<Self, SpawnError> {
        node.actor::<SmallActor>(name).spawn().await
    }

    async fn get_data(&self) -> Reply<Integer> {
        self.get_data().await
    }

    async fn applied(&self) -> Reply<u64> {
        self.applied().await
    }

    async fn process(&self, delay_ms: u64, arg: Integer) -> Reply<Integer> {
        self.process(delay_ms, arg).await
    }

    async fn kill(&self) -> Reply<()> {
        (**self).kill().await
    }

    fn kill_in_next_call(&self, point: KillPoint) {
        self.kill_during_next_call(point);
    }

    async fn supersede(&self) -> Result<Zombie, SupersedeError> {
        (**self).supersede().await
    }

    async fn wake(zombie: Zombie, arg: Integer) -> Result<ZombieEnd, SupersedeError> {
        zombie.wake_with(process_of::<SmallActor>(), &(0u64, arg)).await
    }

    fn value(number: u8) -> Integer {
        Integer::from(u64::from(number))
    }

    fn number(value: &Integer) -> Integer {
        value.clone()
    }

    fn examine(value: &Integer) -> Option<Integer> {
        Some(value.clone())
    }
}

impl Member for LargeActorHandle {
    type Value = Bytes;
    type Number = u8;

    async fn spawn(node: &Node, name: String) -> Result<Self, SpawnError> {
        node.actor::<LargeActor>(name).spawn().await
    }

    async fn get_data(&self) -> Reply<Bytes> {
        self.get_data().await
    }

    async fn applied(&self) -> Reply<u64> {
        self.applied().await
    }

    async fn process(&self, delay_ms: u64, arg: Bytes) -> Reply<Bytes> {
        self.process(delay_ms, arg).await
    }

    async fn kill(&self) -> Reply<()> {
        (**self).kill().await
    }

    fn kill_in_next_call(&self, point: KillPoint) {
        self.kill_during_next_call(point);
    }

    async fn supersede(&self) -> Result<Zombie, SupersedeError> {
        (**self).supersede().await
    }

    async fn wake(zombie: Zombie, arg: Bytes) -> Result<ZombieEnd, SupersedeError> {
        zombie.wake_with(process_of::<LargeActor>(), &(0u64, arg)).await
    }

    fn value(number: u8) -> Bytes {
        Bytes::build(LARGE_BYTES, |out| out.fill(number))
    }

    fn number(value: &Bytes) -> u8 {
        value.first().copied().unwrap_or_default()
    }

    fn examine(value: &Bytes) -> Option<u8> {
        let first = *value.first()?;
        (value.len() == LARGE_BYTES && value.iter().all(|&byte| byte == first)).then_some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_is_examined_to_its_last_byte() {
        let fives = Bytes::build(LARGE_BYTES, |out| out.fill(5));
        assert_eq!(LargeActorHandle::examine(&fives), Some(5));
        let flawed = Bytes::build(LARGE_BYTES, |out| {
            out.fill(5);
            out[LARGE_BYTES - 1] = 6;
        });
        assert_eq!(LargeActorHandle::examine(&flawed), None);
        assert_eq!(LargeActorHandle::examine(&Bytes::from(vec![5; 3])), None, "too short");
    }
}
