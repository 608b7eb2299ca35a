//! A [`Storage`] with the names of the format, the level's syncs, and errors that say what was
//! tried on which file.

use super::failure::{Context, Failure};
use super::names::FileName;
use super::storage::{Storage, StorageFile};

/// The files of one state.
pub(crate) struct Disk {
    storage: Box<dyn Storage>,
    /// Whether syncs are made: at [`Durability::Power`](crate::Durability::Power).
    sync: bool,
}

/// An open file and its name.
pub(crate) struct DiskFile {
    file: Box<dyn StorageFile>,
    pub(crate) name: FileName,
}

/// The names in a state directory.
#[derive(Default)]
pub(crate) struct Listing {
    pub(crate) names: Vec<FileName>,
    /// A name that is not one of ours.
    pub(crate) foreign: Option<String>,
}

impl Disk {
    pub(crate) fn new(storage: Box<dyn Storage>, sync: bool) -> Self {
        Self { storage, sync }
    }

    /// Whether syncs are made.
    pub(crate) fn is_synced(&self) -> bool {
        self.sync
    }

    pub(crate) fn list(&self) -> Result<Listing, Failure> {
        let mut listing = Listing::default();
        for name in self.storage.list().context_dir("list")? {
            match FileName::parse(&name) {
                Some(name) => listing.names.push(name),
                None => listing.foreign = Some(name),
            }
        }
        Ok(listing)
    }

    pub(crate) fn open(&self, name: FileName) -> Result<DiskFile, Failure> {
        let file = self.storage.open(&name.to_string()).context("open", name)?;
        Ok(DiskFile { file, name })
    }

    pub(crate) fn create(&self, name: FileName) -> Result<DiskFile, Failure> {
        let file = self.storage.create(&name.to_string()).context("create", name)?;
        Ok(DiskFile { file, name })
    }

    pub(crate) fn rename(&self, file: &mut DiskFile, to: FileName) -> Result<(), Failure> {
        let renamed = self.storage.rename(&file.name.to_string(), &to.to_string());
        renamed.context("rename", file.name)?;
        file.name = to;
        Ok(())
    }

    pub(crate) fn remove(&self, name: FileName) -> Result<(), Failure> {
        self.storage.remove(&name.to_string()).context("remove", name)
    }

    /// Removes a file that another process may be removing, too.
    pub(crate) fn remove_if_there(&self, name: FileName) -> Result<(), Failure> {
        match self.remove(name) {
            Err(failure) if failure.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    pub(crate) fn sync_names(&self) -> Result<(), Failure> {
        if self.sync { self.storage.sync_names().context_dir("sync") } else { Ok(()) }
    }

    /// The group journal beside the state, if there is one.
    pub(crate) fn group(&self) -> Result<Option<Self>, Failure> {
        let beside = self.storage.beside(super::group::DIRECTORY);
        let storage = beside.context_beside("open", super::group::DIRECTORY)?;
        Ok(storage.map(|storage| Self { storage, sync: false }))
    }

    pub(crate) fn tidy(&self) -> Result<(), Failure> {
        self.storage.tidy().context_dir("tidy up")
    }

    /// Lets what was just written start on its way, if it is going to be synced.
    pub(crate) fn start_writing(
        &self,
        file: &DiskFile,
        offset: u64,
        len: u64,
    ) -> Result<(), Failure> {
        if self.sync {
            file.file.start_writing(offset, len).context("write", file.name)
        } else {
            Ok(())
        }
    }

    pub(crate) fn sync(&self, file: &DiskFile) -> Result<(), Failure> {
        if self.sync { file.file.sync().context("sync", file.name) } else { Ok(()) }
    }
}

impl DiskFile {
    pub(crate) fn size(&self) -> Result<u64, Failure> {
        self.file.size().context("examine", self.name)
    }

    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), Failure> {
        self.file.read_at(buffer, offset).context("read", self.name)
    }

    pub(crate) fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), Failure> {
        self.file.write_at(bytes, offset).context("write", self.name)
    }

    pub(crate) fn is_linked(&self) -> Result<bool, Failure> {
        self.file.is_linked().context("examine", self.name)
    }
}
