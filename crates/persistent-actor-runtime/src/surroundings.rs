//! [`Surroundings`]: what a process inherits from the thread that starts it.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rustix::process::{Pid, getpriority_process};

/// What the kernel shows of a thread and its children inherit (proc_pid_status(5)).
const INHERITED: [&str; 14] = [
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
    "Cpus_allowed",
    "Mems_allowed",
];

/// Their names in proc_pid_ns(5).
const NAMESPACES: [&str; 8] =
    ["cgroup", "ipc", "mnt", "net", "pid_for_children", "time_for_children", "user", "uts"];

/// What a process inherits that is started now: what programs change now and then, not all there
/// is (descriptors without the flag CLOEXEC, the priority of input and output, and memory policy
/// are missing). A process that was started ahead takes the place
/// of a new one only while this is what it was.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Surroundings {
    environment: Vec<(OsString, OsString)>,
    /// The root and the working directory, and where standard output and error lead.
    places: [Place; 4],
    thread: Vec<String>,
    priority: i32,
    /// Policy and real-time priority.
    scheduling: Vec<String>,
    namespaces: Vec<Option<PathBuf>>,
    limits: String,
    oom_score: String,
    cgroup: String,
}

/// A file, whatever its name is.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    device: u64,
    inode: u64,
    /// Which device it is, if it is one.
    kind: u64,
}

impl Place {
    fn of(path: &str) -> io::Result<Self> {
        let place = |it: Metadata| Self { device: it.dev(), inode: it.ino(), kind: it.rdev() };
        match fs::metadata(path) {
            // Closed: so it is for a new process.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Self { device: 0, inode: 0, kind: 0 })
            }
            other => other.map(place),
        }
    }
}

impl Surroundings {
    /// Those of a process that this thread of this program starts now.
    ///
    /// # Errors
    /// What the system says, as where there is no `/proc`. Then nothing can be said.
    pub(crate) fn of_children_of(starter: Pid) -> io::Result<Self> {
        let status = read_short(&format!("/proc/self/task/{starter}/status"))?;
        let is_inherited =
            |line: &&str| line.split_once(':').is_some_and(|(name, _)| INHERITED.contains(&name));
        Ok(Self {
            environment: std::env::vars_os().collect(),
            places: [
                Place::of("/proc/self/root")?,
                Place::of("/proc/self/cwd")?,
                Place::of("/proc/self/fd/1")?,
                Place::of("/proc/self/fd/2")?,
            ],
            thread: status.lines().filter(is_inherited).map(str::to_owned).collect(),
            priority: getpriority_process(Some(starter))?,
            scheduling: scheduling(starter)?,
            namespaces: namespaces(starter),
            limits: read_short("/proc/self/limits")?,
            oom_score: read_short("/proc/self/oom_score_adj")?,
            // Not every system has control groups.
            cgroup: read_short("/proc/self/cgroup").unwrap_or_default(),
        })
    }
}

/// The fields 40 and 41 of proc_pid_stat(5).
fn scheduling(thread: Pid) -> io::Result<Vec<String>> {
    let stat = read_short(&format!("/proc/self/task/{thread}/stat"))?;
    // The second field, a name in parentheses, may hold anything.
    let (_, from_third) = stat.rsplit_once(')').ok_or(io::ErrorKind::InvalidData)?;
    Ok(from_third.split_whitespace().skip(37).take(2).map(str::to_owned).collect())
}

/// Those that a new process of this thread is in; not every system has all of them.
fn namespaces(thread: Pid) -> Vec<Option<PathBuf>> {
    let link = |name| fs::read_link(format!("/proc/self/task/{thread}/ns/{name}")).ok();
    NAMESPACES.map(link).into()
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
    use rustix::process::{Resource, getrlimit, setrlimit};
    use rustix::thread::gettid;

    use super::*;

    fn now() -> Surroundings {
        Surroundings::of_children_of(gettid()).unwrap()
    }

    #[test]
    fn a_limit_that_is_lowered_is_noticed() {
        let before = now();
        assert_eq!(before, now(), "nothing has changed");
        assert_eq!(before.thread.len(), INHERITED.len(), "{:?}", before.thread);
        let whole = getrlimit(Resource::Core);
        let lower = rustix::process::Rlimit { current: Some(4096), ..whole };
        setrlimit(Resource::Core, lower).unwrap();
        assert_ne!(before, now());
        setrlimit(Resource::Core, whole).unwrap();
        assert_eq!(before, now(), "as it was");
    }
}
