//! Where files are made for a measurement, so that earlier ones do not slow it down.
//!
//! ext4 does not give an inode away again for some minutes after its file was removed, and looks
//! at each of them, one by one, whenever a file is made in the same region (`recently_deleted` in
//! `fs/ext4/ialloc.c`). After a measurement whose 4 000 files were removed, making a file there
//! takes several times as long.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use persistent_actor_runtime::SessionId;
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

/// Among how many places one is chosen.
const CANDIDATES: usize = 6;

/// How many files are made to try one.
const TRIED_FILES: usize = 32;

/// Makes a directory in a region of the disk in which files are made quickly.
///
/// On ext4, the region is chosen by the name, among those with the fewest directories, for
/// directories in one with the flag of `chattr +T`. Elsewhere it is a directory like any other.
pub(super) fn make_apart(parent: &Path, name: &str) -> io::Result<PathBuf> {
    let dir = File::open(parent)?;
    // Where there is no such flag, nothing is known to need it.
    if let Ok(flags) = ioctl_getflags(&dir) {
        let _ = ioctl_setflags(&dir, flags | IFlags::TOPDIR);
    }
    let mut candidates = Vec::new();
    for _ in 0..CANDIDATES {
        let path = parent.join(format!("{name}-{:x}", SessionId::generate()?.0));
        fs::create_dir(&path)?;
        candidates.push((try_out(&path)?, path));
    }
    candidates.sort();
    let mut paths = candidates.into_iter().map(|(_, path)| path);
    let best = paths.next().ok_or(io::ErrorKind::NotFound)?;
    paths.try_for_each(fs::remove_dir_all)?;
    Ok(best)
}

/// How long it takes to make some files; they stay.
fn try_out(dir: &Path) -> io::Result<Duration> {
    let begin = Instant::now();
    for file in 0..TRIED_FILES {
        File::create_new(dir.join(format!("tried-{file}")))?;
    }
    Ok(begin.elapsed())
}
