//! Nodes, handles and processes: who holds what, and that nothing is left behind.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and tell")]

mod support;

use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use persistent_actor_runtime::{
    CallError, CallStatus, Durability, EventKind, Limit, Never, Node, NodeError, SpawnError,
    worker_for_tests,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use support::{Counter, Events, node, start, state_root};

worker_for_tests!();

/// A process, to be watched even after its id was given to another.
fn watch(pid: u32) -> OwnedFd {
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    pidfd_open(pid, PidfdFlags::empty()).unwrap()
}

/// Waits until the process is gone. The time is for a test that fails, not for one that passes.
fn assert_ends(process: &OwnedFd) {
    let mut descriptors = [PollFd::new(process, PollFlags::IN)];
    let patience = Timespec { tv_sec: 20, tv_nsec: 0 };
    assert_eq!(poll(&mut descriptors, Some(&patience)).unwrap(), 1, "the process lives on");
}

#[tokio::test]
async fn what_was_answered_counts_although_its_actor_died_before_anybody_looked() {
    let node = Node::in_memory().unwrap();
    let policy = Limit::Times(0);
    let counter = node.actor::<Counter>("visits").max_task_retries(policy).spawn().await.unwrap();
    counter.increment(1).await.unwrap();
    let process = watch(counter.pid());
    let first = start(counter.increment(1)).await;
    let _second = start(counter.abort()).await;
    // It has answered the first, and nobody has read that yet: this thread is the only one of the
    // runtime.
    assert_ends(&process);
    let _third = start(counter.increment(1)).await;
    assert_eq!(first.await.unwrap(), 2);
}

#[test]
fn an_actor_whose_runtime_goes_before_it_has_run_has_ended() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let node = Node::in_memory().unwrap();
    let first = runtime();
    // Its supervisor is a task that has not run when this returns.
    let spawning = first.block_on(start(node.actor::<Counter>("visits").spawn()));
    drop(first);
    let patience = Duration::from_secs(20);
    runtime().block_on(async {
        let again = tokio::time::timeout(patience, node.actor::<Counter>("visits").spawn());
        again.await.expect("the name is not free").unwrap();
        tokio::time::timeout(patience, node.shutdown()).await.expect("the node waits for nobody");
    });
    drop(spawning);
}

#[tokio::test]
async fn dropping_the_node_kills_and_reaps_its_actors() {
    let root = state_root();
    let node = node(&root, Durability::Process);
    let counter = node.actor::<Counter>("visits").spawn().await.unwrap();
    let pid = counter.process().await.unwrap();
    let clone = node.clone();
    drop(node);
    assert_eq!(counter.increment(1).await.unwrap(), 1, "one node is left");
    drop(clone);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "not even a zombie");
    let error = counter.increment(1).await.unwrap_err();
    assert!(matches!(error, CallError::ActorStopped { .. }), "{error}");
    assert!(error.is_retry_safe());
    counter.stop().await.unwrap();
}

#[test]
fn a_root_is_not_free_before_its_group_journal_is_closed_even_if_nobody_waits_for_that() {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).max_blocking_threads(1).enable_all().build().unwrap();
    let root = state_root();
    runtime.block_on(async {
        let node = node(&root, Durability::Power);
        let counter = node.actor::<Counter>("visits").spawn().await.unwrap();
        counter.increment(1).await.unwrap();
        counter.stop().await.unwrap();
        // The journal is closed on the one thread for that, which has something else to do.
        let (done, busy) = std::sync::mpsc::channel::<()>();
        let work = tokio::task::spawn_blocking(move || busy.recv());
        drop(start(node.shutdown()).await);
        drop(node);
        let open = || Node::builder().durability(Durability::Power).open(root.path());
        let taken = open().err().expect("the root is free while its journal is open");
        assert!(matches!(taken, NodeError::InUse { .. }), "{taken}");
        drop(done);
        let freed = async {
            while open().is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), freed).await.expect("it is never free");
        work.await.unwrap().unwrap_err();
    });
}

#[tokio::test]
async fn calls_that_were_sent_when_the_node_is_dropped_may_have_run() {
    let node = Node::in_memory().unwrap();
    let counter = node.actor::<Counter>("visits").spawn().await.unwrap();
    let call = start(counter.increment(1)).await;
    drop(node);
    let error = call.await.unwrap_err();
    assert!(matches!(error, CallError::ActorStopped { call: Some(_), .. }), "{error}");
    assert!(error.may_have_run());
}

#[tokio::test]
async fn an_actor_that_is_stopped_answers_what_was_sent() {
    let root = state_root();
    let events = Events::default();
    let node = Node::builder().on_event(events.observer()).open(root.path()).unwrap();
    let counter = node.actor::<Counter>("visits").spawn().await.unwrap();
    let mut calls = Vec::new();
    for _ in 0..20 {
        calls.push(start(counter.increment(1)).await);
    }
    counter.stop().await.unwrap();
    for (expected, call) in (1..).zip(calls) {
        assert_eq!(call.await.unwrap(), expected);
    }
    assert!(matches!(counter.increment(1).await, Err(CallError::ActorStopped { .. })));
    let died =
        |kind: &EventKind| matches!(kind, EventKind::Died { exit, .. } if exit.code == Some(0));
    assert_eq!(events.count(died), 1, "it left by itself");

    let again = node.actor::<Counter>("visits").spawn().await.unwrap();
    assert_eq!(again.value().await.unwrap(), 20);
}

#[tokio::test]
async fn an_actor_without_handles_answers_what_was_sent_and_stops() {
    let root = state_root();
    let node = node(&root, Durability::Process);
    for expected in 1..=3 {
        let counter = node.actor::<Counter>("visits").spawn().await.unwrap();
        let call = start(counter.call::<_, u64, Never>(0, &(1u64,))).await;
        drop(counter);
        assert_eq!(call.await.unwrap(), expected);
    }
}

#[tokio::test]
async fn shutting_down_stops_all_and_frees_the_root() {
    let root = state_root();
    let first = node(&root, Durability::Process);
    let a = first.actor::<Counter>("a").spawn().await.unwrap();
    let b = first.actor::<Counter>("b").spawn().await.unwrap();
    let calls = (start(a.increment(1)).await, start(b.increment(2)).await);
    first.shutdown().await;
    assert_eq!((calls.0.await.unwrap(), calls.1.await.unwrap()), (1, 2));
    let error = first.actor::<Counter>("c").spawn().await.unwrap_err();
    assert!(matches!(error, SpawnError::NodeClosed { .. }), "{error}");
    let second = node(&root, Durability::Process);
    let b = second.actor::<Counter>("b").spawn().await.unwrap();
    assert_eq!(b.value().await.unwrap(), 2);
}

#[tokio::test]
async fn a_name_is_one_actor_at_a_time() {
    let node = Node::in_memory().unwrap();
    let first = node.actor::<Counter>("visits").spawn().await.unwrap();
    let error = node.actor::<Counter>("visits").spawn().await.unwrap_err();
    assert!(matches!(&error, SpawnError::NameInUse { name } if name == "visits"), "{error}");
    first.stop().await.unwrap();
    node.actor::<Counter>("visits").spawn().await.unwrap();
}

#[tokio::test]
async fn names_that_look_like_paths_stay_inside_the_root() {
    let root = state_root();
    let node = Node::builder().open(root.path().join("states")).unwrap();
    let odd = node.actor::<Counter>("../../odd\n/名").spawn().await.unwrap();
    assert_eq!(odd.increment(1).await.unwrap(), 1);
    assert_eq!(odd.name(), "../../odd\n/名");
    let entries = |dir| std::fs::read_dir(dir).unwrap().count();
    assert_eq!((entries(root.path()), entries(&root.path().join("states"))), (1, 2));
    let error = node.actor::<Counter>("").spawn().await.unwrap_err();
    assert!(matches!(error, SpawnError::BadName { .. }), "{error}");
}

#[tokio::test]
async fn a_durable_actor_needs_a_directory() {
    let error = Node::builder().durability(Durability::Process).in_memory().err().unwrap();
    assert!(matches!(error, NodeError::NoDirectory { .. }), "{error}");
    let node = Node::in_memory().unwrap();
    let builder = node.actor::<Counter>("visits").durability(Durability::Power);
    let error = builder.spawn().await.unwrap_err();
    assert!(matches!(error, SpawnError::NoDirectory { .. }), "{error}");
}

#[tokio::test]
async fn events_tell_the_story_in_order() {
    let root = state_root();
    let events = Events::default();
    let node = Node::builder().on_event(events.observer()).open(root.path()).unwrap();
    let counter = node.actor::<Counter>("visits").spawn().await.unwrap();
    counter.increment(1).await.unwrap();
    counter.kill().await.unwrap();
    counter.value().await.unwrap();
    counter.stop().await.unwrap();
    let expected = "Spawned Ready CallStarted CallFinished Killed Died Restarting Spawned Ready \
                    CallStarted CallFinished Died Stopped";
    assert_eq!(events.words().join(" "), expected);

    let all = events.all();
    assert!(all.is_sorted_by_key(|event| event.at_ns), "time goes forward");
    assert!(all.iter().all(|event| &*event.actor == "visits" && event.pid != 0));
    assert_eq!((all[0].incarnation, all[7].incarnation), (1, 2));
    let EventKind::CallFinished { run_started_ns, run_ended_ns, committed_ns, .. } = all[3].kind
    else {
        panic!("{:?}", all[3]);
    };
    let stamps = [Some(all[2].at_ns), run_started_ns, run_ended_ns, committed_ns];
    let stamps: Vec<u64> = stamps.into_iter().map(Option::unwrap).chain([all[3].at_ns]).collect();
    assert!(stamps.is_sorted(), "{stamps:?}");
    let EventKind::CallFinished { committed_ns, status, .. } = all[10].kind else {
        panic!("{:?}", all[10]);
    };
    assert_eq!((committed_ns, status), (None, CallStatus::Returned), "a read leaves no record");
}

/// Runs in a program of its own: opens the root, starts two actors, tells, and waits for ever.
#[test]
#[ignore = "a program that other tests start"]
fn a_program_with_two_actors() {
    let Some(root) = std::env::var_os("TEST_STATE_ROOT") else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let node = Node::open(root).unwrap();
        let a = node.actor::<Counter>("a").spawn().await.unwrap();
        let b = node.actor::<Counter>("b").spawn().await.unwrap();
        a.increment(1).await.unwrap();
        println!("\nactors: {} {}", a.pid(), b.pid());
        std::future::pending::<()>().await;
    });
}

/// The program, and the processes of its actors.
fn start_program(root: &std::path::Path) -> (Child, Vec<u32>) {
    let mut program = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_program_with_two_actors", "--ignored", "--nocapture"])
        .env("TEST_STATE_ROOT", root)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(program.stdout.take().unwrap());
    let line = output.lines().map(Result::unwrap).find(|line| line.starts_with("actors: "));
    let line = line.expect("the program tells its actors");
    let pids = line["actors: ".len()..].split(' ').map(|pid| pid.parse().unwrap()).collect();
    (program, pids)
}

#[tokio::test]
async fn no_actor_outlives_its_program_even_when_that_is_killed() {
    let root = state_root();
    let (mut program, pids) = start_program(root.path());
    let actors: Vec<OwnedFd> = pids.iter().map(|pid| watch(*pid)).collect();
    program.kill().unwrap();
    program.wait().unwrap();
    for actor in &actors {
        assert_ends(actor);
    }
    // And the state is there for the next program.
    let node = node(&root, Durability::Power);
    let a = node.actor::<Counter>("a").spawn().await.unwrap();
    assert_eq!(a.value().await.unwrap(), 1);
}

#[tokio::test]
async fn no_actor_outlives_its_program_even_when_it_is_busy() {
    let root = state_root();
    let (mut program, pids) = start_program(root.path());
    // A stopped process is as busy as can be: only the kernel's signal reaches it.
    let stopped = Pid::from_raw(pids[0].try_into().unwrap()).unwrap();
    rustix::process::kill_process(stopped, rustix::process::Signal::STOP).unwrap();
    let actor = watch(pids[0]);
    program.kill().unwrap();
    program.wait().unwrap();
    assert_ends(&actor);
}

#[test]
fn a_second_program_is_told_who_holds_the_root() {
    let root = state_root();
    let (mut program, _) = start_program(root.path());
    let error = Node::open(root.path()).err().unwrap();
    match &error {
        NodeError::InUse { holder, .. } => assert_eq!(*holder, program.id().to_string()),
        other => panic!("{other}"),
    }
    assert!(error.to_string().contains(&*root.path().to_string_lossy()), "{error}");
    program.kill().unwrap();
    program.wait().unwrap();
    Node::open(root.path()).unwrap();
}

#[test]
fn spawning_without_a_runtime_is_an_error() {
    let node = Node::in_memory().unwrap();
    let spawning = std::pin::pin!(node.actor::<Counter>("visits").spawn());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match spawning.poll(&mut context) {
        std::task::Poll::Ready(Err(SpawnError::NoRuntime { .. })) => {}
        _ => panic!("an error was expected"),
    }
}

#[test]
fn actors_end_with_their_runtime() {
    let node = Node::in_memory().unwrap();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let counter = first.block_on(async { node.actor::<Counter>("visits").spawn().await.unwrap() });
    let actor = watch(counter.pid());
    drop(first);
    assert_ends(&actor);
    let error = runtime().block_on(counter.increment(1)).unwrap_err();
    assert!(matches!(error, CallError::ActorStopped { .. }), "{error}");
}
