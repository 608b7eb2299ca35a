//! Methods that fail, calls that kill, actors that do not start: each ends in a clear error.

#![allow(clippy::unwrap_used, reason = "a test may panic and tell")]

mod support;

use std::io::Write;
use std::os::fd::FromRawFd;

use persistent_actor_runtime::{
    CallError, Durability, EventKind, KillPoint, Limit, Node, SpawnError, actor, safe_state,
    worker_for_tests,
};
use serde::{Deserialize, Serialize};
use support::{Counter, Events, node, start, state_root};

worker_for_tests!();

#[tokio::test]
async fn a_method_error_reaches_its_caller_and_changes_nothing() {
    let root = state_root();
    let node = node(&root, Durability::Process);
    let counter = node.actor::<Counter>("visits").spawn().await.unwrap();
    counter.increment(1).await.unwrap();
    match counter.fail_after(5).await {
        Err(CallError::Method(error)) => assert_eq!(error, "not 6"),
        other => panic!("{other:?}"),
    }
    assert_eq!(counter.value().await.unwrap(), 1);
    assert_eq!(counter.incarnation(), 1, "nobody died");
}

#[tokio::test]
async fn a_panic_reaches_its_caller_and_changes_nothing() {
    let root = state_root();
    let node = node(&root, Durability::Process);
    let counter = node.actor::<Counter>("visits").spawn().await.unwrap();
    counter.increment(1).await.unwrap();
    let error = counter.panic_after(5).await.unwrap_err();
    match &error {
        CallError::Panicked { message, .. } => assert_eq!(message, "no more than 6"),
        other => panic!("{other:?}"),
    }
    assert!(error.is_retry_safe() && error.call().is_some());
    assert_eq!(counter.value().await.unwrap(), 1);
    assert_eq!(counter.incarnation(), 1, "nobody died");
}

#[tokio::test]
async fn a_failed_call_is_not_run_again_when_its_reply_is_lost() {
    let root = state_root();
    let node = node(&root, Durability::Process);
    let counter = node.actor::<Counter>("visits").spawn().await.unwrap();
    counter.kill_during_next_call(KillPoint::AfterCommit);
    assert!(matches!(counter.fail_after(5).await, Err(CallError::Method(_))));
    assert_eq!(counter.value().await.unwrap(), 0);
    assert_eq!(counter.incarnation(), 2);
}

#[tokio::test]
async fn a_call_that_kills_its_actor_is_given_up_and_the_others_are_served() {
    let root = state_root();
    let events = Events::default();
    let node = Node::builder()
        .durability(Durability::Process)
        .on_event(events.observer())
        .open(root.path())
        .unwrap();
    let counter = node.actor::<Counter>("visits").spawn().await.unwrap();
    let before = start(counter.increment(1)).await;
    let poison = start(counter.abort()).await;
    let after = start(counter.increment(1)).await;

    assert_eq!(before.await.unwrap(), 1);
    let error = poison.await.unwrap_err();
    match &error {
        CallError::PoisonCall { deaths, last, .. } => {
            assert_eq!((*deaths, last.as_str()), (5, "signal 6"));
        }
        other => panic!("{other:?}"),
    }
    assert!(error.may_have_run());
    assert_eq!(after.await.unwrap(), 2);
    assert_eq!(counter.incarnation(), 6);
    assert_eq!(events.count(|kind| matches!(kind, EventKind::PoisonCall { deaths: 5, .. })), 1);
}

/// Waits for a file to have content.
#[derive(Default, Serialize, Deserialize)]
struct Reader {
    calls: u64,
}

#[actor]
impl Reader {
    #[safe_state("calls")]
    fn read(&mut self, fifo: String) -> String {
        self.calls += 1;
        std::fs::read_to_string(fifo).unwrap()
    }
}

#[tokio::test]
async fn kills_from_outside_do_not_poison_a_call() {
    let root = state_root();
    let fifo = root.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
    let (sent, mut sends) = tokio::sync::watch::channel(0);
    let node = Node::builder()
        .on_event(move |event| {
            if let EventKind::CallStarted { attempt, .. } = event.kind {
                sent.send_replace(attempt);
            }
        })
        .open(root.path().join("states"))
        .unwrap();
    let reader = node.actor::<Reader>("reader").max_deaths_per_call(1).spawn().await.unwrap();
    let call = start(reader.read(fifo.to_string_lossy().into_owned())).await;
    for attempt in 1..=3 {
        sends.wait_for(|sent| *sent == attempt).await.unwrap();
        reader.kill().await.unwrap();
    }
    sends.wait_for(|sent| *sent == 4).await.unwrap();
    tokio::task::spawn_blocking(move || std::fs::write(fifo, "done")).await.unwrap().unwrap();
    assert_eq!(call.await.unwrap(), "done");
}

#[tokio::test]
async fn a_call_is_tried_no_more_often_than_max_task_retries_allows() {
    let root = state_root();
    let node = node(&root, Durability::Process);
    let counter =
        node.actor::<Counter>("visits").max_task_retries(Limit::Times(1)).spawn().await.unwrap();
    let failing = start(counter.abort()).await;
    let waiting = start(counter.increment(1)).await;
    match failing.await.unwrap_err() {
        CallError::RetriesExhausted { attempts, .. } => assert_eq!(attempts, 2),
        other => panic!("{other:?}"),
    }
    assert_eq!(waiting.await.unwrap(), 1, "a call that only waited is not charged");
}

#[tokio::test]
async fn an_actor_is_restarted_no_more_often_than_max_restarts_allows() {
    let root = state_root();
    let events = Events::default();
    let node = Node::builder().on_event(events.observer()).open(root.path()).unwrap();
    let counter = node.actor::<Counter>("visits").max_restarts(1).spawn().await.unwrap();
    counter.kill().await.unwrap();
    assert_eq!(counter.increment(1).await.unwrap(), 1);
    counter.kill().await.unwrap();
    let error = counter.increment(1).await.unwrap_err();
    assert!(matches!(&error, CallError::ActorDied { reason, .. } if reason.contains("signal 9")));
    assert!(error.is_retry_safe(), "it was never sent");
    assert!(counter.kill().await.is_err());
    assert!(counter.stop().await.is_err());
    assert_eq!(events.words().last().unwrap(), "Stopped");
    // The name is free again, and the state is there.
    let again = node.actor::<Counter>("visits").spawn().await.unwrap();
    assert_eq!(again.value().await.unwrap(), 1);
}

/// Its state never loads.
#[derive(Serialize, Deserialize)]
#[serde(try_from = "u64")]
struct Unloadable(u64);

impl TryFrom<u64> for Unloadable {
    type Error = String;

    fn try_from(value: u64) -> Result<Self, String> {
        Err(format!("{value} is out of the question"))
    }
}

impl From<Unloadable> for u64 {
    fn from(value: Unloadable) -> Self {
        value.0
    }
}

#[derive(Serialize, Deserialize)]
struct Fragile {
    part: Unloadable,
}

#[actor]
impl Fragile {
    fn part(&self) -> u64 {
        self.part.0
    }
}

#[tokio::test]
async fn an_actor_that_cannot_start_says_why() {
    let node = Node::in_memory().unwrap();
    let fragile = Fragile { part: Unloadable(7) };
    let error = node.actor::<Fragile>("fragile").initial(fragile).spawn().await.unwrap_err();
    match &error {
        SpawnError::StartFailed { name, reason } => {
            assert_eq!(name, "fragile");
            assert!(reason.contains("7 is out of the question"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_state_that_cannot_be_read_is_an_error_that_names_it() {
    let root = state_root();
    std::fs::write(root.path().join("visits"), b"not a directory").unwrap();
    let node = node(&root, Durability::Process);
    let error = node.actor::<Counter>("visits").spawn().await.unwrap_err().to_string();
    assert!(error.contains(&*root.path().join("visits").to_string_lossy()), "{error}");
}

/// Dies before it is ready, every time.
#[derive(Default, Serialize)]
struct Stillborn {}

impl<'de> Deserialize<'de> for Stillborn {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        std::process::exit(3)
    }
}

#[actor]
impl Stillborn {
    fn nothing(&self) {}
}

#[tokio::test]
async fn starts_that_fail_again_and_again_have_a_limit_and_pauses() {
    let events = Events::default();
    let node = Node::builder()
        .durability(Durability::None)
        .on_event(events.observer())
        .in_memory()
        .unwrap();
    let error = node.actor::<Stillborn>("stillborn").spawn().await.unwrap_err().to_string();
    assert!(error.contains("exit code 3 before it was ready"), "{error}");
    let delays: Vec<u128> = events
        .all()
        .iter()
        .filter_map(|event| match event.kind {
            EventKind::Restarting { delay, .. } => Some(delay.as_millis()),
            _ => None,
        })
        .collect();
    assert_eq!(delays, [0, 10, 20, 40, 80, 160, 320]);
}

/// Writes what is no frame onto the connection to its node.
#[derive(Default, Serialize, Deserialize)]
struct Babbler {}

#[actor]
impl Babbler {
    fn babble(&self) {
        for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
            let entry = entry.unwrap();
            let target = std::fs::read_link(entry.path()).unwrap_or_default();
            if target.to_string_lossy().starts_with("socket:") {
                let number = entry.file_name().to_string_lossy().parse().unwrap();
                // SAFETY: the descriptor is open, and the process ends with this call.
                let mut socket = unsafe { std::fs::File::from_raw_fd(number) };
                socket.write_all(&[0xff; 64]).unwrap();
            }
        }
        loop {
            std::thread::park();
        }
    }
}

#[tokio::test]
async fn a_worker_that_sends_what_is_no_frame_is_killed_and_named() {
    let node = Node::in_memory().unwrap();
    let babbler = node.actor::<Babbler>("babbler").spawn().await.unwrap();
    match babbler.babble().await.unwrap_err() {
        CallError::PoisonCall { last, .. } => {
            assert!(last.contains("malformed message: a frame of"), "{last}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_number_that_is_no_method_is_refused() {
    let node = Node::in_memory().unwrap();
    let counter = node.actor::<Counter>("visits").spawn().await.unwrap();
    let error = counter.call::<_, (), String>(99, &()).await.unwrap_err();
    assert!(error.to_string().contains("Counter has no method number 99"), "{error}");
    assert!(error.is_retry_safe());
    let error = counter.call::<_, u64, String>(0, &("text",)).await.unwrap_err();
    assert!(matches!(error, CallError::Rejected { .. }), "{error}");
}
