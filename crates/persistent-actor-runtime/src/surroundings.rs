//! [`Surroundings`]: what a process inherits from the thread that starts it.

use std::ffi::{OsString, c_int};
use std::fs::File;
use std::io::{self, Read};

use rustix::fs::{Stat, fstat, stat};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getpriority_process, getrlimit};
use rustix::stdio::{stderr, stdout};

/// What the kernel shows of a thread and its children inherit (proc_pid_status(5)).
const INHERITED: [&str; 15] = [
    "Umask",
    "Uid",
    "Gid",
    "Groups",
    "SigIgn",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
    "Seccomp_filters",
    "Cpus_allowed",
    "Mems_allowed",
];

/// What a process inherits that is started now: what programs change now and then, not all there
/// is (descriptors without the flag CLOEXEC, the priority of input and output, and memory policy
/// are missing). A process that was started ahead, or a copy of it, takes the place of a new one only
/// while this is what it was.
///
/// Namespaces need no look: only a thread itself can change its own, and the one that starts workers
/// does not.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Surroundings {
    environment: Vec<(OsString, OsString)>,
    /// The root and the working directory, and where standard output and error lead.
    places: [Place; 4],
    thread: Vec<String>,
    priority: i32,
    /// Policy and real-time priority.
    scheduling: (c_int, c_int),
    limits: [Rlimit; LIMITS.len()],
    oom_score: String,
    cgroup: String,
}

/// All that Linux knows.
const LIMITS: [Resource; 16] = [
    Resource::As,
    Resource::Core,
    Resource::Cpu,
    Resource::Data,
    Resource::Fsize,
    Resource::Locks,
    Resource::Memlock,
    Resource::Msgqueue,
    Resource::Nice,
    Resource::Nofile,
    Resource::Nproc,
    Resource::Rss,
    Resource::Rtprio,
    Resource::Rttime,
    Resource::Sigpending,
    Resource::Stack,
];

/// A file, whatever its name is.
#[derive(Debug, Default, PartialEq, Eq)]
struct Place {
    device: u64,
    inode: u64,
    /// Which device it is, if it is one.
    kind: u64,
}

impl Place {
    fn new(file: rustix::io::Result<Stat>) -> io::Result<Self> {
        match file {
            Ok(file) => Ok(Self { device: file.st_dev, inode: file.st_ino, kind: file.st_rdev }),
            // Closed: so it is for a new process.
            Err(Errno::BADF) => Ok(Self::default()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Surroundings {
    /// Those of a process that this thread starts now.
    ///
    /// # Errors
    /// What the system says, as where there is no `/proc`. Then nothing can be said.
    pub(crate) fn of_this_thread() -> io::Result<Self> {
        let status = read_short("/proc/thread-self/status")?;
        let is_inherited =
            |line: &&str| line.split_once(':').is_some_and(|(name, _)| INHERITED.contains(&name));
        Ok(Self {
            environment: std::env::vars_os().collect(),
            places: [
                Place::new(stat("/"))?,
                Place::new(stat("."))?,
                Place::new(fstat(stdout()))?,
                Place::new(fstat(stderr()))?,
            ],
            thread: status.lines().filter(is_inherited).map(str::to_owned).collect(),
            priority: getpriority_process(None)?,
            scheduling: scheduling()?,
            limits: LIMITS.map(getrlimit),
            oom_score: read_short("/proc/self/oom_score_adj")?,
            // Not every system has control groups.
            cgroup: read_short("/proc/self/cgroup").unwrap_or_default(),
        })
    }
}

/// Those of this thread.
fn scheduling() -> io::Result<(c_int, c_int)> {
    // SAFETY: all of it is numbers, for which 0 is valid.
    let mut parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    // SAFETY: 0 stands for this thread; `parameters` is valid for writing.
    let (policy, failed) =
        unsafe { (libc::sched_getscheduler(0), libc::sched_getparam(0, &raw mut parameters)) };
    if policy < 0 || failed != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((policy, parameters.sched_priority))
}

/// Reads what the kernel tells in less than a page, as it does here. (`read_to_string` asks for it
/// in nine pieces; somebody waits for this.)
fn read_short(path: &str) -> io::Result<String> {
    let mut text = vec![0; 8192];
    let len = File::open(path)?.read(&mut text)?;
    text.truncate(len);
    String::from_utf8(text).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use rustix::process::setrlimit;

    use super::*;

    fn now() -> Surroundings {
        Surroundings::of_this_thread().unwrap()
    }

    #[test]
    fn a_limit_that_is_lowered_is_noticed() {
        let before = now();
        assert_eq!(before, now(), "nothing has changed");
        // Linux 5.9 tells the number of filters.
        let is_number = |line: &&String| line.starts_with("Seccomp_filters:");
        let others = before.thread.len() - before.thread.iter().filter(is_number).count();
        assert_eq!(others, INHERITED.len() - 1, "{:?}", before.thread);
        let whole = getrlimit(Resource::Core);
        let lower = Rlimit { current: Some(4096), ..whole };
        setrlimit(Resource::Core, lower).unwrap();
        assert_ne!(before, now());
        setrlimit(Resource::Core, whole).unwrap();
        assert_eq!(before, now(), "as it was");
    }
}
