//! Copies of workers, and the process that they are copies of.
#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses its part")]

use std::time::{Duration, Instant};

use persistent_actor_runtime::Node;

/// How long a test waits for something before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until there is a fork server that is not this one, and has come to `init`.
pub(crate) async fn server(node: &Node, but: Option<u32>) -> u32 {
    let begin = Instant::now();
    loop {
        match node.fork_server() {
            Some(pid) if Some(pid) != but && waits(pid) => return pid,
            _ => tokio::time::sleep(Duration::from_millis(1)).await,
        }
        assert!(begin.elapsed() < PATIENCE, "there is no fork server");
    }
}

/// Whether a thread of it has the name of one that waits.
fn waits(pid: u32) -> bool {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    let name = |task: std::path::PathBuf| std::fs::read_to_string(task.join("comm"));
    tasks.flatten().any(|task| name(task.path()).is_ok_and(|name| name == "fork-server\n"))
}

/// Whether a process was made by `fork` and has not come to another executable since: PF_FORKNOEXEC in
/// the ninth field of proc_pid_stat(5).
pub(crate) fn is_copy(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, from_third) = stat.rsplit_once(')').unwrap();
    let flags: u32 = from_third.split_whitespace().nth(6).unwrap().parse().unwrap();
    flags & 0x40 != 0
}

/// The ids of all children of this program.
pub(crate) fn children() -> String {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    // A thread may end meanwhile.
    let of = |task: std::path::PathBuf| std::fs::read_to_string(task.join("children"));
    tasks.filter_map(|task| of(task.unwrap().path()).ok()).collect()
}
