//! A state in a single file (`docs/format-single-file.md`): whatever its headers say, listing its
//! files ends, and none of them is longer than the container.

#![no_main]

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::LazyLock;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use persistent_actor::store::{Container, Storage, fuzzing};
use persistent_actor_fuzz::{check, format, memory};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

const PAGE: usize = 4096;
const SECTOR: usize = 512;
const ID: u128 = 7;

#[derive(Arbitrary, Debug)]
struct Input {
    extents: Vec<Extent>,
    /// Is put behind the last extent.
    tail: Vec<u8>,
}

#[derive(Arbitrary, Debug)]
struct Extent {
    copies: [Copy; 2],
    content: Content,
    is_punched: bool,
}

/// One copy of a header; what is `None` is as it should be.
#[derive(Arbitrary, Debug)]
struct Copy {
    generation: u8,
    position: Option<u64>,
    first: Option<u64>,
    serial: u8,
    offset: Option<u64>,
    len: Option<u64>,
    room: Option<u64>,
    usage: u8,
    name: Name,
    is_damaged: bool,
}

#[derive(Arbitrary, Debug)]
enum Name {
    OfContent,
    OfState(u8),
    Any(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
enum Content {
    Bytes(Vec<u8>),
    /// A file of a state that can be read.
    OfState(u8),
}

impl Content {
    fn of_state(&self) -> usize {
        match self {
            Self::Bytes(_) => 0,
            Self::OfState(which) => usize::from(*which) % format::STATE.len(),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::OfState(_) => format::STATE[self.of_state()].1,
        }
    }
}

impl Copy {
    fn encode(&self, position: u64, content: &Content) -> Vec<u8> {
        let len = content.bytes().len() as u64;
        let fields = [
            self.position.unwrap_or(position),
            self.generation.into(),
            self.first.unwrap_or(position),
            self.serial.into(),
            self.offset.unwrap_or(0),
            self.len.unwrap_or(len),
            self.room.unwrap_or(len.next_multiple_of(PAGE as u64)),
        ];
        let name = match &self.name {
            Name::OfContent => format::STATE[content.of_state()].0.as_bytes(),
            Name::OfState(which) => format::STATE[usize::from(*which) % 4].0.as_bytes(),
            Name::Any(name) => &name[..name.len().min(100)],
        };
        let mut sector = b"PAextent".to_vec();
        fields.iter().for_each(|field| sector.extend_from_slice(&field.to_le_bytes()));
        sector.extend_from_slice(&u32::from(self.usage % 8).to_le_bytes());
        sector.extend_from_slice(&(name.len() as u16).to_le_bytes());
        sector.extend_from_slice(name);
        sector.resize(SECTOR - 8, 0);
        let check = xxh3_64_with_seed(&sector, ID as u64).wrapping_add(self.is_damaged.into());
        sector.extend_from_slice(&check.to_le_bytes());
        sector
    }
}

fn encode(input: &Input) -> Vec<u8> {
    let mut file = b"PAcontnr\x01\0\0\0\0\0\0\0".to_vec();
    file.extend_from_slice(&ID.to_le_bytes());
    let check = xxh3_64(&file);
    file.extend_from_slice(&check.to_le_bytes());
    file.resize(PAGE, 0);
    for extent in input.extents.iter().take(16) {
        let position = file.len();
        for copy in &extent.copies {
            file.extend_from_slice(&copy.encode(position as u64, &extent.content));
        }
        file.resize(position + PAGE, 0);
        if !extent.is_punched {
            file.extend_from_slice(extent.content.bytes());
        }
        file.resize(file.len().next_multiple_of(PAGE), 0);
    }
    file.extend_from_slice(&input.tail);
    file
}

/// In memory, where there is such a directory.
static PLACE: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let dir = if memory.is_dir() { memory } else { std::env::temp_dir() };
    dir.join(format!("persistent-actor-fuzz-{}", std::process::id()))
});

fn write(bytes: &[u8]) -> std::io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(&*PLACE)?.write_all(bytes)
}

fn read_all(container: &Container, size: usize) {
    let Ok(names) = container.list() else { return };
    for name in names {
        let Ok(file) = container.open(&name) else { continue };
        let len = file.size().unwrap_or(0);
        assert!(len <= size as u64, "{name:?} has {len} bytes in a container of {size}");
        let mut content = vec![0; len as usize];
        let _ = file.read_at(&mut content, 0);
    }
}

fuzz_target!(|input: Input| {
    let bytes = encode(&input);
    if let Err(error) = write(&bytes) {
        panic!("{}: {error}", PLACE.display());
    }
    let opened = Container::open(&PLACE, false, false);
    let again = Container::open(&PLACE, false, false);
    let _ = fs::remove_file(&*PLACE);
    let (Ok(container), Ok(again)) = (opened, again) else { panic!("the first page is right") };
    memory::bounded((1 << 20) + 8 * bytes.len(), || read_all(&container, bytes.len()));
    let read = fuzzing::read_state(Box::new(container));
    check::salvage_agrees(&read, &fuzzing::salvage_state(Box::new(again)));
});
