//! Many callees, all called at once, and how that went.

use std::time::Instant;

use persistent_actor_runtime::CallError;
use tokio::task::JoinSet;

use crate::measurement::Distribution;
use crate::member::Member;

/// What calling all at once gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Called {
    /// Answers per second, of all together.
    pub per_s: f64,
    /// The time of a call as its caller sees it. Microseconds.
    pub us: Distribution,
}

/// Calls all callees at once, each so many times, one call before each at any time. Gives the
/// callees back.
///
/// # Errors
/// The first error of a call.
pub async fn calls<C, E, F>(
    callees: Vec<C>,
    times: usize,
    call: impl Fn(C) -> F + Clone + Send + 'static,
) -> Result<(Called, Vec<C>), E>
where
    C: Send + 'static,
    E: Send + 'static,
    F: Future<Output = Result<C, E>> + Send,
{
    let all = callees.len() * times;
    let mut callers = JoinSet::new();
    let begin = Instant::now();
    for mut callee in callees {
        let call = call.clone();
        callers.spawn(async move {
            let mut samples = Vec::with_capacity(times);
            for _ in 0..times {
                let sent = Instant::now();
                callee = call(callee).await?;
                samples.push(sent.elapsed().as_secs_f64() * 1e6);
            }
            Ok::<_, E>((callee, samples))
        });
    }
    let mut samples = Vec::with_capacity(all);
    let mut callees = Vec::new();
    while let Some(done) = callers.join_next().await {
        // A task that panicked panics here, too.
        let (callee, times) = match done {
            Ok(done) => done?,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        callees.push(callee);
        samples.extend(times);
    }
    let per_s = all as f64 / begin.elapsed().as_secs_f64();
    let nothing = Distribution { min: 0.0, median: 0.0, p99: 0.0, p999: 0.0, max: 0.0 };
    let us = Distribution::of(samples).unwrap_or(nothing);
    Ok((Called { per_s, us }, callees))
}

/// A call of `process` with 1, for [`calls`].
///
/// # Errors
/// That of the call.
pub async fn process<M: Member>(member: M) -> Result<M, CallError> {
    member.process(0, M::value(1)).await?;
    Ok(member)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_callee_is_called_as_often_as_wanted_and_comes_back() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let called = calls(vec![10u32, 20, 30], 5, |n| async move {
            tokio::task::yield_now().await;
            Ok::<_, ()>(n + 1)
        });
        let (called, mut callees) = runtime.block_on(called).unwrap();
        callees.sort_unstable();
        assert_eq!(callees, [15, 25, 35]);
        assert!(called.per_s > 0.0 && called.us.max >= called.us.median);
    }

    #[test]
    fn the_first_error_is_told() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let called =
            calls(vec![1, 2], 3, |n| async move { if n == 2 { Err("no") } else { Ok(n) } });
        assert_eq!(runtime.block_on(called).err(), Some("no"));
    }
}
