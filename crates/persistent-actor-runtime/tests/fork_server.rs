//! The worker process that is started ahead and copied: what its copies are like, and what happens
//! when it is not there, or dies itself.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and tell")]

#[path = "support/copies.rs"]
mod copies;
mod support;

use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use copies::{PATIENCE, children, is_copy, server};
use persistent_actor_runtime::{Durability, Event, EventKind, Node, worker_for_tests};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, getpgid, kill_process, pidfd_open, waitid,
};
use support::{Counter, CounterHandle, node, start, state_root};

worker_for_tests!();

fn id(pid: u32) -> Pid {
    Pid::from_raw(pid.try_into().unwrap()).unwrap()
}

fn kill(pid: u32) {
    kill_process(id(pid), Signal::KILL).unwrap();
}

/// A process, to be watched even after its id was given to another.
fn watch(pid: u32) -> OwnedFd {
    pidfd_open(id(pid), PidfdFlags::empty()).unwrap()
}

fn assert_ends(process: &OwnedFd) {
    let mut descriptors = [PollFd::new(process, PollFlags::IN)];
    let patience = Timespec { tv_sec: PATIENCE.as_secs().cast_signed(), tv_nsec: 0 };
    assert_eq!(poll(&mut descriptors, Some(&patience)).unwrap(), 1, "the process lives on");
}

async fn actor(node: &Node, name: &str) -> CounterHandle {
    let counter = node.actor::<Counter>(name).spawn().await.unwrap();
    assert_eq!(counter.increment(1).await.unwrap(), 1);
    counter
}

#[tokio::test]
async fn an_actor_that_is_killed_goes_on_in_a_copy_of_the_server() {
    for durability in [Durability::None, Durability::Process, Durability::Power] {
        let root = state_root();
        let node = node(&root, durability);
        let counter = actor(&node, "visits").await;
        let server = server(&node, None).await;
        for round in 2..6 {
            kill(counter.process().await.unwrap());
            let kept = if durability == Durability::None { 1 } else { round };
            assert_eq!(counter.increment(1).await.unwrap(), kept);
            assert!(is_copy(counter.process().await.unwrap()));
            assert_eq!(counter.incarnation(), round);
        }
        assert_eq!(node.fork_server(), Some(server), "one serves all the time");
    }
}

#[tokio::test]
async fn all_actors_but_the_first_are_copies() {
    let root = state_root();
    let node = node(&root, Durability::Process);
    assert!(!is_copy(actor(&node, "first").await.pid()));
    server(&node, None).await;
    let mut starting = Vec::new();
    for index in 0..20 {
        starting.push(start(node.actor::<Counter>(format!("visits-{index}")).spawn()).await);
    }
    for actor in starting {
        let actor = actor.await.unwrap();
        assert_eq!(actor.increment(1).await.unwrap(), 1);
        assert!(is_copy(actor.pid()));
    }
}

#[tokio::test]
async fn a_copy_leads_a_process_group_and_knows_its_thread_and_has_an_actors_name() {
    let root = state_root();
    let node = node(&root, Durability::Process);
    let first = actor(&node, "first").await;
    server(&node, None).await;
    let second = actor(&node, "second").await;
    // A new process, and a copy, in which the C library, too, must know that it is another thread.
    for (actor, name) in [(&first, "first\n"), (&second, "second\n")] {
        let pid = actor.process().await.unwrap();
        assert_eq!(getpgid(Some(id(pid))).unwrap(), id(pid));
        let (known, thread) = actor.thread().await.unwrap();
        assert_eq!(known, thread);
        // In a test, a worker is not the first thread of a process that is new.
        let task = format!("/proc/{pid}/task/{thread}/comm");
        assert_eq!(std::fs::read_to_string(task).unwrap(), name);
    }
    assert!(is_copy(second.pid()) && !is_copy(first.pid()));
}

#[tokio::test]
async fn one_that_was_killed_is_not_used_and_replaced() {
    let root = state_root();
    let node = node(&root, Durability::Process);
    let counter = node.actor::<Counter>("visits").max_restarts(1).spawn().await.unwrap();
    counter.increment(1).await.unwrap();
    let first = server(&node, None).await;
    let gone = watch(first);
    kill(first);
    assert_ends(&gone);
    counter.kill().await.unwrap();
    assert_eq!(counter.increment(1).await.unwrap(), 2, "that was the one restart");
    assert!(!is_copy(counter.process().await.unwrap()));
    assert_eq!(counter.incarnation(), 2);
    server(&node, Some(first)).await;
}

#[tokio::test]
async fn one_that_was_stopped_is_not_used_and_ended() {
    let root = state_root();
    let node = node(&root, Durability::Process);
    let counter = actor(&node, "visits").await;
    let first = server(&node, None).await;
    let gone = watch(first);
    kill_process(id(first), Signal::STOP).unwrap();
    let stopped = WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT;
    waitid(WaitId::Pid(id(first)), stopped).unwrap();
    counter.kill().await.unwrap();
    assert_eq!(counter.increment(1).await.unwrap(), 2);
    assert!(!is_copy(counter.process().await.unwrap()));
    assert_ends(&gone);
}

/// When it is told to, kills the next copy in the moment in which it is given to an actor.
#[derive(Clone, Default)]
struct Assassin(Arc<Mutex<(bool, u32)>>);

impl Assassin {
    fn observer(&self) -> impl Fn(&Event) + Send + Sync + use<> {
        let this = self.0.clone();
        move |event| {
            let mut this = this.lock().unwrap();
            if matches!(event.kind, EventKind::Spawned) && this.0 && is_copy(event.pid) {
                kill(event.pid);
                *this = (false, this.1 + 1);
            }
        }
    }
}

#[tokio::test]
async fn after_a_copy_that_dies_before_it_has_loaded_its_state_comes_a_new_process() {
    let root = state_root();
    let assassin = Assassin::default();
    let builder = Node::builder().durability(Durability::Process);
    let node = builder.on_event(assassin.observer()).open(root.path()).unwrap();
    const KILLS: u32 = 5;
    let builder = node.actor::<Counter>("visits").max_restarts(2 * KILLS).max_task_retries(0);
    let counter = builder.spawn().await.unwrap();
    counter.increment(1).await.unwrap();
    server(&node, None).await;
    for kills in 1..=KILLS {
        *assassin.0.lock().unwrap() = (true, kills - 1);
        counter.kill().await.unwrap();
        assert_eq!(counter.increment(1).await.unwrap(), u64::from(kills) + 1);
        assert!(!is_copy(counter.process().await.unwrap()));
        assert_eq!(*assassin.0.lock().unwrap(), (false, kills), "the copy was killed");
        // And then a copy again.
        server(&node, None).await;
        counter.kill().await.unwrap();
        assert!(is_copy(counter.process().await.unwrap()));
    }
}

#[tokio::test]
async fn an_actor_that_cannot_load_its_state_says_so_from_a_copy() {
    let root = state_root();
    let node = node(&root, Durability::Process);
    let counter = actor(&node, "visits").await;
    server(&node, None).await;
    let state = root.path().join("visits");
    for file in std::fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path()) {
        if file.file_name().unwrap().to_str().unwrap().starts_with("journal") {
            std::fs::write(&file, b"something else").unwrap();
        }
    }
    counter.kill().await.unwrap();
    let error = counter.increment(1).await.unwrap_err().to_string();
    assert!(error.contains("journal"), "the file is named: {error}");
}

#[tokio::test]
async fn of_many_actors_that_are_killed_at_once_all_go_on_in_copies() {
    let root = state_root();
    let node = node(&root, Durability::Process);
    let mut counters = Vec::new();
    for index in 0..12 {
        counters.push(actor(&node, &format!("visits-{index}")).await);
    }
    let server = server(&node, None).await;
    counters.iter().for_each(|counter| kill(counter.pid()));
    let mut calls = Vec::new();
    for counter in &counters {
        calls.push(start(counter.increment(1)).await);
    }
    for call in calls {
        assert_eq!(call.await.unwrap(), 2);
    }
    assert!(counters.iter().all(|counter| is_copy(counter.pid())));
    assert_eq!(node.fork_server(), Some(server));
}

#[tokio::test]
async fn random_kills_of_actors_and_of_the_server_lose_nothing_and_double_nothing() {
    let seed = std::env::var("KILL_SEED").map_or_else(|_| rand::random(), |s| s.parse().unwrap());
    println!("KILL_SEED={seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let root = state_root();
    let node = node(&root, Durability::Process);
    let counters = [actor(&node, "a").await, actor(&node, "b").await];
    for n in 0..120 {
        for counter in &counters {
            let call = support::start(counter.count(0, n)).await;
            for _ in 0..random.random_range(0..40) {
                tokio::task::yield_now().await;
            }
            let (actor, server) = (Some(counter.pid()), node.fork_server());
            let victims = match random.random_range(0..4) {
                0 => [actor, None],
                1 => [None, server],
                2 => [actor, server],
                _ => [None, None],
            };
            // 0 stands for no process; and it may have died of the last kill.
            for pid in victims.into_iter().flatten().filter(|pid| *pid != 0) {
                let _ = kill_process(id(pid), Signal::KILL);
            }
            let (_, answered, count) = call.await.unwrap();
            assert_eq!((answered, count), (n, u64::from(n) + 2));
        }
    }
}

#[tokio::test]
async fn it_goes_with_its_node() {
    let root = state_root();
    let first = node(&root, Durability::Process);
    let counter = actor(&first, "visits").await;
    let waiting = server(&first, None).await;
    drop(first);
    assert!(!std::path::Path::new(&format!("/proc/{waiting}")).exists(), "not even a zombie");
    drop(counter);

    let second = node(&root, Durability::Process);
    let counter = second.actor::<Counter>("visits").spawn().await.unwrap();
    assert_eq!(counter.increment(1).await.unwrap(), 2);
    let waiting = server(&second, None).await;
    second.shutdown().await;
    assert!(!std::path::Path::new(&format!("/proc/{waiting}")).exists(), "not even a zombie");
    assert_eq!(second.fork_server(), None);
}

/// Runs in a program of its own: has a fork server, tells, and waits for ever.
#[test]
#[ignore = "a program that another test starts"]
fn a_program_with_a_fork_server() {
    let Some(root) = std::env::var_os("TEST_STATE_ROOT") else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let node = Node::open(root).unwrap();
        let _counter = actor(&node, "visits").await;
        println!("\nserver: {}", server(&node, None).await);
        std::future::pending::<()>().await;
    });
}

#[test]
fn it_does_not_outlive_a_program_that_is_killed() {
    let root = state_root();
    let mut program = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_program_with_a_fork_server", "--ignored", "--nocapture"])
        .env("TEST_STATE_ROOT", root.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(program.stdout.take().unwrap());
    let line = output.lines().map(Result::unwrap).find(|line| line.starts_with("server: "));
    let waiting = watch(line.unwrap()["server: ".len()..].parse().unwrap());
    program.kill().unwrap();
    program.wait().unwrap();
    assert_ends(&waiting);
}

/// Runs in a program of its own, whose children are those of its nodes alone.
#[test]
#[ignore = "a program that another test starts"]
fn a_program_that_shuts_nodes_down() {
    const SEED: u64 = 7;
    println!("seed {SEED}");
    let mut random = SmallRng::seed_from_u64(SEED);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for _ in 0..30 {
        let root = state_root();
        let node = node(&root, Durability::Process);
        runtime.block_on(async {
            let counter = actor(&node, "visits").await;
            server(&node, None).await;
            counter.kill().await.unwrap();
            assert_eq!(counter.increment(1).await.unwrap(), 2);
            // Another actor is being started now, or has been.
            let other = start(node.actor::<Counter>("other").spawn()).await;
            let pause = Duration::from_micros(random.random_range(0..1500));
            tokio::time::sleep(pause).await;
            node.shutdown().await;
            drop(other);
            assert_eq!(children(), "", "after {pause:?}");
        });
    }
}

#[test]
fn when_a_node_is_shut_down_all_its_processes_are_gone() {
    let program = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_program_that_shuts_nodes_down", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&program.stdout);
    assert!(program.status.success() && said.contains("seed 7"), "{said}");
}

#[tokio::test]
async fn there_is_none_if_none_is_wanted() {
    let root = state_root();
    let builder = Node::builder().durability(Durability::Process).fast_restart(false);
    let node = builder.open(root.path()).unwrap();
    let counter = actor(&node, "visits").await;
    for expected in 2..12 {
        counter.kill().await.unwrap();
        assert_eq!(counter.increment(1).await.unwrap(), expected);
        assert!(!is_copy(counter.process().await.unwrap()));
        assert_eq!(node.fork_server(), None);
    }
}
