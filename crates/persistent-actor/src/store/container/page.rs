//! The pages of a container that are not content (`docs/format-single-file.md`).

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::store::layout::{Put, u32_at, u64_at, u128_at};

/// The unit in which a container is divided. Bytes.
pub(super) const PAGE: u64 = 4096;
/// The unit that a disk writes whole. Bytes.
pub(super) const SECTOR: usize = 512;
/// The version of the container's layout that is written, and the newest that is read.
pub(super) const VERSION: u32 = 1;

const FIRST_MAGIC: &[u8; 8] = b"PAcontnr";
const EXTENT_MAGIC: &[u8; 8] = b"PAextent";
const MAX_NAME: usize = 64;
const CHECKED: usize = SECTOR - 8;

/// What the first page of a file says.
pub(super) enum FirstPage {
    /// It is a container with this id.
    Container(u128),
    /// It is a container of this newer version.
    Newer(u32),
    /// It begins like a container and is damaged.
    Damaged,
    /// It is something else.
    Foreign,
}

pub(super) fn encode_first_page(id: u128) -> Vec<u8> {
    let mut page = Vec::with_capacity(PAGE as usize);
    page.extend_from_slice(FIRST_MAGIC);
    page.put_u32(VERSION);
    page.put_u32(0);
    page.put_u128(id);
    let check = xxh3_64(&page);
    page.put_u64(check);
    page.resize(PAGE as usize, 0);
    page
}

/// Reads the first sector of a file that is not empty.
pub(super) fn decode_first_page(sector: &[u8; SECTOR]) -> FirstPage {
    if &sector[..8] != FIRST_MAGIC {
        return FirstPage::Foreign;
    }
    let version = u32_at(sector, 8);
    if version > VERSION {
        return FirstPage::Newer(version);
    }
    match version == VERSION && xxh3_64(&sector[..32]) == u64_at(sector, 32) {
        true => FirstPage::Container(u128_at(sector, 16)),
        false => FirstPage::Damaged,
    }
}

/// What an extent is used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Nothing.
    Free,
    /// It begins a file that is being created, and may still turn out to exist.
    Candidate(String),
    /// It begins the file with this name.
    First(String),
    /// It continues the file that begins at this position and has this serial number.
    Further { first: u64, serial: u64 },
}

/// The header of an extent: one page, before the extent's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// Where the header is in the container. Bytes.
    pub(super) position: u64,
    /// How often the header was written; of its two copies the one written last counts.
    pub(super) generation: u64,
    /// Distinguishes the files that have begun at this position.
    pub(super) serial: u64,
    /// Where in its file the extent begins. Bytes.
    pub(super) offset: u64,
    /// How many bytes of the file it holds.
    pub(super) len: u64,
    /// How many bytes it has room for; a multiple of a page.
    pub(super) room: u64,
    pub(super) usage: Use,
}

impl Extent {
    /// Where the content begins in the container. Bytes.
    pub(super) fn content(&self) -> u64 {
        self.position + PAGE
    }

    /// Where the next extent begins. Bytes.
    pub(super) fn end(&self) -> u64 {
        self.content() + self.room
    }

    /// One copy of the header. The name must not be longer than [`Extent::is_valid_name`] says.
    pub(super) fn encode(&self, id: u128) -> Vec<u8> {
        let (kind, name, first, serial) = match &self.usage {
            Use::Free => (0, "", 0, self.serial),
            Use::Candidate(name) => (1, name.as_str(), self.position, self.serial),
            Use::First(name) => (2, name.as_str(), self.position, self.serial),
            Use::Further { first, serial } => (3, "", *first, *serial),
        };
        let mut sector = Vec::with_capacity(SECTOR);
        sector.extend_from_slice(EXTENT_MAGIC);
        for field in [self.position, self.generation, first, serial] {
            sector.put_u64(field);
        }
        for field in [self.offset, self.len, self.room] {
            sector.put_u64(field);
        }
        sector.put_u32(kind);
        sector.put_text(name);
        sector.resize(CHECKED, 0);
        let check = xxh3_64_with_seed(&sector, id as u64);
        sector.put_u64(check);
        sector
    }

    /// Reads one copy; `None` if it is not a header of the container `id` at `position`.
    fn decode(sector: &[u8], id: u128, position: u64) -> Option<Self> {
        let good = &sector[..8] == EXTENT_MAGIC
            && u64_at(sector, 8) == position
            && u64_at(sector, CHECKED) == xxh3_64_with_seed(&sector[..CHECKED], id as u64);
        if !good {
            return None;
        }
        let (first, serial) = (u64_at(sector, 24), u64_at(sector, 32));
        let name = || {
            let len = usize::from(u16::from_le_bytes([sector[68], sector[69]])).min(MAX_NAME);
            String::from_utf8(sector[70..70 + len].to_vec()).ok()
        };
        let usage = match u32_at(sector, 64) {
            0 => Use::Free,
            1 => Use::Candidate(name()?),
            2 => Use::First(name()?),
            3 => Use::Further { first, serial },
            _ => return None,
        };
        let generation = u64_at(sector, 16);
        let (offset, len, room) = (u64_at(sector, 40), u64_at(sector, 48), u64_at(sector, 56));
        let has_end = position.checked_add(PAGE).is_some_and(|end| end.checked_add(room).is_some());
        if len > room || !room.is_multiple_of(PAGE) || !has_end {
            return None;
        }
        Some(Self { position, generation, serial, offset, len, room, usage })
    }

    /// Reads the two copies of a header.
    pub(super) fn decode_copies(copies: &[u8], id: u128, position: u64) -> Option<Self> {
        let copies = copies.chunks_exact(SECTOR).take(2);
        copies
            .filter_map(|copy| Self::decode(copy, id, position))
            .max_by_key(|extent| extent.generation)
    }

    pub(super) fn is_valid_name(name: &str) -> bool {
        !name.is_empty() && name.len() <= MAX_NAME
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(generation: u64, usage: Use) -> Extent {
        let position = 3 * PAGE;
        Extent { position, generation, serial: 4, offset: 5, len: 6, room: 2 * PAGE, usage }
    }

    #[test]
    fn a_header_reads_back_and_belongs_to_its_place_and_container() {
        for usage in [
            Use::Free,
            Use::Candidate("epoch-1".to_owned()),
            Use::First("x".repeat(MAX_NAME)),
            Use::Further { first: PAGE, serial: 4 },
        ] {
            let extent = extent(1, usage);
            let copy = extent.encode(7);
            assert_eq!(copy.len(), SECTOR);
            assert_eq!(Extent::decode(&copy, 7, 3 * PAGE), Some(extent));
            assert_eq!(Extent::decode(&copy, 8, 3 * PAGE), None);
            assert_eq!(Extent::decode(&copy, 7, 4 * PAGE), None);
        }
    }

    #[test]
    fn every_byte_of_a_copy_is_checked_and_the_other_copy_stands_in() {
        let (old, new) = (extent(1, Use::Free), extent(2, Use::First("n".to_owned())));
        let copies = [new.encode(7), old.encode(7)].concat();
        assert_eq!(Extent::decode_copies(&copies, 7, 3 * PAGE), Some(new));
        for place in 0..SECTOR {
            let mut torn = copies.clone();
            torn[place] ^= 1;
            assert_eq!(Extent::decode_copies(&torn, 7, 3 * PAGE), Some(old.clone()), "{place}");
        }
    }
}
