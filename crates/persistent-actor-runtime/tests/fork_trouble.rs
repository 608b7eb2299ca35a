//! When the fork server hangs, or its copies die, or the program has changed since: nobody waits for
//! ever, nobody else is hit, and nothing is left.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and tell")]

#[path = "support/copies.rs"]
mod copies;
mod support;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use copies::{PATIENCE, children, is_copy, server};
use persistent_actor_runtime::{__private, Durability, EventKind, Node};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};
use support::{Counter, start};

__private::inventory::submit! {
    __private::TestWorker::new(concat!(module_path!(), "::persistent_actor_worker"))
}

/// What a worker does before it comes to the worker's branch.
const BEFORE: &str = "TEST_DOES_BEFORE";

/// What takes its time takes this.
const SLOW: Duration = Duration::from_millis(200);

/// A user without any rights.
const NOBODY: libc::uid_t = 65534;

#[test]
fn persistent_actor_worker() {
    match std::env::var(BEFORE).as_deref() {
        Ok("slow-thread") => {
            std::thread::sleep(SLOW);
            std::thread::spawn(|| {
                loop {
                    std::thread::park()
                }
            });
        }
        // The fork server alone hangs.
        Ok("hang") if std::env::var("PERSISTENT_ACTOR_INHERITED").is_ok() => loop {
            std::thread::park();
        },
        _ => {}
    }
    __private::take_worker_branch();
}

fn memory() -> Node {
    Node::builder().durability(Durability::None).in_memory().unwrap()
}

fn block_on(program: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(program);
}

/// An ignored test of this file as a program of its own.
fn program(test: &str, before: &str) -> Command {
    let mut program = Command::new(std::env::current_exe().unwrap());
    program.args(["--exact", test, "--ignored", "--nocapture"]).env(BEFORE, before);
    program
}

fn assert_runs(test: &str, before: &str) {
    let output = program(test, before).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{why}");
}

#[test]
#[ignore = "a program that another test starts"]
fn a_program_that_starts_many() {
    block_on(async {
        let (node, begin) = (memory(), Instant::now());
        let mut starting = Vec::new();
        for number in 0..20 {
            let actor = node.actor::<Counter>(number.to_string());
            starting.push(start(actor.spawn()).await);
        }
        let mut actors = Vec::new();
        for actor in starting {
            actors.push(actor.await.unwrap());
        }
        assert!(begin.elapsed() < 20 * SLOW / 2, "one after the other: {:?}", begin.elapsed());
        for actor in &actors {
            kill_process(Pid::from_raw(actor.pid().cast_signed()).unwrap(), Signal::KILL).unwrap();
        }
        for actor in &actors {
            assert_eq!(actor.increment(1).await.unwrap(), 1);
        }
    });
}

#[test]
fn workers_that_cannot_be_copied_are_started_beside_each_other() {
    assert_runs("a_program_that_starts_many", "slow-thread");
}

#[test]
#[ignore = "a program that another test starts"]
fn a_program_whose_server_hangs() {
    block_on(async {
        let (one, two) = (memory(), memory());
        let mut actors = Vec::new();
        for name in ["a", "b", "c"] {
            for node in [&one, &two] {
                let actor = node.actor::<Counter>(name).spawn();
                actors.push(tokio::time::timeout(PATIENCE, actor).await.unwrap().unwrap());
            }
        }
        for actor in &actors {
            actor.kill().await.unwrap();
            let again = tokio::time::timeout(PATIENCE, actor.increment(1));
            assert_eq!(again.await.unwrap().unwrap(), 1);
        }
        one.shutdown().await;
        drop(two);
        assert_eq!(children(), "");
    });
}

#[test]
fn nobody_waits_for_a_server_that_hangs() {
    assert_runs("a_program_whose_server_hangs", "hang");
}

#[test]
#[ignore = "a program that another test starts"]
fn a_program_that_becomes_another_user() {
    block_on(async {
        let node = memory();
        let first = node.actor::<Counter>("first").spawn().await.unwrap();
        server(&node, None).await;
        // SAFETY: changes only what this program may do.
        assert_eq!(unsafe { libc::setuid(NOBODY) }, 0);
        let second = node.actor::<Counter>("second").spawn().await.unwrap();
        assert!(!is_copy(second.pid()), "a copy would be the user that this program was");
        assert_eq!(second.increment(1).await.unwrap(), 1);
        first.stop().await.unwrap();
        node.shutdown().await;
        assert_eq!(children(), "", "not even a zombie");
    });
}

#[test]
fn a_program_that_has_become_another_user_has_no_copies_of_who_it_was_and_leaves_nothing() {
    if rustix::process::getuid().is_root() {
        assert_runs("a_program_that_becomes_another_user", "");
    } else {
        println!("only root can become another user");
    }
}

#[tokio::test]
async fn a_copy_that_dies_before_it_has_loaded_its_state_is_no_restart() {
    let kills = Arc::new(Mutex::new((false, 0)));
    let seen = kills.clone();
    let builder = Node::builder().durability(Durability::None).on_event(move |event| {
        let mut seen = seen.lock().unwrap();
        if matches!(event.kind, EventKind::Spawned) && seen.0 {
            kill_process(Pid::from_raw(event.pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
            *seen = (false, seen.1 + 1);
        }
    });
    let node = builder.in_memory().unwrap();
    let actor = node.actor::<Counter>("actor").max_restarts(1).spawn().await.unwrap();
    server(&node, None).await;
    kills.lock().unwrap().0 = true;
    actor.kill().await.unwrap();
    assert_eq!(actor.increment(1).await.unwrap(), 1);
    assert_eq!(*kills.lock().unwrap(), (false, 1));
    assert!(!is_copy(actor.process().await.unwrap()), "the next is a new process");
}

#[test]
#[ignore = "a program that another test starts"]
fn a_program_without_descriptors() {
    block_on(async {
        let node = memory();
        let _first = node.actor::<Counter>("first").spawn().await.unwrap();
        server(&node, None).await;
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
        let all: Vec<_> =
            std::iter::from_fn(|| rustix::io::dup(rustix::stdio::stderr()).ok()).collect();
        let started = node.actor::<Counter>("second").spawn().await;
        drop(all);
        if let Ok(second) = started {
            let status = std::fs::read_to_string(format!("/proc/{}/status", second.pid())).unwrap();
            assert!(status.contains("Umask:\t0077"), "{status}");
        }
        let third = node.actor::<Counter>("third").spawn().await.unwrap();
        assert_eq!(third.increment(1).await.unwrap(), 1);
    });
}

#[test]
fn without_descriptors_there_is_no_worker_of_other_surroundings() {
    assert_runs("a_program_without_descriptors", "");
}

#[test]
#[ignore = "a program that another test starts"]
fn a_program_whose_children_are_reaped_by_the_system() {
    // SAFETY: nothing in this program waits for children but the engine.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    block_on(async {
        let node = memory();
        let _first = node.actor::<Counter>("first").spawn().await.unwrap();
        let server = server(&node, None).await;
        kill_process(Pid::from_raw(server.cast_signed()).unwrap(), Signal::KILL).unwrap();
        while std::path::Path::new(&format!("/proc/{server}")).exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
        println!("\nserver: {server}");
        std::io::stdin().read_line(&mut String::new()).unwrap();
        let second = node.actor::<Counter>("second").spawn().await.unwrap();
        assert_eq!(second.increment(1).await.unwrap(), 1);
        println!("\nit runs");
        std::io::stdin().read_line(&mut String::new()).unwrap();
    });
}

/// A process of this number, which leads a group of its own, if that can be had.
fn process_numbered(number: u32) -> Option<Child> {
    for _ in 0..50 {
        std::fs::write("/proc/sys/kernel/ns_last_pid", (number - 1).to_string()).ok()?;
        let mut process = Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
        if process.id() == number {
            return Some(process);
        }
        process.kill().unwrap();
        process.wait().unwrap();
    }
    None
}

#[test]
fn a_process_that_has_got_the_number_of_a_dead_server_is_not_killed() {
    let mut program = program("a_program_whose_children_are_reaped_by_the_system", "")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines().map(Result::unwrap);
    let line = lines.find(|line| line.starts_with("server: ")).unwrap();
    let other = process_numbered(line["server: ".len()..].parse().unwrap());
    program.stdin.as_mut().unwrap().write_all(b"go on\n").unwrap();
    assert!(lines.any(|line| line == "it runs"));
    match other {
        Some(mut other) => {
            assert!(other.try_wait().unwrap().is_none(), "somebody else's process was killed");
            other.kill().unwrap();
            other.wait().unwrap();
        }
        None => println!("nobody can have the number again (root can give it)"),
    }
    program.kill().unwrap();
    program.wait().unwrap();
}

#[test]
#[ignore = "a program that another test starts"]
fn a_program_whose_servers_are_killed() {
    const SEED: u64 = 11;
    println!("seed {SEED}");
    let mut random = SmallRng::seed_from_u64(SEED);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for round in 0..100 {
        let node = memory();
        runtime.block_on(async {
            let _first = node.actor::<Counter>("first").spawn().await.unwrap();
            let server = server(&node, None).await;
            let mut starting = Vec::new();
            for number in 0..random.random_range(1..6) {
                let actor = node.actor::<Counter>(number.to_string());
                starting.push(start(actor.spawn()).await);
            }
            let moment = Instant::now() + Duration::from_micros(random.random_range(0..1500));
            while Instant::now() < moment {
                std::hint::spin_loop();
            }
            let signal = [Signal::KILL, Signal::STOP, Signal::TERM][random.random_range(0..3)];
            // It may have been another's server by now, and have died with it.
            let _ = kill_process(Pid::from_raw(server.cast_signed()).unwrap(), signal);
            if random.random_range(0..2) == 0 {
                for actor in starting {
                    let actor = actor.await.unwrap();
                    assert_eq!(actor.increment(1).await.unwrap(), 1);
                }
            }
            node.shutdown().await;
            assert_eq!(children(), "", "round {round}");
        });
    }
}

#[test]
fn nothing_is_left_of_a_server_that_dies_at_any_moment_nor_of_its_copies() {
    assert_runs("a_program_whose_servers_are_killed", "");
}

/// Copies that are busy, so that they do not see the end of their connection.
#[test]
#[ignore = "a program that another test starts"]
fn a_program_whose_actors_are_busy() {
    block_on(async {
        let node = memory();
        let mut busy = Vec::new();
        for number in 0.. {
            let actor = node.actor::<Counter>(number.to_string()).spawn().await.unwrap();
            busy.push(
                start(async move { actor.await_file("/nowhere".into()).await.map(drop) }).await,
            );
            println!("\nbusy: {number}");
            if number == 40 {
                std::future::pending().await
            }
        }
    });
}

#[test]
fn no_copy_outlives_its_program() {
    for round in 0..12_usize {
        let mut program = program("a_program_whose_actors_are_busy", "");
        let mut program = program.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(program.stdout.take().unwrap()).lines().map(Result::unwrap);
        let last = format!("busy: {}", round * 3);
        assert!(lines.any(|line| line == last));
        program.kill().unwrap();
        program.wait().unwrap();
        let variable = format!("PERSISTENT_ACTOR_WORKER={}\0", program.id());
        let is_left = || {
            std::fs::read_dir("/proc").unwrap().any(|entry| {
                let environment = std::fs::read(entry.unwrap().path().join("environ"));
                let environment = environment.unwrap_or_default();
                environment.windows(variable.len()).any(|window| window == variable.as_bytes())
            })
        };
        let begin = Instant::now();
        while is_left() {
            assert!(begin.elapsed() < PATIENCE, "round {round}: a worker is left");
        }
    }
}
