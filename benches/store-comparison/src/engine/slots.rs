//! What the disk allows: hand-made files, written by plain `pwrite` into prewritten space.

use std::fs::File;
use std::io::{ErrorKind, IoSlice};
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, ensure};
use persistent_actor::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::{Engine, Setup, Update};

/// The header of a slot: generation, length, checksum of the payload, checksum of these three.
/// A payload at offset 64 is far from the 8 to 16 modulo 4096 at which the kernel copies slowly.
const HEADER: usize = 64;
const PAGE: usize = 4096;

/// Makes `file` `len` bytes of zeros on disk, so that writing to it changes no metadata.
pub(crate) fn prewrite(file: &File, len: usize) -> Result<()> {
    let zeros = vec![0; len.min(1 << 20)];
    let mut offset = 0;
    while offset < len {
        let step = zeros.len().min(len - offset);
        file.write_all_at(&zeros[..step], offset as u64).context("zero a file")?;
        offset += step;
    }
    file.sync_all().context("sync a zeroed file")
}

fn create(setup: &Setup<'_>, len: usize) -> Result<File> {
    let path = setup.dir.join("file");
    let file = File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
    if file.metadata()?.len() != len as u64 {
        prewrite(&file, len)?;
    }
    Ok(file)
}

/// One place, overwritten again and again: the I/O alone. Torn by a kill or a power cut.
pub(crate) struct RawFile {
    file: File,
    synced: bool,
    len: usize,
}

impl RawFile {
    pub(crate) fn open(setup: &Setup<'_>, synced: bool) -> Result<Self> {
        Ok(Self { file: create(setup, setup.len)?, synced, len: setup.len })
    }
}

impl Engine for RawFile {
    fn commit(&mut self, update: &Update<'_>) -> Result<()> {
        let range = update.changed.clone();
        self.file.write_all_at(&update.value[range.clone()], range.start as u64)?;
        if self.synced {
            self.file.sync_data()?;
        }
        Ok(())
    }

    fn load(&mut self) -> Result<Option<Bytes>> {
        read(&self.file, 0, self.len).map(Some)
    }
}

fn read(file: &File, offset: usize, len: usize) -> Result<Bytes> {
    let mut result = Ok(());
    let bytes = Bytes::build(len, |out| result = file.read_exact_at(out, offset as u64));
    result.context("read a file").map(|()| bytes)
}

/// What keeps a half-written slot from being taken for a whole one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guard {
    /// The header is written after the payload.
    Order,
    /// The header holds a checksum of the payload.
    Checksum,
}

/// Two places, written alternately: the simplest file that is never torn.
pub(crate) struct Slots {
    file: File,
    len: usize,
    guard: Guard,
    synced: bool,
    generation: u64,
}

impl Slots {
    pub(crate) fn open(setup: &Setup<'_>, guard: Guard, synced: bool) -> Result<Self> {
        let size = slot_size(setup.len);
        let file = create(setup, 2 * size)?;
        let mut slots = Self { file, len: setup.len, guard, synced, generation: 0 };
        slots.generation = slots.newest()?.map_or(0, |(generation, _)| generation);
        Ok(slots)
    }

    fn write(&mut self, value: &[u8]) -> Result<()> {
        ensure!(value.len() == self.len, "a slot is made for values of one length");
        self.generation += 1;
        let offset = self.place(self.generation);
        match self.guard {
            Guard::Order => {
                self.file.write_all_at(value, offset + HEADER as u64)?;
                if self.synced {
                    self.file.sync_data()?;
                }
                self.file.write_all_at(&encode(self.generation, value, 0), offset)?;
            }
            Guard::Checksum => {
                let header = encode(self.generation, value, xxh3_64(value));
                write_both(&self.file, &header, value, offset)?;
            }
        }
        if self.synced {
            self.file.sync_data()?;
        }
        Ok(())
    }

    fn place(&self, generation: u64) -> u64 {
        (generation % 2) * slot_size(self.len) as u64
    }

    /// The newest slot that is whole: its generation and its content, if that had to be read.
    fn newest(&self) -> Result<Option<(u64, Option<Bytes>)>> {
        let mut headers = Vec::new();
        for slot in 0..2 {
            let mut header = [0; HEADER];
            self.file.read_exact_at(&mut header, self.place(slot)).context("read a slot")?;
            headers.extend(decode(&header, self.len));
        }
        headers.sort_unstable();
        while let Some((generation, checksum)) = headers.pop() {
            if self.guard == Guard::Order {
                return Ok(Some((generation, None)));
            }
            let bytes = read(&self.file, self.place(generation) as usize + HEADER, self.len)?;
            if xxh3_64(&bytes) == checksum {
                return Ok(Some((generation, Some(bytes))));
            }
        }
        Ok(None)
    }
}

impl Engine for Slots {
    fn commit(&mut self, update: &Update<'_>) -> Result<()> {
        self.write(update.value)
    }

    fn load(&mut self) -> Result<Option<Bytes>> {
        match self.newest()? {
            None => Ok(None),
            Some((_, Some(bytes))) => Ok(Some(bytes)),
            Some((generation, None)) => {
                read(&self.file, self.place(generation) as usize + HEADER, self.len).map(Some)
            }
        }
    }
}

fn slot_size(len: usize) -> usize {
    (HEADER + len).next_multiple_of(PAGE)
}

fn encode(generation: u64, value: &[u8], checksum: u64) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&generation.to_le_bytes());
    header[8..16].copy_from_slice(&(value.len() as u64).to_le_bytes());
    header[16..24].copy_from_slice(&checksum.to_le_bytes());
    let check = xxh3_64(&header[..24]);
    header[24..32].copy_from_slice(&check.to_le_bytes());
    header
}

/// The generation and the checksum of a slot for values of `len` bytes, if its header is whole.
fn decode(header: &[u8; HEADER], len: usize) -> Option<(u64, u64)> {
    let field = |start: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&header[start..start + 8]);
        u64::from_le_bytes(bytes)
    };
    let whole = field(24) == xxh3_64(&header[..24]) && field(8) == len as u64 && field(0) != 0;
    whole.then(|| (field(0), field(16)))
}

/// Writes `header` and `value` one after the other, in one system call if the kernel takes it.
fn write_both(file: &File, header: &[u8], value: &[u8], offset: u64) -> Result<()> {
    let written = loop {
        let parts = [IoSlice::new(header), IoSlice::new(value)];
        match rustix::io::pwritev(file, &parts, offset) {
            Err(error) if std::io::Error::from(error).kind() == ErrorKind::Interrupted => {}
            other => break other?,
        }
    };
    if written < header.len() {
        file.write_all_at(&header[written..], offset + written as u64)?;
    }
    let done = written.saturating_sub(header.len());
    if done < value.len() {
        file.write_all_at(&value[done..], offset + (header.len() + done) as u64)?;
    }
    Ok(())
}

/// A change of a few bytes of a large state, written to slots of its size: what a commit costs
/// that follows the change. Not a store: nothing ever brings the changes together.
pub(crate) struct ChangeOnly {
    slots: Slots,
    /// With it, the change is looked for by comparing all of the state.
    previous: Option<Option<Bytes>>,
}

impl ChangeOnly {
    /// For changes of `len` bytes, looked for if `compared`.
    pub(crate) fn open(setup: &Setup<'_>, len: usize, compared: bool) -> Result<Self> {
        let setup = Setup { len, ..*setup };
        let slots = Slots::open(&setup, Guard::Checksum, true)?;
        Ok(Self { slots, previous: compared.then_some(None) })
    }
}

impl Engine for ChangeOnly {
    fn commit(&mut self, update: &Update<'_>) -> Result<()> {
        let mut start = update.changed.start;
        if let Some(previous) = &mut self.previous {
            if let Some(previous) = previous {
                start = first_difference(previous, update.value).unwrap_or(start);
            }
            *previous = Some(update.value.clone());
        }
        let start = start.min(update.value.len() - self.slots.len);
        self.slots.write(&update.value[start..start + self.slots.len])
    }

    fn load(&mut self) -> Result<Option<Bytes>> {
        Ok(None)
    }
}

/// Where two states begin to differ; reads all of both, as finding every change must.
fn first_difference(old: &[u8], new: &[u8]) -> Option<usize> {
    let mut first = None;
    for (index, (old, new)) in old.chunks(PAGE).zip(new.chunks(PAGE)).enumerate() {
        if old != new {
            first = first.or(Some(index * PAGE));
        }
    }
    first
}

/// The checksum of the value, and nothing else: a part of most commits.
pub(crate) struct ChecksumOnly(pub(crate) u64);

impl Engine for ChecksumOnly {
    fn commit(&mut self, update: &Update<'_>) -> Result<()> {
        self.0 = std::hint::black_box(xxh3_64(update.value));
        Ok(())
    }

    fn load(&mut self) -> Result<Option<Bytes>> {
        Ok(None)
    }
}

/// Reading the state and the one before it once: what finding a change costs.
#[derive(Default)]
pub(crate) struct CompareOnly(Option<Bytes>);

impl Engine for CompareOnly {
    fn commit(&mut self, update: &Update<'_>) -> Result<()> {
        if let Some(previous) = &self.0 {
            std::hint::black_box(first_difference(previous, update.value));
        }
        self.0 = Some(update.value.clone());
        Ok(())
    }

    fn load(&mut self) -> Result<Option<Bytes>> {
        Ok(None)
    }
}
