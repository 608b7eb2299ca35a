//! Ending what a killed driver leaves: Ray's own processes.
//!
//! This process is made the one that inherits orphans below it (`PR_SET_CHILD_SUBREAPER`): when a
//! process dies, its children become ours. A child that was not waited for keeps its number, so
//! none but ours can be killed by mistake.

use std::fs;
use std::io;

use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid,
};

/// How often children are looked for; each time, a generation is gone.
const MAX_GENERATIONS: u32 = 1000;

/// From now on, orphans below this process become its children.
///
/// # Errors
/// What the system said.
pub fn inherit() -> io::Result<()> {
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// Kills all children of this process, and theirs, and waits until they are gone.
pub fn end_all() {
    for _ in 0..MAX_GENERATIONS {
        let children = children();
        if children.is_empty() {
            return;
        }
        for &child in &children {
            // It may have ended by itself.
            let _ = kill_process(child, Signal::KILL);
        }
        for child in children {
            let _ = waitpid(Some(child), WaitOptions::empty());
        }
    }
}

/// The children of this process, those that have ended and were not waited for included.
fn children() -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|&pid| parent(pid) == Some(getpid())).filter_map(Pid::from_raw).collect()
}

/// The parent as proc_pid_stat(5) gives it: the second field after the name, which is in
/// parentheses and may contain any.
fn parent(pid: i32) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?;
    Pid::from_raw(parent.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_of_a_process_is_read_from_the_system() {
        let pid = getpid().as_raw_nonzero().get();
        assert_eq!(parent(pid), rustix::process::getppid());
        assert_eq!(parent(i32::MAX), None);
    }
}
