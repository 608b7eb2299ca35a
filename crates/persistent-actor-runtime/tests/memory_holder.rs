//! The process that keeps the memory of a large actor when its own dies.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and tell")]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use persistent_actor_runtime::{Bytes, Durability, Node, actor, safe_state, worker_for_tests};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open, waitpid};
use serde::{Deserialize, Serialize};
use support::{Counter, node, state_root};
use tokio::runtime::Runtime;

worker_for_tests!();

const LEN: usize = 6 << 20;
/// How long a test waits for something before it fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A user without any rights.
const NOBODY: libc::uid_t = 65534;

/// An array whose bytes are all the same.
#[derive(Serialize, Deserialize)]
struct Block {
    data: Bytes,
}

impl Default for Block {
    fn default() -> Self {
        Self { data: Bytes::build(LEN, |out| out.fill(0)) }
    }
}

#[actor]
impl Block {
    /// Adds to every byte.
    #[safe_state("data")]
    fn add(&mut self, other: Bytes) -> Bytes {
        self.data = Bytes::build(LEN, |out| {
            let sums = self.data.iter().zip(&other[..]).map(|(a, b)| a.wrapping_add(*b));
            out.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum);
        });
        self.data.clone()
    }

    fn data(&self) -> Bytes {
        self.data.clone()
    }

    fn process(&self) -> u32 {
        std::process::id()
    }

    /// Starts a program that has nothing to do with this one.
    fn start_program(&self) -> u32 {
        Command::new("sleep").arg("100").stdin(Stdio::null()).spawn().unwrap().id()
    }
}

fn filled(value: u8) -> Bytes {
    Bytes::build(LEN, |out| out.fill(value))
}

fn filled_with(bytes: &Bytes) -> Option<u8> {
    let first = *bytes.first()?;
    (bytes.len() == LEN && bytes.iter().all(|byte| *byte == first)).then_some(first)
}

fn id(pid: u32) -> Pid {
    Pid::from_raw(pid.try_into().unwrap()).unwrap()
}

fn kill(pid: u32) {
    kill_process(id(pid), Signal::KILL).unwrap();
}

/// This worker and what it has started, also what is dead and not waited for: they are in its
/// process group. Ids and names.
fn group_of(worker: u32) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap() {
        let Ok(pid) = entry.unwrap().file_name().to_string_lossy().parse::<u32>() else { continue };
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let Some((start, rest)) = stat.rsplit_once(") ") else { continue };
        let group = rest.split(' ').nth(2).unwrap();
        if group.parse() == Ok(worker) {
            let (_, name) = start.split_once('(').unwrap();
            found.push((pid, name.to_owned()));
        }
    }
    found
}

/// The holders of the memory of this worker, also dead ones.
fn holders_of(worker: u32) -> Vec<u32> {
    let group = group_of(worker).into_iter();
    group.filter(|(_, name)| name == "actor-memory").map(|(pid, _)| pid).collect()
}

/// Like [`holder_of`]; nothing else of this program runs on this thread meanwhile.
fn holder_of_while_busy(worker: u32) -> u32 {
    let begin = Instant::now();
    loop {
        if let [holder] = holders_of(worker)[..] {
            return holder;
        }
        assert!(begin.elapsed() < PATIENCE, "nobody holds the memory");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The holder of the memory of an actor that has answered a large call.
async fn holder_of(worker: u32) -> u32 {
    let begin = Instant::now();
    loop {
        if let [holder] = holders_of(worker)[..] {
            return holder;
        }
        assert!(begin.elapsed() < PATIENCE, "nobody holds the memory");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn wait_until_gone(holder: u32) {
    let begin = Instant::now();
    while std::path::Path::new(&format!("/proc/{holder}")).exists() {
        assert!(begin.elapsed() < PATIENCE, "it is still there, if only as a zombie");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A holder closes all that it got from its worker.
async fn wait_until_only_its_program_is_open(holder: u32) {
    let begin = Instant::now();
    loop {
        let entries = std::fs::read_dir(format!("/proc/{holder}/fd")).unwrap();
        let links = entries.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
        let open: Vec<_> = links.map(|link| link.display().to_string()).collect();
        if matches!(&open[..], [one] if one.contains("pidfd")) {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "open: {open:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

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

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
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
