//! Who holds a state: the process that claimed it last, and whether it still runs.

use std::fs;

use serde::Serialize;

/// The process that claimed a state last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Holder {
    pub(crate) pid: u32,
    /// Whether it is still running.
    pub(crate) alive: bool,
}

impl Holder {
    /// Reads a claim: lines `pid N` and `start M`. `None` if it says nothing of the kind.
    pub(crate) fn from_claim(claim: &str) -> Option<Self> {
        let field = |name: &str| claim.lines().find_map(|line| line.strip_prefix(name));
        let pid: u32 = field("pid ")?.parse().ok()?;
        // Process ids are used again: it is the same process only if it started then.
        let start: Option<u64> = field("start ").and_then(|start| start.parse().ok());
        let alive = match (running_since(pid), start) {
            (Some(found), Some(start)) => found == start,
            (found, None) => found.is_some(),
            (None, _) => false,
        };
        Some(Self { pid, alive })
    }
}

/// When a process that runs has started, in clock ticks since boot; `None` for one that is gone
/// or is only waiting to be reaped.
fn running_since(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field, the program's name, may contain anything; the last ')' ends it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") { None } else { fields.nth(18)?.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_alive_only_if_it_started_when_the_claim_says() {
        let pid = std::process::id();
        let start = running_since(pid).unwrap();
        let claim = |start: u64| Holder::from_claim(&format!("pid {pid}\nstart {start}\n"));
        assert_eq!(claim(start), Some(Holder { pid, alive: true }));
        assert_eq!(claim(start + 1), Some(Holder { pid, alive: false }));
    }

    #[test]
    fn a_process_that_waits_to_be_reaped_is_not_alive() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let (pid, stat) = (child.id(), format!("/proc/{}/stat", child.id()));
        while !fs::read_to_string(&stat).unwrap().contains(") Z ") {
            std::thread::yield_now();
        }
        assert_eq!(running_since(pid), None);
        child.wait().unwrap();
        assert_eq!(running_since(pid), None);
    }

    #[test]
    fn a_claim_that_says_nothing_names_nobody() {
        assert_eq!(Holder::from_claim(""), None);
        assert_eq!(Holder::from_claim("pid x\n"), None);
    }
}
