//! Makes the seeds in `corpus/` that are not found by fuzzing: files and messages as they are
//! really written. Run in `fuzz/` with `RUSTFLAGS="--cfg fuzzing"`.

use std::collections::BTreeMap;
use std::path::Path;

use persistent_actor::store::{View, fuzzing};
use persistent_actor::testing::SimDisk;
use persistent_actor::{
    ActorState, Bytes, CallId, Durability, Encoded, Integer, Reply, ReplyStatus, SessionId, codec,
};
use persistent_actor_fuzz::format;

#[allow(dead_code, unused_imports)]
#[path = "../../crates/actor-state/src/cbor/mod.rs"]
mod cbor;
#[allow(dead_code)]
#[path = "../../crates/actor-state/src/export.rs"]
mod export;

type Files = Vec<(String, Vec<u8>)>;
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn put(target: &str, name: &str, parts: &[&[u8]]) -> Result<()> {
    let dir = Path::new("corpus").join(target);
    std::fs::create_dir_all(&dir)?;
    Ok(std::fs::write(dir.join(name), parts.concat())?)
}

fn trimmed(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    &bytes[..end]
}

fn reply(value: Encoded) -> Reply {
    Reply { status: ReplyStatus::Returned, value }
}

/// A state whose large values lie in the slots of [`format::slot_content`].
fn state() -> Result<(View, Files)> {
    let disk = SimDisk::default();
    let mut state =
        ActorState::options().durability(Durability::Process).open_on(disk.storage(), "state")?;
    let array = Bytes::from(format::slot_content(1));
    let array = codec::encode(&array)?;
    let text = Encoded { inline: format::slot_content(2), blobs: Vec::new() };
    let session = |number: u128| SessionId(1_700_000_000_000 << 80 | number);
    let call = |number, sequence| CallId { session: session(number), sequence };
    let changes = vec![("array".to_owned(), array.clone())];
    state.commit_call(call(1, 0), 0, 1, reply(array.clone()), changes)?;
    let changes = vec![("text".to_owned(), text), ("small".to_owned(), codec::encode(&1)?)];
    state.commit_call(call(1, 1), 0, 2, reply(codec::encode("done")?), changes)?;
    state.commit_call(call(2, 0), 0, 3, reply(codec::encode(&())?), Vec::new())?;
    let foreign = CallId::foreign(*b"0123456789");
    state.commit_call(foreign, 0, 4, reply(array), Vec::new())?;
    state.update([("small", codec::encode(&vec![1; 700])?)])?;
    state.commit_call(call(1, 2), 2, 5, reply(codec::encode(&2)?), Vec::new())?;
    let view = state.view().clone();
    Ok((view, disk.files()))
}

/// A journal that can be read beside the slots that the target puts there.
fn put_journal(name: &str, journal: &[u8]) -> Result<()> {
    let disk = SimDisk::with_files(format::files(journal.to_vec(), true));
    fuzzing::read_state(disk.storage())?;
    put("journal", name, &[&[3], trimmed(journal)])
}

fn journals() -> Result<()> {
    put_journal("version-1", format::STATE[2].1)?;
    let (_, files) = state()?;
    for (name, content) in files {
        if name.starts_with("journal-") {
            put_journal("commits", &content)?;
            let header = &content[512..552];
            let len = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
            put("payload", "empty-snapshot", &[&[1], &content[552..552 + len]])?;
        }
    }
    // Opened again, so that everything is in the snapshot.
    let (_, files) = state()?;
    let disk = SimDisk::with_files(files);
    let state = ActorState::options().open_on(disk.storage(), "state")?;
    for (name, content) in disk.files() {
        if name.starts_with("journal-") {
            put_journal("snapshot", &content)?;
            put("payload", "snapshot", &[&[1], &payload(&content)])?;
        }
    }
    drop(state);
    Ok(())
}

/// The payload of the first record of a journal.
fn payload(journal: &[u8]) -> Vec<u8> {
    let record = &journal[512..];
    let len = u32::from_le_bytes([record[4], record[5], record[6], record[7]]) as usize;
    let mut payload = record[40..512].to_vec();
    record[512..].chunks(512).for_each(|sector| payload.extend_from_slice(&sector[8..]));
    payload.truncate(len);
    payload
}

fn files() -> Result<()> {
    for (which, (name, content)) in (0u8..).zip(format::STATE) {
        let head = &trimmed(content)[..trimmed(content).len().min(560)];
        put("state_files", name, &[&[which, 1, 0, 0], head])?;
    }
    // The second commit of the journal, damaged and not.
    put("state_files", "commit", &[&[2, 1, 0, 8], &format::STATE[2].1[0x800..0x8c0]])?;
    put("state_files", "torn", &[&[2, 0, 0x30, 9], &[0; 64]])?;
    put("state_files", "missing-journal", &[&[2, 4, 0, 0]])?;
    put("state_files", "missing-slot", &[&[3, 4, 0, 0]])?;
    // The commit of a call: the third record.
    put("payload", "commit", &[&[0], &format::STATE[2].1[0x828..0x828 + 0x7a]])
}

fn values() -> Result<()> {
    let small = Bytes::from(vec![1, 2, 3]);
    let large = Bytes::from(vec![1; codec::BLOB_MIN_BYTES]);
    let big: Integer = "-340282366920938463463374607431768211457".parse()?;
    let seeds = [
        ("number", codec::encode(&1_000_000u64)?),
        ("text", codec::encode("text")?),
        ("float", codec::encode(&1.5f64)?),
        ("big", codec::encode(&big)?),
        ("bytes", codec::encode(&small)?),
        ("array", codec::encode(&large)?),
        ("list", codec::encode(&(vec![big.clone()], (true, None::<u16>, ())))?),
        ("map", codec::encode(&BTreeMap::from([(big, vec![small, large])]))?),
        ("call", codec::encode(&(SessionId(1 << 80), CallId::foreign([1; 10]), 0))?),
    ];
    for (name, Encoded { inline, blobs }) in seeds {
        put("value", name, &[&[blobs.len() as u8], &inline])?;
    }
    Ok(())
}

fn texts() -> Result<()> {
    let names = format::STATE.map(|(name, _)| name.to_owned());
    let call = CallId { session: SessionId(1 << 80), sequence: 9 }.to_string();
    let others = ["visits-2", "%2e%2e%2fuser", "power", "process", "-12345678901234567890123"];
    let texts = names.into_iter().chain(others.map(str::to_owned)).chain([call]);
    for (number, text) in texts.enumerate() {
        put("text", &format!("text-{number}"), &[text.as_bytes()])?;
    }
    Ok(())
}

/// Frames are short, and have no checksums: one of each kind.
fn frames() -> Result<()> {
    let value: &[u8] = &[0, 1, 0, 0, 0, 0xf6, 0, 0, 0, 0];
    let mut shared = vec![1];
    shared.extend_from_slice(&[7; 24]);
    shared.extend_from_slice(&1u32.to_le_bytes());
    shared.extend_from_slice(&[8; 24]);
    let call = [&[1; 32][..], &[0, 0, 0, 0, 1], value].concat();
    let bodies: [(u8, Vec<u8>); 8] = [
        (1, [value, &shared].concat()),
        (2, call),
        (3, vec![2; 16]),
        (4, b"\x04\0\0\0gone".to_vec()),
        (5, [&[3; 8][..], &[1, 0], &[4; 24], value].concat()),
        (6, vec![7; 24]),
        (7, vec![7; 16]),
        (8, vec![7; 16]),
    ];
    let frames = bodies.map(|(kind, body)| {
        let length = (body.len() as u32 + 1).to_le_bytes();
        [&length[..], &[kind], &body].concat()
    });
    for (number, frame) in frames.iter().enumerate() {
        put("wire", &format!("frame-{}", number + 1), &[&[1], frame])?;
    }
    let stream: Vec<u8> = frames
        .iter()
        .enumerate()
        .filter(|(n, _)| *n != 5)
        .flat_map(|(_, frame)| frame.clone())
        .collect();
    put("wire", "stream", &[&[0], &stream])
}

/// Values are shown whatever their type is.
fn shown() -> Result<()> {
    for entry in std::fs::read_dir("corpus/value")? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        std::fs::create_dir_all("corpus/show")?;
        std::fs::copy(&path, Path::new("corpus/show").join(name))?;
    }
    Ok(())
}

fn exported() -> Result<()> {
    let (mut view, _) = state()?;
    // A small array in the place of the large ones, so that the seed is short.
    let array = Encoded { inline: vec![0], blobs: vec![Bytes::from(vec![1, 2, 3])] };
    view.attributes.retain(|_, value| value.size() < 1000);
    view.attributes.insert("array".to_owned(), array.clone());
    view.attributes.insert("again".to_owned(), array);
    view.ledger.raise_floor(CallId::foreign(*b"0123456789").session, 1);
    let exported = export::Exported { state_id: 1, epoch: 2, exported_ms: 3, view };
    put("export", "state", &[&[1], &export::encode(&exported)])
}

/// A table and a batch of two members each.
fn groups() -> Result<()> {
    let place = |member: u64, segment: u32, offset: u64| {
        [&member.to_le_bytes()[..], &segment.to_le_bytes(), &offset.to_le_bytes()].concat()
    };
    let entry = |member, offset, bytes: &[u8]| {
        [&place(member, 1, offset)[..], &(bytes.len() as u32).to_le_bytes(), bytes].concat()
    };
    let table = [&[1, 2, 0, 0, 0][..], &place(1, 1, 1024), &place(7, 2, 65_536)].concat();
    let batch = [entry(1, 1024, &[5; 72]), entry(7, 512, &[6; 64]), entry(1, 1096, &[])].concat();
    put("group", "table", &[&[0], &table])?;
    put("group", "batch", &[&[1], &batch])?;
    put("group", "redo", &[&[2], &batch])
}

fn main() -> Result<()> {
    groups()?;
    exported()?;
    journals()?;
    files()?;
    values()?;
    shown()?;
    texts()?;
    frames()
}
