//! The worker process that is started ahead: who gets it, and what happens when it is not there,
//! or dies itself.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and tell")]

mod support;

use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use persistent_actor_runtime::{Durability, Event, EventKind, Node, worker_for_tests};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process, pidfd_open, waitid,
};
use support::{Counter, CounterHandle, Events, node, start, state_root};

worker_for_tests!();

/// How long a test waits for something before it fails.
const PATIENCE: Duration = Duration::from_secs(20);

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

/// Waits until a process stands by that is not this one.
async fn standby(node: &Node, but: Option<u32>) -> u32 {
    let begin = Instant::now();
    loop {
        match node.standby() {
            Some(pid) if Some(pid) != but => return pid,
            _ => tokio::time::sleep(Duration::from_millis(1)).await,
        }
        assert!(begin.elapsed() < PATIENCE, "no process stands by");
    }
}

async fn actor(node: &Node, name: &str) -> CounterHandle {
    let counter = node.actor::<Counter>(name).spawn().await.unwrap();
    assert_eq!(counter.increment(1).await.unwrap(), 1);
    counter
}

#[tokio::test]
async fn an_actor_that_is_killed_goes_on_in_the_process_that_stood_by() {
    for durability in [Durability::None, Durability::Process, Durability::Power] {
        let root = state_root();
        let node = node(&root, durability);
        let counter = actor(&node, "visits").await;
        let mut before = None;
        for round in 2..6 {
            let waiting = standby(&node, before).await;
            kill(counter.process().await.unwrap());
            let kept = if durability == Durability::None { 1 } else { round };
            assert_eq!(counter.increment(1).await.unwrap(), kept);
            assert_eq!(counter.process().await.unwrap(), waiting);
            assert_eq!(counter.incarnation(), round);
            before = Some(waiting);
        }
    }
}

#[tokio::test]
async fn the_process_that_stands_by_shows_the_name_of_the_actor_when_it_has_one() {
    let root = state_root();
    let node = node(&root, Durability::Process);
    let counter = actor(&node, "visits").await;
    // In a test, a worker is not the first thread of its process.
    let names = |pid: u32| {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let name = |task: std::path::PathBuf| std::fs::read_to_string(task.join("comm")).unwrap();
        tasks.map(|task| name(task.unwrap().path())).collect::<Vec<_>>()
    };
    let waiting = standby(&node, None).await;
    assert!(!names(waiting).contains(&"visits\n".to_owned()));
    counter.kill().await.unwrap();
    assert_eq!(counter.process().await.unwrap(), waiting);
    assert!(names(waiting).contains(&"visits\n".to_owned()));
}

#[tokio::test]
async fn one_that_was_killed_while_it_waited_is_not_used_and_replaced() {
    let root = state_root();
    let node = node(&root, Durability::Process);
    let counter = node.actor::<Counter>("visits").max_restarts(1).spawn().await.unwrap();
    counter.increment(1).await.unwrap();
    let waiting = standby(&node, None).await;
    let gone = watch(waiting);
    kill(waiting);
    assert_ends(&gone);
    counter.kill().await.unwrap();
    assert_eq!(counter.increment(1).await.unwrap(), 2, "that was the one restart");
    assert_ne!(counter.process().await.unwrap(), waiting);
    assert_eq!(counter.incarnation(), 2);
    standby(&node, Some(waiting)).await;
}

#[tokio::test]
async fn one_that_was_stopped_while_it_waited_is_not_used() {
    let root = state_root();
    let node = node(&root, Durability::Process);
    let counter = actor(&node, "visits").await;
    let waiting = standby(&node, None).await;
    let gone = watch(waiting);
    kill_process(id(waiting), Signal::STOP).unwrap();
    let stopped = WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT;
    waitid(WaitId::Pid(id(waiting)), stopped).unwrap();
    counter.kill().await.unwrap();
    assert_eq!(counter.increment(1).await.unwrap(), 2);
    assert_ne!(counter.process().await.unwrap(), waiting);
    assert_ends(&gone);
}

/// Kills the process whose id it holds in the moment in which it is given to an actor.
#[derive(Clone, Default)]
struct Assassin(Arc<Mutex<(Option<u32>, u32)>>);

impl Assassin {
    fn observer(&self) -> impl Fn(&Event) + Send + Sync + use<> {
        let this = self.0.clone();
        move |event| {
            let mut this = this.lock().unwrap();
            if matches!(event.kind, EventKind::Spawned) && this.0 == Some(event.pid) {
                kill(event.pid);
                this.1 += 1;
            }
        }
    }
}

#[tokio::test]
async fn one_that_is_killed_while_it_is_handed_over_costs_the_actor_nothing() {
    let root = state_root();
    let assassin = Assassin::default();
    let builder = Node::builder().durability(Durability::Process);
    let node = builder.on_event(assassin.observer()).open(root.path()).unwrap();
    const KILLS: u32 = 5;
    let builder = node.actor::<Counter>("visits").max_restarts(KILLS).max_task_retries(0);
    let counter = builder.spawn().await.unwrap();
    counter.increment(1).await.unwrap();
    let mut before = None;
    for kills in 1..=KILLS {
        let waiting = standby(&node, before).await;
        assassin.0.lock().unwrap().0 = Some(waiting);
        counter.kill().await.unwrap();
        assert_eq!(counter.increment(1).await.unwrap(), u64::from(kills) + 1);
        assert_ne!(counter.process().await.unwrap(), waiting);
        assert_eq!(assassin.0.lock().unwrap().1, kills, "it was killed");
        before = Some(waiting);
    }
    counter.kill().await.unwrap();
    counter.increment(1).await.expect_err("all restarts are used up");
}

#[tokio::test]
async fn an_actor_that_cannot_load_its_state_says_so_from_the_process_that_stood_by() {
    let root = state_root();
    let node = node(&root, Durability::Process);
    let counter = actor(&node, "visits").await;
    let waiting = standby(&node, None).await;
    let state = root.path().join("visits");
    for file in std::fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path()) {
        if file.file_name().unwrap().to_str().unwrap().starts_with("journal") {
            std::fs::write(&file, b"something else").unwrap();
        }
    }
    counter.kill().await.unwrap();
    let error = counter.increment(1).await.unwrap_err().to_string();
    assert!(error.contains("journal"), "the file is named: {error}");
    assert_ends(&watch_if_there(waiting));
}

/// Like `watch`; for one that may be gone, a descriptor that tells so at once.
fn watch_if_there(pid: u32) -> OwnedFd {
    pidfd_open(id(pid), PidfdFlags::empty()).unwrap_or_else(|_| {
        let (gone, other) = std::os::unix::net::UnixStream::pair().unwrap();
        drop(other);
        gone.into()
    })
}

#[tokio::test]
async fn a_second_kill_right_after_the_first_starts_a_process_as_without_one() {
    let root = state_root();
    let events = Events::default();
    let builder = Node::builder().durability(Durability::Process);
    let node = builder.on_event(events.observer()).open(root.path()).unwrap();
    let counter = actor(&node, "visits").await;
    let waiting = standby(&node, None).await;
    counter.kill().await.unwrap();
    counter.kill().await.unwrap();
    assert_eq!(counter.increment(1).await.unwrap(), 2);
    assert_ne!(counter.process().await.unwrap(), waiting);
    assert_eq!(counter.incarnation(), 3);
    let spawned = events.all().into_iter().filter(|event| matches!(event.kind, EventKind::Spawned));
    let used = spawned.filter(|event| event.pid == waiting).count();
    assert_eq!(used, 1, "never for two");
}

#[tokio::test]
async fn of_many_actors_that_are_killed_at_once_one_gets_it_and_all_go_on() {
    let root = state_root();
    let node = node(&root, Durability::Process);
    let mut counters = Vec::new();
    for index in 0..12 {
        counters.push(actor(&node, &format!("visits-{index}")).await);
    }
    let waiting = standby(&node, None).await;
    counters.iter().for_each(|counter| kill(counter.pid()));
    let calls = counters.iter().map(|counter| support::start(counter.increment(1)));
    let mut started = Vec::new();
    for call in calls {
        started.push(call.await);
    }
    for call in started {
        assert_eq!(call.await.unwrap(), 2);
    }
    let holders = counters.iter().filter(|counter| counter.pid() == waiting).count();
    assert_eq!(holders, 1);
    let next = standby(&node, Some(waiting)).await;
    assert!(counters.iter().all(|counter| counter.pid() != next), "it waits for the next");
}

#[tokio::test]
async fn random_kills_of_actors_and_of_who_stands_by_lose_nothing_and_double_nothing() {
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
            let (actor, waiting) = (Some(counter.pid()), node.standby());
            let victims = match random.random_range(0..4) {
                0 => [actor, None],
                1 => [None, waiting],
                2 => [actor, waiting],
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
    let waiting = standby(&first, None).await;
    drop(first);
    assert!(!std::path::Path::new(&format!("/proc/{waiting}")).exists(), "not even a zombie");
    drop(counter);

    let second = node(&root, Durability::Process);
    let counter = second.actor::<Counter>("visits").spawn().await.unwrap();
    assert_eq!(counter.increment(1).await.unwrap(), 2);
    let waiting = standby(&second, None).await;
    second.shutdown().await;
    assert!(!std::path::Path::new(&format!("/proc/{waiting}")).exists(), "not even a zombie");
    assert_eq!(second.standby(), None);
}

/// Runs in a program of its own: has a process stand by, tells, and waits for ever.
#[test]
#[ignore = "a program that another test starts"]
fn a_program_with_a_process_that_stands_by() {
    let Some(root) = std::env::var_os("TEST_STATE_ROOT") else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let node = Node::open(root).unwrap();
        let _counter = actor(&node, "visits").await;
        println!("\nstandby: {}", standby(&node, None).await);
        std::future::pending::<()>().await;
    });
}

#[test]
fn it_does_not_outlive_a_program_that_is_killed() {
    let root = state_root();
    let mut program = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_program_with_a_process_that_stands_by", "--ignored", "--nocapture"])
        .env("TEST_STATE_ROOT", root.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(program.stdout.take().unwrap());
    let line = output.lines().map(Result::unwrap).find(|line| line.starts_with("standby: "));
    let waiting = watch(line.unwrap()["standby: ".len()..].parse().unwrap());
    program.kill().unwrap();
    program.wait().unwrap();
    assert_ends(&waiting);
}

#[tokio::test]
async fn another_stands_by_while_the_first_call_after_a_restart_is_still_running() {
    let root = state_root();
    let node = node(&root, Durability::Process);
    let counter = actor(&node, "visits").await;
    let waiting = standby(&node, None).await;
    let file = root.path().join("go-on");
    let call = start(counter.await_file(file.clone())).await;
    kill(counter.pid());
    let next = standby(&node, Some(waiting)).await;
    std::fs::write(&file, "").unwrap();
    assert_eq!(call.await.unwrap(), waiting);
    assert_ne!(next, waiting);
}

#[test]
fn one_that_was_to_be_started_on_a_runtime_that_ended_is_started_on_the_next() {
    let root = state_root();
    let node = node(&root, Durability::Process);
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // It ends before the node has found that no more actors are started.
    let first = runtime();
    first.block_on(actor(&node, "first"));
    drop(first);
    assert_eq!(node.standby(), None);
    runtime().block_on(async {
        let _second = actor(&node, "second").await;
        standby(&node, None).await;
    });
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
            standby(&node, None).await;
            counter.kill().await.unwrap();
            assert_eq!(counter.increment(1).await.unwrap(), 2);
            // Another is being started now, or stands by already.
            let pause = Duration::from_micros(random.random_range(0..1500));
            tokio::time::sleep(pause).await;
            node.shutdown().await;
            assert_eq!(children(), "", "after {pause:?}");
        });
    }
}

fn children() -> String {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    // A thread may end meanwhile.
    let of = |task: std::path::PathBuf| std::fs::read_to_string(task.join("children"));
    tasks.filter_map(|task| of(task.unwrap().path()).ok()).collect()
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
        assert_eq!(counter.process().await.unwrap(), counter.pid());
        assert_eq!(node.standby(), None);
    }
}
