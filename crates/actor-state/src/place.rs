//! Directories and files that appear whole or not at all: made beside their place, then renamed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use persistent_actor::store::{View, create, is_state_file};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::error::Error;

/// A directory or file that is being made, and removed again if it is not put in its place.
pub(crate) struct Draft {
    path: PathBuf,
    place: PathBuf,
}

impl Draft {
    /// A draft of `place`, which must not exist. The directory above it must.
    pub(crate) fn of_new(place: &Path) -> Result<Self, Error> {
        let above = parent(place);
        fs::read_dir(above).map_err(Error::io("make something in", above))?;
        match fs::symlink_metadata(place) {
            Ok(_) => Err(exists(place)),
            Err(error) if error.kind() == ErrorKind::NotFound => Self::beside(place),
            Err(error) => Err(Error::io("look at", place)(error)),
        }
    }

    /// A draft that will take the place of `place`.
    pub(crate) fn beside(place: &Path) -> Result<Self, Error> {
        let Some(name) = place.file_name() else {
            let message = format!(
                "{} cannot be made or replaced: expected a path that ends in a name",
                place.display()
            );
            return Err(Error::Refused(message));
        };
        // Names of actors' directories contain no dot.
        let name = format!(".{}.partial-{}", name.display(), std::process::id());
        Ok(Self { path: parent(place).join(name), place: place.to_owned() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a state here that holds `view`: one of the same kind as `like`, a directory or a
    /// single file.
    pub(crate) fn make_state(
        &self,
        like: &Path,
        view: &View,
        after_epoch: u64,
        state_id: Option<u128>,
    ) -> Result<(), Error> {
        let is_file = is_file(like);
        if is_file {
            let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.path);
            made.map_err(Error::io("make", &self.path))?;
        }
        create(&self.path, view, after_epoch, state_id)?;
        if is_file { Ok(()) } else { sync_dir(&self.path) }
    }

    /// Puts the draft in its place, if that is still free.
    pub(crate) fn publish(self) -> Result<(), Error> {
        match renameat_with(CWD, &self.path, CWD, &self.place, RenameFlags::NOREPLACE) {
            Err(rustix::io::Errno::EXIST) => return Err(exists(&self.place)),
            done => done.map_err(io::Error::from).map_err(Error::io("make", &self.place))?,
        }
        sync_dir(parent(&self.place))
    }

    /// Puts the draft in the place of what is there, in one step, and removes that.
    pub(crate) fn replace(self) -> Result<(), Error> {
        let swapped = renameat_with(CWD, &self.path, CWD, &self.place, RenameFlags::EXCHANGE);
        swapped.map_err(io::Error::from).map_err(Error::io("replace", &self.place))?;
        sync_dir(parent(&self.place))?;
        self.discard()
    }

    /// Removes what stands under the draft's name.
    pub(crate) fn discard(self) -> Result<(), Error> {
        remove(&self.path).map_err(Error::io("remove", &self.path))?;
        sync_dir(parent(&self.place))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // There is nothing under this name once the draft has been put in its place.
        let _ = remove(&self.path);
    }
}

fn exists(place: &Path) -> Error {
    let place = place.display();
    Error::Refused(format!("{place} exists already; expected a path where nothing is yet"))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes the names in a directory survive power loss.
pub(crate) fn sync_dir(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(Error::io("sync", path))
}

fn remove(path: &Path) -> io::Result<()> {
    if is_file(path) { fs::remove_file(path) } else { fs::remove_dir_all(path) }
}

/// Whether a state is a single file.
pub(crate) fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file())
}

/// Copies a state, as it is, to the new path `to`, private to the user.
pub(crate) fn copy_state(from: &Path, to: &Path) -> Result<(), Error> {
    let draft = Draft::of_new(to)?;
    if is_file(from) {
        copy_file(from, draft.path())?;
    } else {
        let made = fs::DirBuilder::new().mode(0o700).create(draft.path());
        made.map_err(Error::io("make", draft.path()))?;
        for name in state_files(from)? {
            copy_file(&from.join(&name), &draft.path().join(&name))?;
        }
        sync_dir(draft.path())?;
    }
    draft.publish()
}

fn copy_file(from: &Path, to: &Path) -> Result<(), Error> {
    fs::copy(from, to).map_err(Error::io("copy", from))?;
    File::open(to).and_then(|file| file.sync_all()).map_err(Error::io("sync", to))
}

/// The names of the files of a state that is a directory. Anything else in it is an error: it would be lost
/// with the state, or left out of a copy.
pub(crate) fn state_files(path: &Path) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(Error::io("list", path))? {
        let entry = entry.map_err(Error::io("list", path))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_file = entry.file_type().map_err(Error::io("look at", entry.path()))?.is_file();
        if !is_file || !is_state_file(&name) {
            let path = path.display();
            return Err(Error::Refused(format!(
                "{path} holds {name:?}, which is no part of a state; move it away first"
            )));
        }
        names.push(name);
    }
    Ok(names)
}
