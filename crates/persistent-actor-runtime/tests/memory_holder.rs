//! The process that keeps the memory of a large actor when its own dies.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and tell")]

#[path = "support/held.rs"]
mod held;
mod support;

use std::process::Command;
use std::time::Duration;

use held::*;
use persistent_actor_runtime::{Durability, Node, worker_for_tests};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};
use support::{Counter, node, state_root};

worker_for_tests!();

#[tokio::test]
async fn the_memory_of_a_large_actor_is_held_until_its_successor_serves() {
    for durability in [Durability::None, Durability::Process, Durability::Power] {
        let root = state_root();
        let node = node(&root, durability);
        let block = node.actor::<Block>("block").spawn().await.unwrap();
        let mut expected = 0;
        for _ in 0..4 {
            let reply = block.add(filled(3)).await.unwrap();
            expected += 3;
            assert_eq!(filled_with(&reply), Some(expected));
            let worker = block.process().await.unwrap();
            let holder = holder_of(worker).await;
            wait_until_only_its_program_is_open(holder).await;
            kill(worker);
            let kept = block.data().await.unwrap();
            if durability == Durability::None {
                expected = 0;
            }
            assert_eq!(filled_with(&kept), Some(expected));
            assert_ne!(block.process().await.unwrap(), worker);
            wait_until_gone(holder).await;
            assert_eq!(filled_with(&reply), Some(if expected == 0 { 3 } else { expected }));
        }
    }
}

#[tokio::test]
async fn an_actor_goes_on_when_the_holder_of_its_memory_is_killed() {
    let root = state_root();
    let node = node(&root, Durability::Process);
    let block = node.actor::<Block>("block").spawn().await.unwrap();
    block.add(filled(1)).await.unwrap();
    let worker = block.process().await.unwrap();
    let holder = holder_of(worker).await;
    kill(holder);
    assert_eq!(filled_with(&block.add(filled(1)).await.unwrap()), Some(2));
    assert_eq!(block.process().await.unwrap(), worker);
    block.kill().await.unwrap();
    assert_eq!(filled_with(&block.add(filled(1)).await.unwrap()), Some(3));
    wait_until_gone(holder).await;
}

#[tokio::test]
async fn small_actors_have_none_and_nobody_has_if_it_is_not_wanted() {
    let root = state_root();
    let first = node(&root, Durability::Process);
    let counter = first.actor::<Counter>("visits").spawn().await.unwrap();
    for expected in 1..5 {
        assert_eq!(counter.increment(1).await.unwrap(), expected);
    }
    // A holder is started before the next call is taken.
    assert_eq!(holders_of(counter.process().await.unwrap()), []);
    drop((first, counter));
    let builder = Node::builder().durability(Durability::Process).fast_restart(false);
    let second = builder.open(root.path()).unwrap();
    let block = second.actor::<Block>("block").spawn().await.unwrap();
    for _ in 0..5 {
        block.add(filled(1)).await.unwrap();
    }
    assert_eq!(holders_of(block.process().await.unwrap()), []);
}

/// Runs in a program of its own: a system without a system call that is needed for a holder.
#[test]
#[ignore = "a program that another test starts"]
fn a_program_without_a_system_call() {
    let Some(number) = std::env::var_os("TEST_WITHOUT") else { return };
    refuse(number.into_string().unwrap().parse().unwrap());
    runtime().block_on(async {
        let node = Node::builder().durability(Durability::None).in_memory().unwrap();
        let block = node.actor::<Block>("block").spawn().await.unwrap();
        for _ in 0..3 {
            for expected in 1..4 {
                assert_eq!(filled_with(&block.add(filled(1)).await.unwrap()), Some(expected));
            }
            let worker = block.process().await.unwrap();
            let group: Vec<u32> = group_of(worker).into_iter().map(|(pid, _)| pid).collect();
            assert_eq!(group, [worker], "nobody else, not even a zombie");
            block.kill().await.unwrap();
        }
        node.shutdown().await;
    });
    println!("\nall done");
}

/// From now on the kernel says to this thread, and to what it starts, that it does not know this
/// system call.
fn refuse(number: u32) {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let mut filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        libc::sock_filter {
            jf: 1,
            ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, number)
        },
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: `program` describes `filter`, and both live until the kernel has copied them.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let mode = libc::SECCOMP_MODE_FILTER;
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program, 0, 0), 0);
    }
}

#[test]
fn an_actor_serves_without_a_holder_where_the_system_lacks_what_it_takes() {
    for number in [libc::SYS_close_range, libc::SYS_pidfd_open] {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_program_without_a_system_call", "--ignored", "--nocapture"])
            .env("TEST_WITHOUT", number.to_string())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "system call {number}: {said}{errors}");
        assert!(said.contains("all done"), "system call {number}: {said}{errors}");
    }
}

#[tokio::test]
async fn random_kills_of_a_large_actor_lose_nothing_double_nothing_and_leave_nobody() {
    let seed = std::env::var("KILL_SEED").map_or_else(|_| rand::random(), |s| s.parse().unwrap());
    println!("KILL_SEED={seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    for durability in [Durability::Process, Durability::Power] {
        let root = state_root();
        let node = node(&root, durability);
        let block = node.actor::<Block>("block").spawn().await.unwrap();
        let mut workers = vec![block.process().await.unwrap()];
        let (mut expected, mut last) = (0u8, block.data().await.unwrap());
        for _ in 0..40 {
            let call = support::start(block.add(filled(7))).await;
            if random.random_range(0..3) > 0 {
                let pause = Duration::from_micros(random.random_range(0..6000));
                tokio::time::sleep(pause).await;
                if let Some(worker) = Pid::from_raw(block.pid().cast_signed()) {
                    workers.push(worker.as_raw_nonzero().get().cast_unsigned());
                    // It may have died of the last kill.
                    let _ = kill_process(worker, Signal::KILL);
                }
            }
            let reply = call.await.unwrap();
            assert_eq!(filled_with(&last), Some(expected), "what was answered stays what it was");
            expected = expected.wrapping_add(7);
            assert_eq!(filled_with(&reply), Some(expected));
            last = reply;
        }
        node.shutdown().await;
        for worker in workers {
            for holder in holders_of(worker) {
                wait_until_gone(holder).await;
            }
        }
    }
}
