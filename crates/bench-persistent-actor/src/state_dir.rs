//! The directory for the actors' states: kept for the user, or temporary.
//!
//! A temporary directory is held by an advisory lock (`flock`) on the directory itself, which
//! ends with the process however it ends. A run first removes the directories of runs that were
//! killed: those whose lock nobody holds.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::run_file::{self, RunFileError, RunParameters};
use persistent_actor::Durability;
use rustix::fs::{Access, FlockOperation, access, flock, fstatfs};
use rustix::io::Errno;

/// Names of temporary directories for states begin with this.
const PREFIX: &str = "bench-persistent-actor.";

/// Names of temporary directories for Ray begin with this. They are short: Ray's sockets lie in
/// them, and a socket's path has at most 107 bytes.
const RAY_PREFIX: &str = "bench-ray.";

/// Private to the user.
const MODE: u32 = 0o700;

/// The permission bits that let others change a directory.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// `f_type` of a file system in memory (statfs(2)).
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// How often a new temporary directory is tried when another run removes it under our hands.
const MAX_ATTEMPTS: u32 = 100;

/// A state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// The system refused.
    #[error("cannot {0} this directory: {1}; expected a directory that you can write")]
    Io(&'static str, #[source] io::Error),
    /// A run was begun in it.
    #[error(
        "a run was begun in this directory; add --resume to go on with it, or name a new or empty \
         directory"
    )]
    Begun,
    /// There is no run in it that could be resumed.
    #[error(transparent)]
    RunFile(#[from] RunFileError),
    /// The run in it has other parameters.
    #[error(
        "the run in this directory was begun with {begun}, not {given}; a run is resumed with the \
         parameters with which it began"
    )]
    OtherRun {
        /// As a flag.
        begun: String,
        /// As a flag.
        given: String,
    },
    /// Somebody else could change the states in it.
    #[error(
        "others can change this directory ({reason}); expected a directory of your own that \
         neither its group nor others can write (chmod go-w)"
    )]
    NotPrivate {
        /// The owner or the permissions.
        reason: String,
    },
    /// Something is in it.
    #[error(
        "the directory is not empty (it contains {entry:?}); a run starts from new states: \
         expected a new or empty directory"
    )]
    NotEmpty {
        /// The first thing in it.
        entry: String,
    },
}

/// A directory for states; a temporary one is removed when the value is dropped.
#[derive(Debug)]
pub struct StateDir {
    /// Where the states go.
    path: PathBuf,
    /// Open while the value lives; for a temporary directory it holds the lock.
    directory: File,
    /// What to remove at the end.
    temporary: Option<PathBuf>,
}

impl StateDir {
    /// A new or empty directory that is kept. It says to which run it belongs, so that the run
    /// can be resumed.
    ///
    /// # Errors
    /// See [`StateDirError`].
    pub fn keep(path: &Path, run: RunParameters) -> Result<Self, StateDirError> {
        let dir = Self::empty(path)?;
        run_file::write(path, run).map_err(|error| StateDirError::Io("write to", error))?;
        Ok(dir)
    }

    /// The directory of this run, which was interrupted. Nothing is changed.
    ///
    /// # Errors
    /// See [`StateDirError`].
    pub fn resume(path: &Path, run: RunParameters) -> Result<Self, StateDirError> {
        let begun = run_file::read(path)?;
        let differs = |begun: String, given: String| {
            if begun == given { Ok(()) } else { Err(StateDirError::OtherRun { begun, given }) }
        };
        let size = |run: RunParameters| if run.large { "--large" } else { "small states" };
        differs(size(begun).to_owned(), size(run).to_owned())?;
        let actors = |run: RunParameters| format!("--num-actors={}", run.num_actors);
        differs(actors(begun), actors(run))?;
        let rounds = |run: RunParameters| format!("--num-rounds={}", run.num_rounds);
        differs(rounds(begun), rounds(run))?;
        if let (Some(begun), Some(given)) = (begun.durability, run.durability) {
            let flag = |durability: Durability| format!("--durability={durability}");
            differs(flag(begun), flag(given))?;
        }
        check_private(path)?;
        let directory = File::open(path).map_err(|error| StateDirError::Io("open", error))?;
        Ok(Self { path: path.to_owned(), directory, temporary: None })
    }

    /// A new or empty directory that is kept.
    ///
    /// # Errors
    /// See [`StateDirError`].
    pub fn empty(path: &Path) -> Result<Self, StateDirError> {
        if let Err(error) = fs::DirBuilder::new().mode(MODE).recursive(true).create(path) {
            return Err(StateDirError::Io("make", error));
        }
        if fs::symlink_metadata(path.join(run_file::NAME)).is_ok() {
            return Err(StateDirError::Begun);
        }
        for entry in fs::read_dir(path).map_err(|error| StateDirError::Io("read", error))? {
            let entry = entry.map_err(|error| StateDirError::Io("read", error))?;
            // A run that was killed in its very beginning may leave this.
            if entry.file_name() != run_file::UNFINISHED {
                let entry = entry.file_name().to_string_lossy().into_owned();
                return Err(StateDirError::NotEmpty { entry });
            }
        }
        check_private(path)?;
        access(path, Access::WRITE_OK | Access::EXEC_OK)
            .map_err(|error| StateDirError::Io("write to", error.into()))?;
        let directory = File::open(path).map_err(|error| StateDirError::Io("open", error))?;
        Ok(Self { path: path.to_owned(), directory, temporary: None })
    }

    /// A directory under `root` that is removed when the value is dropped, or by the next run.
    ///
    /// # Errors
    /// [`StateDirError::Io`]
    pub fn temporary(root: &Path) -> Result<Self, StateDirError> {
        Self::temporary_named(root, PREFIX, || format!("{:016x}", rand::random::<u64>()))
    }

    /// The same with a short name, for a Ray cluster.
    ///
    /// # Errors
    /// [`StateDirError::Io`]
    pub fn for_ray(root: &Path) -> Result<Self, StateDirError> {
        Self::temporary_named(root, RAY_PREFIX, || format!("{:08x}", rand::random::<u32>()))
    }

    fn temporary_named(
        root: &Path,
        prefix: &str,
        suffix: impl Fn() -> String,
    ) -> Result<Self, StateDirError> {
        remove_abandoned(root, prefix);
        for _ in 0..MAX_ATTEMPTS {
            let outer = root.join(format!("{prefix}{}", suffix()));
            match fs::DirBuilder::new().mode(MODE).create(&outer) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(StateDirError::Io("make a directory in", error)),
            }
            // Between making and locking it, another run may have taken it for abandoned.
            let Ok(directory) = File::open(&outer) else { continue };
            if try_lock(&directory)? && is_at(&directory, &outer) {
                return Ok(Self { path: outer.join("state"), directory, temporary: Some(outer) });
            }
        }
        Err(StateDirError::Io("make a directory in", io::ErrorKind::AlreadyExists.into()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The temporary directory itself, in which [`Self::path`] is; `None` if it stays.
    pub fn outer(&self) -> Option<&Path> {
        self.temporary.as_deref()
    }

    /// What holds the lock of a temporary directory: while any process has it open, nobody takes
    /// the directory for abandoned.
    pub fn lock(&self) -> &File {
        &self.directory
    }

    /// Whether it stays when the run is over.
    pub fn is_kept(&self) -> bool {
        self.temporary.is_none()
    }

    /// Whether it lies in memory, where nothing survives a power loss.
    pub fn is_in_memory(&self) -> bool {
        fstatfs(&self.directory).is_ok_and(|stat| stat.f_type as u64 == TMPFS_MAGIC)
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        if let Some(path) = &self.temporary {
            // What cannot be removed now is removed by the next run.
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// Removes the temporary directories of this user's runs that are over.
fn remove_abandoned(root: &Path, prefix: &str) {
    let Ok(entries) = fs::read_dir(root) else { return };
    let user = rustix::process::geteuid().as_raw();
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(prefix)
            && entry.file_type().is_ok_and(|kind| kind.is_dir())
            && entry.metadata().is_ok_and(|metadata| metadata.uid() == user);
        if !is_ours {
            continue;
        }
        let Ok(lock) = File::open(entry.path()) else { continue };
        if matches!(try_lock(&lock), Ok(true)) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// What the engine asks of a directory, found out before anything is in it.
fn check_private(path: &Path) -> Result<(), StateDirError> {
    let found = fs::metadata(path).map_err(|error| StateDirError::Io("look at", error))?;
    let (owner, user) = (found.uid(), rustix::process::geteuid().as_raw());
    let mode = found.mode() & 0o7777;
    let reason = if owner != user {
        format!("it belongs to user {owner}, this is user {user}")
    } else if mode & WRITABLE_BY_OTHERS != 0 {
        format!("its mode is {mode:04o}")
    } else {
        return Ok(());
    };
    Err(StateDirError::NotPrivate { reason })
}

fn try_lock(directory: &File) -> Result<bool, StateDirError> {
    match flock(directory, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(StateDirError::Io("lock", error.into())),
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_temporary_directory_is_private_and_goes_away() {
        let root = tempfile::tempdir().unwrap();
        let dir = StateDir::temporary(root.path()).unwrap();
        let outer = dir.path().parent().unwrap().to_owned();
        assert_eq!(outer.metadata().unwrap().mode() & 0o777, 0o700);
        fs::create_dir(dir.path()).unwrap();
        fs::write(dir.path().join("file"), "x").unwrap();
        drop(dir);
        assert!(!outer.exists());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_run_left_is_removed_and_what_is_in_use_is_not() {
        let root = tempfile::tempdir().unwrap();
        let abandoned = root.path().join(format!("{PREFIX}0"));
        fs::create_dir(&abandoned).unwrap();
        fs::write(abandoned.join("file"), "x").unwrap();
        let foreign = root.path().join("somebody");
        fs::create_dir(&foreign).unwrap();
        let first = StateDir::temporary(root.path()).unwrap();
        let second = StateDir::temporary(root.path()).unwrap();
        assert!(!abandoned.exists());
        let in_use = [&first, &second].map(|dir| dir.path().parent().unwrap().exists());
        assert!(foreign.exists() && in_use == [true, true]);
    }

    #[test]
    fn a_kept_directory_must_be_empty() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("state");
        let dir = StateDir::empty(&path).unwrap();
        drop(dir);
        assert!(path.exists());
        fs::create_dir(path.join("actor-0")).unwrap();
        let error = StateDir::empty(&path).unwrap_err();
        assert!(matches!(error, StateDirError::NotEmpty { .. }), "{error}");
    }

    const RUN: RunParameters = RunParameters {
        large: false,
        num_actors: 20,
        num_rounds: 20,
        durability: Some(Durability::Power),
    };

    #[test]
    fn a_run_is_resumed_with_its_own_parameters_alone() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("state");
        assert!(matches!(StateDir::resume(&path, RUN), Err(StateDirError::RunFile(_))));
        fs::DirBuilder::new().mode(MODE).create(&path).unwrap();
        fs::write(path.join(run_file::UNFINISHED), "").unwrap();
        drop(StateDir::keep(&path, RUN).unwrap());
        assert!(matches!(StateDir::keep(&path, RUN), Err(StateDirError::Begun)));
        assert!(StateDir::resume(&path, RUN).unwrap().is_kept());
        for (other, flag) in [
            (RunParameters { large: true, ..RUN }, "--large"),
            (RunParameters { num_actors: 7, ..RUN }, "--num-actors=20"),
            (RunParameters { num_rounds: 7, ..RUN }, "--num-rounds=20"),
            (RunParameters { durability: Some(Durability::Process), ..RUN }, "--durability=power"),
        ] {
            let error = StateDir::resume(&path, other).unwrap_err().to_string();
            assert!(error.contains(flag), "{error}");
        }
        assert_eq!(run_file::read(&path).unwrap(), RUN);
        // Earlier versions did not say what the states survive.
        run_file::write(&path, RunParameters { durability: None, ..RUN }).unwrap();
        assert!(StateDir::resume(&path, RUN).is_ok());
    }

    #[test]
    fn a_directory_that_others_can_change_is_refused_and_nothing_is_in_it() {
        let root = tempfile::tempdir().unwrap();
        let permit = |mode| fs::set_permissions(root.path(), PermissionsExt::from_mode(mode));
        for mode in [0o775, 0o707, 0o770, 0o1777] {
            permit(mode).unwrap();
            for error in [StateDir::keep(root.path(), RUN), StateDir::empty(root.path())] {
                let error = error.unwrap_err().to_string();
                assert!(error.contains(&format!("its mode is {mode:04o}")), "{error}");
            }
            assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
        }
        permit(0o755).unwrap();
        drop(StateDir::keep(root.path(), RUN).unwrap());
        permit(0o775).unwrap();
        let error = StateDir::resume(root.path(), RUN).unwrap_err();
        assert!(matches!(error, StateDirError::NotPrivate { .. }), "{error}");
    }

    #[test]
    fn a_file_is_no_state_directory() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(StateDir::empty(file.path()), Err(StateDirError::Io("make", _))));
    }
}
