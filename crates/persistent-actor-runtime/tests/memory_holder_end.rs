//! The process that keeps the memory of a large actor goes when that or its program does.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and tell")]

#[path = "support/held.rs"]
mod held;
mod support;

use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use held::*;
use persistent_actor_runtime::{Durability, Node, worker_for_tests};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, WaitOptions, pidfd_open, waitpid};
use support::{node, state_root};

worker_for_tests!();

/// A user without any rights.
const NOBODY: libc::uid_t = 65534;

#[tokio::test]
async fn it_goes_with_its_actor_and_its_node() {
    let root = state_root();
    let first = node(&root, Durability::Process);
    let block = first.actor::<Block>("block").spawn().await.unwrap();
    block.add(filled(1)).await.unwrap();
    let holder = holder_of(block.process().await.unwrap()).await;
    block.stop().await.unwrap();
    wait_until_gone(holder).await;

    let block = first.actor::<Block>("block").spawn().await.unwrap();
    block.add(filled(1)).await.unwrap();
    let holder = holder_of(block.process().await.unwrap()).await;
    drop(first);
    assert!(!std::path::Path::new(&format!("/proc/{holder}")).exists(), "not even a zombie");
}

/// What a program that has its only thread busy has not heard of is ended all the same.
#[test]
fn nobody_is_left_of_an_actor_whose_holder_the_node_has_not_heard_of() {
    for node_goes_first in [true, false] {
        for _ in 0..10 {
            let runtime = runtime();
            let (node, block, worker) = runtime.block_on(async {
                let node = Node::builder().durability(Durability::None).in_memory().unwrap();
                let block = node.actor::<Block>("block").spawn().await.unwrap();
                block.add(filled(1)).await.unwrap();
                let worker = block.pid();
                holder_of_while_busy(worker);
                (node, block, worker)
            });
            if node_goes_first {
                drop(node);
            } else {
                drop(runtime);
            }
            assert_eq!(group_of(worker), [], "not even a zombie");
            drop(block);
        }
    }
}

#[test]
fn a_node_may_go_at_any_moment_of_the_start_of_a_holder() {
    let seed = std::env::var("DROP_SEED").map_or_else(|_| rand::random(), |s| s.parse().unwrap());
    println!("DROP_SEED={seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    for _ in 0..100 {
        runtime().block_on(async {
            let node = Node::builder().durability(Durability::None).in_memory().unwrap();
            let block = node.actor::<Block>("block").spawn().await.unwrap();
            block.add(filled(1)).await.unwrap();
            let worker = block.pid();
            std::thread::sleep(Duration::from_micros(random.random_range(0..600)));
            drop(node);
            assert_eq!(group_of(worker), [], "not even a zombie");
        });
    }
}

#[tokio::test]
async fn the_holder_of_a_worker_that_dies_before_the_node_has_heard_of_it_is_ended() {
    let root = state_root();
    let node = node(&root, Durability::Process);
    let block = node.actor::<Block>("block").spawn().await.unwrap();
    for expected in 1..5 {
        assert_eq!(filled_with(&block.add(filled(1)).await.unwrap()), Some(expected));
        let worker = block.pid();
        let holder = holder_of_while_busy(worker);
        kill(worker);
        // The node finds it out by sending, or by reading.
        assert_eq!(filled_with(&block.data().await.unwrap()), Some(expected));
        wait_until_gone(holder).await;
    }
}

#[tokio::test]
async fn the_holder_of_a_zombie_goes_with_it() {
    let root = state_root();
    let node = node(&root, Durability::Process);
    let block = node.actor::<Block>("block").spawn().await.unwrap();
    for expected in 1..5 {
        assert_eq!(filled_with(&block.add(filled(1)).await.unwrap()), Some(expected));
        holder_of_while_busy(block.pid());
        let zombie = block.supersede().await.unwrap();
        let worker = zombie.pid();
        assert_eq!(filled_with(&block.data().await.unwrap()), Some(expected));
        drop(zombie);
        assert_eq!(group_of(worker), [], "not even as a zombie of the other kind");
    }
}

#[tokio::test]
async fn what_the_actor_has_started_lives_on() {
    let node = Node::builder().durability(Durability::None).in_memory().unwrap();
    let block = node.actor::<Block>("block").spawn().await.unwrap();
    // This program gets the orphans.
    rustix::process::set_child_subreaper(true.then(rustix::process::getpid)).unwrap();
    let started = block.start_program().await.unwrap();
    block.add(filled(1)).await.unwrap();
    let worker = block.pid();
    holder_of_while_busy(worker);
    drop(node);
    assert_eq!(group_of(worker), [(started, "sleep".to_owned())]);
    kill(started);
    waitpid(Some(id(started)), WaitOptions::empty()).unwrap();
    rustix::process::set_child_subreaper(None).unwrap();
}

/// Runs in a program of its own: has the memory of an actor held, tells by whom, and when it gets a
/// line gives up its privileges and ends.
#[test]
#[ignore = "a program that another test starts"]
fn a_program_with_a_large_actor() {
    let Some(root) = std::env::var_os("TEST_STATE_ROOT") else { return };
    runtime().block_on(async {
        let node = Node::builder().durability(Durability::Process).open(root).unwrap();
        let block = node.actor::<Block>("block").spawn().await.unwrap();
        block.add(filled(1)).await.unwrap();
        println!("\nholder: {}", holder_of(block.process().await.unwrap()).await);
        let wants_to_end = std::io::stdin().read_line(&mut String::new()).unwrap() > 0;
        assert!(wants_to_end, "this program is killed before its input ends");
        // SAFETY: changes only who this program may do something to.
        assert_eq!(unsafe { libc::setresuid(NOBODY, NOBODY, NOBODY) }, 0);
        std::process::exit(0);
    });
}

/// That program, and the holder.
fn start_program_with_a_large_actor(root: &Path) -> (Child, OwnedFd) {
    let mut program = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_program_with_a_large_actor", "--ignored", "--nocapture"])
        .env("TEST_STATE_ROOT", root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(program.stdout.take().unwrap());
    let line = output.lines().map(Result::unwrap).find(|line| line.starts_with("holder: "));
    let holder: u32 = line.unwrap()["holder: ".len()..].parse().unwrap();
    (program, pidfd_open(id(holder), PidfdFlags::empty()).unwrap())
}

fn assert_ends(holder: &OwnedFd) {
    let mut descriptors = [PollFd::new(holder, PollFlags::IN)];
    let patience = Timespec { tv_sec: PATIENCE.as_secs().cast_signed(), tv_nsec: 0 };
    assert_eq!(poll(&mut descriptors, Some(&patience)).unwrap(), 1, "the process lives on");
}

#[test]
fn it_does_not_outlive_a_program_that_is_killed() {
    let root = state_root();
    let (mut program, holder) = start_program_with_a_large_actor(root.path());
    program.kill().unwrap();
    program.wait().unwrap();
    assert_ends(&holder);
}

#[test]
fn it_does_not_outlive_a_program_that_may_not_kill_it_any_more() {
    if !rustix::process::getuid().is_root() {
        println!("not tested: this needs privileges that a program can give up");
        return;
    }
    let root = state_root();
    let (mut program, holder) = start_program_with_a_large_actor(root.path());
    program.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert!(program.wait().unwrap().success());
    assert_ends(&holder);
}
