//! [`ContainerFile`]: an open file inside a container.

use std::io;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs;

use super::Inner;
use super::page::{Extent, PAGE, Use};
use crate::store::storage::StorageFile;

/// A file that consists of one or more extents.
pub(super) struct ContainerFile {
    inner: Arc<Inner>,
    position: u64,
    serial: u64,
    /// By offset; without gaps.
    extents: Mutex<Vec<Extent>>,
}

impl ContainerFile {
    pub(super) fn new(inner: Arc<Inner>, extents: Vec<Extent>) -> io::Result<Self> {
        // Headers are written after the space that they tell of was taken.
        let end = fs::fstat(&inner.file)?.st_size as u64;
        let mut expected = 0;
        for extent in &extents {
            if extent.offset != expected || extent.end() > end {
                let reason = format!("its bytes from {expected} on are missing");
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
            }
            expected += extent.len;
        }
        let (position, serial) = (extents[0].position, extents[0].serial);
        Ok(Self { inner, position, serial, extents: Mutex::new(extents) })
    }

    fn extents(&self) -> MutexGuard<'_, Vec<Extent>> {
        // The table is changed only after the container was.
        self.extents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds bytes at the end.
    fn extend(&self, extents: &mut Vec<Extent>, bytes: &[u8]) -> io::Result<()> {
        let Some(last) = extents.last_mut() else { return Ok(()) };
        let (now, later) = bytes.split_at(bytes.len().min((last.room - last.len) as usize));
        if !now.is_empty() {
            self.inner.write_at(now, last.content() + last.len)?;
            self.resize(last, last.len + now.len() as u64, last.room)?;
        }
        if later.is_empty() || self.grow(last, later)? {
            return Ok(());
        }
        let offset = last.offset + last.len;
        let mut extent = self.inner.take(later)?;
        (extent.offset, extent.len) = (offset, later.len() as u64);
        extent.serial = self.serial;
        extent.usage = Use::Further { first: self.position, serial: self.serial };
        self.inner.put_header(&mut extent)?;
        extents.push(extent);
        Ok(())
    }

    /// Adds bytes to an extent that is full and lies at the container's end; `false` if it does
    /// not.
    fn grow(&self, last: &mut Extent, bytes: &[u8]) -> io::Result<bool> {
        if fs::fstat(&self.inner.file)?.st_size as u64 != last.end() {
            return Ok(false);
        }
        let mut pages = bytes.to_vec();
        pages.resize(bytes.len().next_multiple_of(PAGE as usize), 0);
        let position = self.inner.append(&pages)?;
        if position != last.end() {
            // Somebody else was faster; what was appended has no header and stays unused.
            self.inner.punch(position, pages.len() as u64)?;
            return Ok(false);
        }
        let (len, room) = (last.len + bytes.len() as u64, last.room + pages.len() as u64);
        self.resize(last, len, room)?;
        Ok(true)
    }

    /// Notes a new length and room in an extent's header, unless the file was removed meanwhile.
    /// The name in the header may be newer than the one in our table.
    fn resize(&self, extent: &mut Extent, len: u64, room: u64) -> io::Result<()> {
        let current = self.inner.header(extent.position)?;
        if let Some(current) = current.filter(|current| self.is_ours(current)) {
            *extent = Extent { len, room, ..current };
            return self.inner.put_header(extent);
        }
        // A newer opener has removed the file: go on with the space that is ours.
        (extent.len, extent.room) = (len, room);
        Ok(())
    }

    fn is_ours(&self, header: &Extent) -> bool {
        match &header.usage {
            Use::First(_) => header.position == self.position && header.serial == self.serial,
            Use::Further { first, serial } => *first == self.position && *serial == self.serial,
            Use::Free | Use::Candidate(_) => false,
        }
    }
}

fn size(extents: &[Extent]) -> u64 {
    extents.last().map_or(0, |last| last.offset + last.len)
}

/// The places in the container of `len` bytes of the file from `offset` on, with their lengths.
fn places(extents: &[Extent], offset: u64, len: usize) -> impl Iterator<Item = (u64, usize)> {
    let end = offset + len as u64;
    extents.iter().filter_map(move |extent| {
        let from = offset.max(extent.offset);
        let to = end.min(extent.offset + extent.len);
        (from < to).then(|| (extent.content() + from - extent.offset, (to - from) as usize))
    })
}

impl StorageFile for ContainerFile {
    fn size(&self) -> io::Result<u64> {
        Ok(size(&self.extents()))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let extents = self.extents();
        if offset + buffer.len() as u64 > size(&extents) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut rest = buffer;
        for (place, len) in places(&extents, offset, rest.len()) {
            let (part, after) = rest.split_at_mut(len);
            if super::read_up_to(&self.inner.file, part, place)? != len {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            rest = after;
        }
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut extents = self.extents();
        let size = size(&extents);
        if offset > size {
            self.extend(&mut extents, &vec![0; (offset - size) as usize])?;
        }
        let inside = size.saturating_sub(offset).min(bytes.len() as u64) as usize;
        let (mut inside, beyond) = bytes.split_at(inside);
        for (place, len) in places(&extents, offset, inside.len()) {
            let (part, after) = inside.split_at(len);
            self.inner.write_at(part, place)?;
            inside = after;
        }
        if beyond.is_empty() { Ok(()) } else { self.extend(&mut extents, beyond) }
    }

    fn sync(&self) -> io::Result<()> {
        Ok(fs::fdatasync(&self.inner.file)?)
    }

    /// Whether the file still has its name, and the container has its own.
    fn is_linked(&self) -> io::Result<bool> {
        // What was written comes before this look, for whoever removes the file and then reads.
        fence(Ordering::SeqCst);
        let header = self.inner.header(self.position)?;
        let is_named = header.is_some_and(|header| self.is_ours(&header));
        Ok(is_named && fs::fstat(&self.inner.file)?.st_nlink != 0)
    }
}
