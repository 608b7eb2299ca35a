//! One writer, the newest opener wins (`docs/format.md`, section 6).

use std::io::ErrorKind;

use super::disk::{Disk, DiskFile, Listing};
use super::failure::Failure;
use super::names::FileName;

/// How often an opener steps back for others that open at the same moment.
const MAX_ATTEMPTS: usize = 64;

/// The right to write, until a newer opener takes it.
pub(crate) struct Claim {
    pub(crate) epoch: u64,
    file: DiskFile,
}

impl Claim {
    /// Claims the next epoch and fences all older ones; `names` are those of all files, as they
    /// were just now. `None` if newer openers came before us each time.
    pub(crate) fn take(disk: &Disk, names: Listing, holder: &str) -> Result<Option<Self>, Failure> {
        let mut known = Some(names);
        for _ in 0..MAX_ATTEMPTS {
            let listing = known.take().map_or_else(|| disk.list(), Ok)?;
            let epoch = highest_epoch(&listing).saturating_add(1);
            let file = match disk.create(FileName::Claim(epoch)) {
                Err(failure) if failure.kind() == ErrorKind::AlreadyExists => continue,
                other => other?,
            };
            file.write_at(holder.as_bytes(), 0)?;
            let listing = disk.list()?;
            if highest_epoch(&listing) > epoch {
                disk.remove_if_there(file.name)?;
                continue;
            }
            for name in listing.names {
                if matches!(name, FileName::Claim(older) if older < epoch) {
                    disk.remove_if_there(name)?;
                }
            }
            return Ok(Some(Self { epoch, file }));
        }
        Ok(None)
    }

    /// Whether no newer opener has taken over.
    pub(crate) fn holds(&self) -> Result<bool, Failure> {
        self.file.is_linked()
    }
}

fn highest_epoch(listing: &Listing) -> u64 {
    listing.names.iter().filter_map(|name| name.epoch()).max().unwrap_or(0)
}
