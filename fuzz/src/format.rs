//! Files of a state as `docs/format.md` describes them: made, and given right checksums, so that
//! a fuzzer gets past those.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

macro_rules! v1 {
    () => {
        "../../crates/persistent-actor/tests/fixtures/v1/"
    };
}

const SECTOR: usize = 512;
const RECORD_HEADER: usize = 40;
const LONGEST_SHORT: usize = 464;

fn number<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[offset..offset + N]);
    array
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(number(bytes, offset))
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(number(bytes, offset))
}

/// The fields of a journal's header that other files repeat.
#[derive(Clone, Copy, Debug, Default)]
pub struct Names {
    /// The id of the state.
    pub state_id: u128,
    /// The epoch of the journal.
    pub epoch: u64,
    /// The number of the journal.
    pub number: u32,
}

impl Names {
    /// Reads the fields from the first sector of a journal; zeros if it is too short.
    pub fn of(journal: &[u8]) -> Self {
        if journal.len() < 40 {
            return Self::default();
        }
        Self {
            state_id: u128::from_le_bytes(number(journal, 16)),
            epoch: u64_at(journal, 32),
            number: u32_at(journal, 12),
        }
    }

    /// The name of the journal.
    pub fn journal(&self) -> String {
        format!("journal-{:016x}-{:08x}", self.epoch, self.number)
    }

    /// The name of a slot of the same epoch.
    pub fn slot(&self, number: u32) -> String {
        format!("slot-{:016x}-{number:08x}", self.epoch)
    }
}

/// The files of a state whose newest journal this is, with the slots to which it may refer; those are of epoch 1.
pub fn files(journal: Vec<u8>, has_identity: bool) -> Vec<(String, Vec<u8>)> {
    let names = Names::of(&journal);
    let mut files = vec![(names.journal(), journal)];
    let first = Names { epoch: 1, ..names };
    for number in [1, 2] {
        files.push((first.slot(number), slot(&first, number, &slot_content(number))));
    }
    if has_identity {
        files.push(("identity".to_owned(), identity(names.state_id)));
    }
    files
}

/// The text of the file `identity`.
pub fn identity(state_id: u128) -> Vec<u8> {
    let text = format!("persistent-actor state\nversion 1\nid {state_id:032x}\n");
    let check = xxh3_64(text.as_bytes());
    format!("{text}check {check:016x}\n").into_bytes()
}

/// A slot with this content.
pub fn slot(names: &Names, number: u32, content: &[u8]) -> Vec<u8> {
    let mut file = b"PAslot\0\0".to_vec();
    file.extend_from_slice(&1u32.to_le_bytes());
    file.extend_from_slice(&number.to_le_bytes());
    file.extend_from_slice(&names.state_id.to_le_bytes());
    file.extend_from_slice(&names.epoch.to_le_bytes());
    file.resize(4096, 0);
    seal_slot(&mut file);
    file.extend_from_slice(content);
    file
}

/// Makes the checksum of a slot's header right.
pub fn seal_slot(file: &mut [u8]) {
    if file.len() >= 48 {
        let check = xxh3_64(&file[..40]);
        file[40..48].copy_from_slice(&check.to_le_bytes());
    }
}

/// Makes the last line of an identity right.
pub fn seal_identity(file: &mut Vec<u8>) {
    if let Some(end) = file.windows(7).position(|window| window == b"\ncheck ") {
        file.truncate(end + 1);
        let check = format!("check {:016x}\n", xxh3_64(file));
        file.extend_from_slice(check.as_bytes());
    }
}

/// Makes the capacity in a journal's header, its checksum and those of all records right, as far
/// as records follow one another.
pub fn seal_journal(file: &mut [u8]) {
    if file.len() < SECTOR {
        return;
    }
    let len = file.len() as u64;
    file[40..48].copy_from_slice(&len.to_le_bytes());
    let check = xxh3_64(&file[..48]);
    file[48..56].copy_from_slice(&check.to_le_bytes());
    let seed = u64_at(file, 16);
    let mut position = SECTOR;
    while let Some(end) = seal_record(file, position, seed) {
        position = end;
    }
}

/// Makes the checksums of the record right that is next to `position`; tells where it ends.
fn seal_record(file: &mut [u8], position: usize, seed: u64) -> Option<usize> {
    let boundary = position.next_multiple_of(SECTOR);
    let rest = file.get(position..boundary)?;
    let start = if rest.iter().any(|byte| *byte != 0) { position } else { boundary };
    let len = u32_at(file.get(start..start + RECORD_HEADER)?, 4) as usize;
    let (size, payload) = if len <= LONGEST_SHORT {
        let payload = file.get(start + RECORD_HEADER..start + RECORD_HEADER + len)?.to_vec();
        ((RECORD_HEADER + len).next_multiple_of(8) + 8, payload)
    } else {
        let sectors = 1 + (len - 464).div_ceil(504);
        let record = file.get(start..start.checked_add(sectors * SECTOR)?)?;
        let (first, rest) = record.split_at(SECTOR);
        let mut payload = first[RECORD_HEADER..].to_vec();
        rest.chunks(SECTOR).for_each(|sector| payload.extend_from_slice(&sector[8..]));
        payload.truncate(len);
        (record.len(), payload)
    };
    let check = xxh3_64_with_seed(&payload, seed);
    file[start + 32..start + 40].copy_from_slice(&check.to_le_bytes());
    let check = xxh3_64_with_seed(&file[start + 4..start + 40], seed) as u32;
    file[start..start + 4].copy_from_slice(&check.to_le_bytes());
    Some(start + size)
}

/// A state of version 1: names and contents of its files.
pub const STATE: [(&str, &[u8]); 4] = [
    ("identity", include_bytes!(concat!(v1!(), "identity"))),
    ("epoch-0000000000000001", include_bytes!(concat!(v1!(), "epoch-0000000000000001"))),
    (
        "journal-0000000000000001-00000001",
        include_bytes!(concat!(v1!(), "journal-0000000000000001-00000001")),
    ),
    (
        "slot-0000000000000001-00000001",
        include_bytes!(concat!(v1!(), "slot-0000000000000001-00000001")),
    ),
];

/// What lies in the slots to which the journals of the corpus refer: in slot 1 the large array
/// of [`STATE`], in slot 2 the CBOR of a text that is too large for a journal.
pub fn slot_content(number: u32) -> Vec<u8> {
    match number {
        1 => STATE[3].1[4096..].to_vec(),
        _ => {
            let mut cbor = vec![0x7a, 0, 1, 0x01, 0xcb];
            cbor.resize(5 + 0x1_01cb, b'c');
            cbor
        }
    }
}
