//! Calls under identities that their callers have chosen, and what became of them: told by the
//! actor, or by its state while nothing runs.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and tell")]

mod support;

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};

use persistent_actor_runtime::{
    CallError, CallId, CallOutcome, Durability, Error, KillPoint, Never, Node, OpenError,
    SessionId, TypedOutcome, actor, safe_state, worker_for_tests,
};
use serde::{Deserialize, Serialize};
use support::{Counter, node, start, state_root};

worker_for_tests!();

fn id(session: SessionId, sequence: u64) -> CallId {
    CallId { session, sequence }
}

async fn of_increment(node: &Node, call: CallId) -> TypedOutcome<u64> {
    node.outcome::<u64, Never>("visits", call).await.unwrap()
}

#[tokio::test]
async fn the_outcome_of_a_call_is_told_by_its_actor_and_by_its_state() {
    let root = state_root();
    let node = node(&root, Durability::Process);
    let counter = node.actor::<Counter>("visits").spawn().await.unwrap();
    let session = SessionId::generate().unwrap();
    assert_eq!(counter.with_call_id(id(session, 0)).increment(3).await.unwrap(), 3);
    assert!(counter.with_call_id(id(session, 1)).fail_after(1).await.is_err());
    assert!(counter.with_call_id(id(session, 2)).panic_after(1).await.is_err());
    for alive in [true, false] {
        if !alive {
            counter.stop().await.unwrap();
        }
        assert!(matches!(of_increment(&node, id(session, 0)).await, CallOutcome::Committed(Ok(3))));
        let failed = node.outcome::<u64, String>("visits", id(session, 1)).await.unwrap();
        let CallOutcome::Committed(Err(CallError::Method(error))) = failed else {
            panic!("{failed:?}")
        };
        assert_eq!(error, "not 4");
        let panicked = of_increment(&node, id(session, 2)).await;
        assert!(
            matches!(panicked, CallOutcome::Committed(Err(CallError::Panicked { .. }))),
            "{panicked:?}"
        );
        assert!(matches!(of_increment(&node, id(session, 3)).await, CallOutcome::NotCommitted));
    }
    let error = node.outcome::<u64, Never>("nobody", id(session, 0)).await.unwrap_err();
    assert!(matches!(error, Error::Open(OpenError::NotFound { .. })), "{error:?}");
}

#[tokio::test]
async fn a_call_that_was_acknowledged_has_expired() {
    let root = state_root();
    let node = node(&root, Durability::Process);
    let counter = node.actor::<Counter>("visits").max_restarts(0).spawn().await.unwrap();
    // The node numbers its calls, and tells the actor which replies have arrived.
    for expected in 1..=3 {
        assert_eq!(counter.increment(1).await.unwrap(), expected);
    }
    let dying = counter.abort().await.unwrap_err();
    let CallId { session, sequence } = dying.call().unwrap();
    assert!(matches!(of_increment(&node, id(session, 0)).await, CallOutcome::Expired));
    assert!(matches!(of_increment(&node, id(session, 2)).await, CallOutcome::Committed(Ok(3))));
    assert!(matches!(of_increment(&node, id(session, sequence)).await, CallOutcome::NotCommitted));
}

#[tokio::test]
async fn a_call_with_the_same_identity_takes_effect_once() {
    let root = state_root();
    let node = node(&root, Durability::Process);
    let counter = node.actor::<Counter>("visits").spawn().await.unwrap();
    let session = SessionId::generate().unwrap();
    let mine = counter.with_call_id(id(session, 0));
    let (one, two) = (start(mine.increment(5)).await, start(mine.increment(5)).await);
    counter.kill().await.unwrap();
    assert_eq!((one.await.unwrap(), two.await.unwrap()), (5, 5));
    assert_eq!(counter.value().await.unwrap(), 5);
    let error = mine.increment(6).await.unwrap_err();
    assert!(error.to_string().contains("was used before"), "{error}");
    assert_eq!(error.call(), Some(id(session, 0)), "the error names the call");
}

#[tokio::test]
async fn the_outcome_is_right_wherever_the_actor_was_killed_for_good() {
    for durability in [Durability::Process, Durability::Power] {
        for (n, point) in [KillPoint::BeforeRun, KillPoint::BeforeCommit, KillPoint::AfterCommit]
            .iter()
            .enumerate()
        {
            let root = state_root();
            let node = node(&root, durability);
            let counter = node.actor::<Counter>("visits").max_restarts(0).spawn().await.unwrap();
            let call = id(SessionId::generate().unwrap(), n as u64);
            counter.kill_during_next_call(*point);
            assert!(counter.with_call_id(call).increment(7).await.is_err());
            let committed =
                matches!(of_increment(&node, call).await, CallOutcome::Committed(Ok(7)));
            assert_eq!(committed, *point == KillPoint::AfterCommit, "{point:?}");
            // And the retry makes it true, once.
            let counter = node.actor::<Counter>("visits").spawn().await.unwrap();
            assert_eq!(counter.with_call_id(call).increment(7).await.unwrap(), 7);
            assert_eq!(counter.value().await.unwrap(), 7, "{point:?}");
        }
    }
}

/// Kills its whole program in a call, before or after it was committed.
#[derive(Default, Serialize, Deserialize)]
struct Assassin {
    count: u64,
}

#[actor]
impl Assassin {
    /// Kills the program, which takes this process with it.
    #[safe_state("count")]
    fn kill_program(&mut self) -> u64 {
        let parent = rustix::process::getppid().unwrap();
        rustix::process::kill_process(parent, rustix::process::Signal::KILL).unwrap();
        loop {
            std::thread::park();
        }
    }

    #[safe_state("count")]
    fn count(&mut self) -> u64 {
        self.count += 1;
        self.count
    }
}

const KEPT: SessionId = SessionId((1_700_000_000_000 << 80) | 11);

/// What a test below runs as a program of its own: the calls that `TEST_CALLS` names.
#[tokio::test]
async fn a_program_that_makes_calls() {
    let Some(root) = std::env::var_os("TEST_STATE_ROOT") else { return };
    let calls = std::env::var("TEST_CALLS").unwrap();
    let node = Node::builder().durability(Durability::Process).open(Path::new(&root)).unwrap();
    let assassin = node.actor::<Assassin>("assassin").max_deaths_per_call(3).spawn().await.unwrap();
    for call in calls.split(' ') {
        match call.split_at(1) {
            ("+", number) => {
                let call = id(KEPT, number.parse().unwrap());
                println!("counted {}", assassin.with_call_id(call).count().await.unwrap());
            }
            ("k", number) => {
                let call = id(KEPT, number.parse().unwrap());
                match assassin.with_call_id(call).kill_program().await.unwrap_err() {
                    CallError::PoisonCall { call: named, deaths, last } => {
                        assert_eq!(named, call);
                        println!("poison {deaths} {last}");
                    }
                    other => panic!("{other}"),
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

fn run_program(root: &Path, calls: &str) -> (ExitStatus, Vec<String>) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_program_that_makes_calls", "--nocapture"])
        .env("TEST_STATE_ROOT", root)
        .env("TEST_CALLS", calls)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let ours = |line: &&str| line.starts_with("counted") || line.starts_with("poison");
    (output.status, text.lines().filter(ours).map(str::to_owned).collect())
}

#[tokio::test]
async fn a_call_that_kills_the_whole_program_each_time_is_parked_and_the_others_are_served() {
    let root = state_root();
    for _ in 0..3 {
        let (status, said) = run_program(root.path(), "k1");
        assert_eq!((status.signal(), said.len()), (Some(9), 0));
    }
    let (status, said) = run_program(root.path(), "k1 +2 k1 +2 +3");
    assert!(status.success(), "{said:?}");
    let poison = "poison 3 the end of its whole program";
    assert_eq!(said, [poison, "counted 1", poison, "counted 1", "counted 2"]);
    let node = node(&root, Durability::Process);
    let parked = node.outcome::<u64, Never>("assassin", id(KEPT, 1)).await.unwrap();
    assert!(matches!(parked, CallOutcome::Parked { deaths: 3, .. }), "{parked:?}");
    let counted = node.outcome::<u64, Never>("assassin", id(KEPT, 3)).await.unwrap();
    assert!(matches!(counted, CallOutcome::Committed(Ok(2))), "{counted:?}");
}

#[tokio::test]
async fn a_program_that_dies_of_something_else_does_not_poison_the_call_it_had_finished() {
    let root = state_root();
    for _ in 0..4 {
        let (_, said) = run_program(root.path(), "+0 k1");
        assert!(said.first().is_none_or(|line| line == "counted 1"), "{said:?}");
    }
    let (status, said) = run_program(root.path(), "+0");
    assert!(status.success());
    assert_eq!(said, ["counted 1"]);
}
