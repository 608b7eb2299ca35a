//! The state root: a directory with one state directory per actor, for one node at a time.

use std::fs;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::process::geteuid;

use crate::error::{NodeError, SpawnError};

/// The file that the node holds locked. Escaped names contain no dot, so it is no actor's.
const LOCK_FILE: &str = ".lock";

/// The longest escaped name. Bytes.
const MAX_NAME_BYTES: usize = 200;

/// How long to wait for the lock of a program that is dead already: a worker that it was just
/// starting when it was killed holds a copy of its descriptors until its own executable is loaded.
const MAX_WAIT_FOR_DEAD_HOLDER: Duration = Duration::from_secs(2);

/// How long to wait for the lock of a program that lives: one that was killed just now counts as
/// living until the kernel has taken it down.
const MAX_WAIT_FOR_LIVING_HOLDER: Duration = Duration::from_millis(100);

/// The permission bits that let others change a directory.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// A state root that this program has for itself.
pub(crate) struct Root {
    path: PathBuf,
    /// Holds the lock as long as it is open. A killed program's lock goes with it.
    lock: fs::File,
}

impl Drop for Root {
    fn drop(&mut self) {
        // Closing alone would not do while a worker that is being started holds a copy of the
        // descriptor.
        let _ = flock(&self.lock, FlockOperation::Unlock);
    }
}

impl Root {
    /// Opens the directory, or makes it, private to the user, and locks it.
    pub(crate) fn open(path: &Path) -> Result<Self, NodeError> {
        let wrap = |operation| {
            let path = path.to_owned();
            move |source| NodeError::Io { operation, path, source }
        };
        let missing =
            path.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists());
        let missing = missing.count();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(wrap("make the state root"))?;
        // Workers must find it wherever this program's working directory goes.
        let path = fs::canonicalize(path).map_err(wrap("find the state root"))?;
        check_private(&path)?;
        sync_names(&path, missing).map_err(wrap("sync the directory above the state root"))?;
        let lock = lock(&path)?;
        Ok(Self { path, lock })
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the state of the actor of this name lies.
    pub(crate) fn state_path(&self, escaped_name: &str) -> PathBuf {
        self.path.join(escaped_name)
    }
}

/// Makes the names of the last `made` directories of a path survive power loss.
fn sync_names(path: &Path, made: usize) -> io::Result<()> {
    // Whoever made the last one may have been killed before this.
    path.ancestors().skip(1).take(made.max(1)).try_for_each(|above| match fs::File::open(above) {
        Ok(above) => above.sync_all(),
        // If it was the administrator, the directory above need not be open to us.
        Err(error) if made == 0 && error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(error),
    })
}

fn check_private(path: &Path) -> Result<(), NodeError> {
    let not_private = |reason| NodeError::NotPrivate { path: path.to_owned(), reason };
    let metadata = fs::metadata(path).map_err(|source| NodeError::Io {
        operation: "look at the state root",
        path: path.to_owned(),
        source,
    })?;
    let (owner, user) = (metadata.uid(), geteuid().as_raw());
    if owner != user {
        return Err(not_private(format!("it belongs to user {owner}, this is user {user}")));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & WRITABLE_BY_OTHERS != 0 {
        return Err(not_private(format!("its mode is {mode:04o}")));
    }
    Ok(())
}

fn lock(root: &Path) -> Result<fs::File, NodeError> {
    let path = root.join(LOCK_FILE);
    let wrap = |operation| {
        let path = path.clone();
        move |source| NodeError::Io { operation, path, source }
    };
    let mut file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(&path)
        .map_err(wrap("open the lock"))?;
    let start = Instant::now();
    while let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if error != rustix::io::Errno::WOULDBLOCK {
            return Err(wrap("lock")(error.into()));
        }
        let holder = holder(&mut file);
        let patience = match holder.is_none_or(is_alive) {
            true => MAX_WAIT_FOR_LIVING_HOLDER,
            false => MAX_WAIT_FOR_DEAD_HOLDER,
        };
        if start.elapsed() >= patience {
            let holder = holder.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string());
            return Err(NodeError::InUse { path: root.to_owned(), holder });
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    write_holder(&mut file).map_err(wrap("write the lock"))?;
    Ok(file)
}

/// The process id that the holder of the lock has written into it.
fn holder(file: &mut fs::File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Whether there is a process of this id that has not ended (proc(5)).
fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name, in parentheses, may hold anything.
    let state = stat.rsplit_once(") ").and_then(|(_, fields)| fields.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

fn write_holder(file: &mut fs::File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

/// The name of an actor's directory: letters, digits, `-` and `_` stay, every other byte becomes
/// `%` and two hexadecimal digits.
pub(crate) fn escape(name: &str) -> Result<String, SpawnError> {
    let bad = |reason: String| Err(SpawnError::BadName { name: name.to_owned(), reason });
    if name.is_empty() {
        return bad("a name has at least one character".to_owned());
    }
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => escaped.push(byte.into()),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    if escaped.len() > MAX_NAME_BYTES {
        let reason = format!(
            "it takes {} bytes, at most {MAX_NAME_BYTES} are possible; characters other than \
             ASCII letters, digits, - and _ take 3 bytes for each of theirs",
            escaped.len()
        );
        return bad(reason);
    }
    Ok(escaped)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn no_name_leaves_the_root_or_meets_another() {
        assert_eq!(escape("Counter-7_b").unwrap(), "Counter-7_b");
        assert_eq!(escape("../x").unwrap(), "%2E%2E%2Fx");
        assert_eq!(escape("a%2F").unwrap(), "a%252F");
        assert_eq!(escape("ä\0").unwrap(), "%C3%A4%00");
        assert!(escape("").is_err());
        let error = escape(&"/".repeat(100)).unwrap_err().to_string();
        assert!(error.contains("300 bytes"), "{error}");
    }

    #[test]
    fn a_root_is_made_private_and_refused_when_others_can_write_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        drop(Root::open(&path).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(path.join(LOCK_FILE)).unwrap().mode() & 0o777, 0o600);

        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        let error = Root::open(&path).err().unwrap().to_string();
        assert!(error.contains("not private (its mode is 0777)"), "{error}");
    }

    #[test]
    fn the_lock_of_a_program_that_is_dead_is_waited_for_and_that_of_a_living_one_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut dead = std::process::Command::new("true").spawn().unwrap();
        dead.wait().unwrap();
        assert!(is_alive(std::process::id()) && !is_alive(dead.id()));

        let held = Root::open(dir.path()).unwrap();
        assert!(matches!(Root::open(dir.path()), Err(NodeError::InUse { .. })));
        fs::write(dir.path().join(LOCK_FILE), format!("{}\n", dead.id())).unwrap();
        let path = dir.path().to_owned();
        let opener = std::thread::spawn(move || Root::open(&path).is_ok());
        drop(held);
        assert!(opener.join().unwrap());
    }

    #[test]
    fn a_root_that_is_a_file_is_an_error_that_names_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Root::open(file.path()).err().unwrap().to_string();
        assert!(error.contains(&*file.path().to_string_lossy()), "{error}");
    }
}
