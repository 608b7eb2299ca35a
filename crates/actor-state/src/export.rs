//! The exported file: a whole state in one portable piece (`docs/export-format.md`).

use std::collections::{BTreeMap, HashMap};

use persistent_actor::ledger::{Entry, Ledger};
use persistent_actor::store::View;
use persistent_actor::{Bytes, BytesId, CallId, Encoded, Reply, ReplyStatus, SessionId};
use xxhash_rust::xxh3::xxh3_64;

use crate::cbor::{Item, parse_plain};

const MAGIC: &[u8; 8] = b"PAexport";
const VERSION: u32 = 1;
const HEADER: usize = 16;
const TRAILER: usize = 8;

/// What an exported file holds.
#[derive(Debug, PartialEq)]
pub(crate) struct Exported {
    /// The id of the state that was exported.
    pub(crate) state_id: u128,
    /// Its epoch.
    pub(crate) epoch: u64,
    pub(crate) exported_ms: u64,
    pub(crate) view: View,
}

/// Appends CBOR heads (RFC 8949, section 3) and what belongs to them.
#[derive(Default)]
struct Writer {
    out: Vec<u8>,
    /// The large arrays and their numbers, each once.
    blobs: HashMap<BytesId, u64>,
}

impl Writer {
    fn head(&mut self, major: u8, argument: u64) {
        let bytes = argument.to_be_bytes();
        let (minor, len) = match argument {
            0..24 => (argument as u8, 0),
            24..0x100 => (24, 1),
            0x100..0x1_0000 => (25, 2),
            0x1_0000..0x1_0000_0000 => (26, 4),
            _ => (27, 8),
        };
        self.out.push(major << 5 | minor);
        self.out.extend_from_slice(&bytes[8 - len..]);
    }

    fn number(&mut self, number: u64) {
        self.head(0, number);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.head(2, bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        self.head(3, text.len() as u64);
        self.out.extend_from_slice(text.as_bytes());
    }

    fn array(&mut self, len: usize) {
        self.head(4, len as u64);
    }

    fn map(&mut self, len: usize) {
        self.head(5, len as u64);
    }

    fn value(&mut self, value: &Encoded) {
        self.array(1 + value.blobs.len());
        self.bytes(&value.inline);
        for blob in &value.blobs {
            self.number(self.blobs[&blob.id()]);
        }
    }

    fn ledger(&mut self, ledger: &Ledger) {
        self.text("forgotten_before_ms");
        self.number(ledger.expired_before_ms());
        self.text("sessions");
        self.array(ledger.sessions().count());
        for (id, session) in ledger.sessions() {
            self.array(3);
            self.bytes(&id.0.to_be_bytes());
            self.number(session.floor);
            self.array(session.calls.len());
            for (&number, entry) in &session.calls {
                self.array(6);
                for field in [number, entry.digest, entry.at_ms, entry.commit] {
                    self.number(field);
                }
                self.number(status_code(entry.reply.status));
                self.value(&entry.reply.value);
            }
        }
    }
}

fn status_code(status: ReplyStatus) -> u64 {
    match status {
        ReplyStatus::Returned => 0,
        ReplyStatus::Failed => 1,
        ReplyStatus::Panicked => 2,
    }
}

/// The whole file.
pub(crate) fn encode(exported: &Exported) -> Vec<u8> {
    let view = &exported.view;
    let mut writer = Writer::default();
    writer.out.extend_from_slice(MAGIC);
    writer.out.extend_from_slice(&VERSION.to_le_bytes());
    writer.out.extend_from_slice(&[0; 4]);
    writer.map(8);
    writer.text("state_id");
    writer.bytes(&exported.state_id.to_be_bytes());
    for (name, number) in [
        ("epoch", exported.epoch),
        ("sequence", view.sequence),
        ("exported_ms", exported.exported_ms),
    ] {
        writer.text(name);
        writer.number(number);
    }
    let mut blobs = Vec::new();
    for blob in view.values().flat_map(|value| &value.blobs) {
        let next = blobs.len() as u64;
        if *writer.blobs.entry(blob.id()).or_insert(next) == next {
            blobs.push(blob);
        }
    }
    writer.text("blobs");
    writer.array(blobs.len());
    blobs.iter().for_each(|blob| writer.bytes(blob));
    writer.text("attributes");
    writer.map(view.attributes.len());
    for (name, value) in &view.attributes {
        writer.text(name);
        writer.value(value);
    }
    writer.ledger(&view.ledger);
    let check = xxh3_64(&writer.out);
    writer.out.extend_from_slice(&check.to_le_bytes());
    writer.out
}

/// Reads a whole file; what is wrong with it otherwise.
pub(crate) fn decode(bytes: &[u8]) -> Result<Exported, String> {
    if bytes.len() < HEADER + TRAILER || &bytes[..8] != MAGIC {
        return Err(
            "it is not an exported state; expected a file made by `actor-state export`".into()
        );
    }
    let version = u32::from_le_bytes(fixed(&bytes[8..12])?);
    if version != VERSION {
        return Err(format!(
            "it has format version {version}; this program reads version {VERSION}"
        ));
    }
    let (content, check) = bytes.split_at(bytes.len() - TRAILER);
    if xxh3_64(content) != u64::from_le_bytes(fixed(check)?) {
        return Err(format!(
            "its checksum is wrong: some of its {} bytes are not those that were written, or it \
             is cut off",
            bytes.len()
        ));
    }
    // A state has no bound on its calls and attributes, so what is read has none but the length of
    // the file, which lies in memory as a whole already.
    let body = parse_plain(&content[HEADER..]).map_err(|error| error.to_string())?;
    let fields = Fields::of(&body)?;
    let blobs =
        list(fields.get("blobs")?)?.iter().map(byte_string).map(|bytes| bytes.map(Bytes::from));
    let blobs: Vec<Bytes> = blobs.collect::<Result<_, _>>()?;
    let mut view = View {
        sequence: number(fields.get("sequence")?)?,
        attributes: attributes(fields.get("attributes")?, &blobs)?,
        ledger: Ledger::default(),
    };
    let forgotten = number(fields.get("forgotten_before_ms")?)?;
    view.ledger.restore_expired_before_ms(forgotten);
    for session in list(fields.get("sessions")?)? {
        read_session(&mut view.ledger, session, &blobs)?;
    }
    view.check()?;
    Ok(Exported {
        state_id: u128::from_be_bytes(fixed(byte_string(fields.get("state_id")?)?)?),
        epoch: number(fields.get("epoch")?)?,
        exported_ms: number(fields.get("exported_ms")?)?,
        view,
    })
}

/// The entries of the outermost map.
struct Fields<'a>(BTreeMap<&'a str, &'a Item<'a>>);

impl<'a> Fields<'a> {
    fn of(body: &'a Item<'a>) -> Result<Self, String> {
        let Item::Map(entries) = body else { return Err("its content is no map".to_owned()) };
        let entries = entries.iter().filter_map(|(key, value)| match key {
            Item::Text(key) => Some((&**key, value)),
            _ => None,
        });
        Ok(Self(entries.collect()))
    }

    fn get(&self, name: &str) -> Result<&'a Item<'a>, String> {
        self.0.get(name).copied().ok_or_else(|| format!("its field {name:?} is missing"))
    }
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], String> {
    bytes.try_into().map_err(|_| format!("{} bytes stand where {N} belong", bytes.len()))
}

fn number(item: &Item<'_>) -> Result<u64, String> {
    match item {
        Item::Integer(number) => u64::try_from(*number).ok(),
        _ => None,
    }
    .ok_or_else(|| "something else stands where a number belongs".to_owned())
}

fn byte_string<'a>(item: &'a Item<'a>) -> Result<&'a [u8], String> {
    crate::cbor::content_of_bytes(item)
        .ok_or_else(|| "something else stands where a byte string belongs".to_owned())
}

fn list<'a>(item: &'a Item<'a>) -> Result<&'a [Item<'a>], String> {
    match item {
        Item::Array(items) => Ok(items),
        _ => Err("something else stands where a list belongs".to_owned()),
    }
}

fn value(item: &Item<'_>, blobs: &[Bytes]) -> Result<Encoded, String> {
    let Some((inline, references)) = list(item)?.split_first() else {
        return Err("a value is empty".to_owned());
    };
    let blob = |reference: &Item<'_>| {
        let index = number(reference)?;
        let blob = usize::try_from(index).ok().and_then(|index| blobs.get(index));
        blob.cloned().ok_or_else(|| format!("a value refers to blob {index} of {}", blobs.len()))
    };
    Ok(Encoded {
        inline: byte_string(inline)?.to_vec(),
        blobs: references.iter().map(blob).collect::<Result<_, _>>()?,
    })
}

fn attributes(item: &Item<'_>, blobs: &[Bytes]) -> Result<BTreeMap<String, Encoded>, String> {
    let Item::Map(entries) = item else { return Err("its attributes are no map".to_owned()) };
    let entries = entries.iter().map(|(name, item)| match name {
        Item::Text(name) => Ok((name.to_string(), value(item, blobs)?)),
        _ => Err("the name of an attribute is no text".to_owned()),
    });
    entries.collect()
}

fn read_session(ledger: &mut Ledger, item: &Item<'_>, blobs: &[Bytes]) -> Result<(), String> {
    let [id, floor, calls] = list(item)? else { return Err("a session is malformed".to_owned()) };
    let session = SessionId(u128::from_be_bytes(fixed(byte_string(id)?)?));
    ledger.raise_floor(session, number(floor)?);
    for call in list(calls)? {
        let [sequence, digest, at_ms, commit, status, reply] = list(call)? else {
            return Err("a call is malformed".to_owned());
        };
        let status = match number(status)? {
            0 => ReplyStatus::Returned,
            1 => ReplyStatus::Failed,
            2 => ReplyStatus::Panicked,
            other => return Err(format!("a reply has the unknown status {other}")),
        };
        let id = CallId { session, sequence: number(sequence)? };
        let (digest, at_ms, commit) = (number(digest)?, number(at_ms)?, number(commit)?);
        let reply = Reply { status, value: value(reply, blobs)? };
        ledger.insert(id, 0, Entry { digest, at_ms, commit, reply });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use persistent_actor::{Integer, codec};

    use super::*;

    fn example() -> Exported {
        let large = Bytes::from((0..100_000u32).map(|n| n as u8).collect::<Vec<u8>>());
        let bignum: Integer = "-340282366920938463463374607431768211457".parse().unwrap();
        let mut view = View { sequence: 7, ..View::default() };
        view.attributes.insert("array".to_owned(), codec::encode(&large).unwrap());
        view.attributes.insert("number".to_owned(), codec::encode(&bignum).unwrap());
        view.ledger.restore_expired_before_ms(5);
        let session = SessionId(1 << 100);
        let value = codec::encode(&large).unwrap();
        let reply = Reply { status: ReplyStatus::Failed, value };
        let entry = Entry { digest: u64::MAX, at_ms: 1, commit: 7, reply };
        view.ledger.insert(CallId { session, sequence: 3 }, 2, entry);
        Exported { state_id: u128::MAX - 1, epoch: 3, exported_ms: 9, view }
    }

    #[test]
    fn what_is_exported_comes_back() {
        let exported = example();
        let bytes = encode(&exported);
        assert_eq!(decode(&bytes).unwrap(), exported);
        assert!(bytes.len() < 110_000, "an array that two values share is written once");
    }

    #[test]
    fn a_state_of_millions_of_data_items_comes_back() {
        let mut exported = example();
        let session = SessionId(1 << 101);
        // Eight data items each.
        for number in 0..510_000 {
            let reply = Reply { status: ReplyStatus::Returned, value: Encoded::default() };
            let entry = Entry { digest: 0, at_ms: 1, commit: 8 + number, reply };
            exported.view.ledger.insert(CallId { session, sequence: number }, 0, entry);
        }
        exported.view.sequence = 510_008;
        assert!(decode(&encode(&exported)).unwrap() == exported);
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_noticed() {
        let mut bytes = encode(&example());
        for place in (0..bytes.len()).step_by(97).chain(0..40) {
            bytes[place] ^= 1;
            assert!(decode(&bytes).is_err(), "byte {place}");
            bytes[place] ^= 1;
        }
        for len in (0..bytes.len()).step_by(1009).chain([bytes.len() - 1]) {
            assert!(decode(&bytes[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn a_state_that_no_store_can_hold_is_refused() {
        let refused = |change: fn(&mut View)| {
            let mut exported = example();
            change(&mut exported.view);
            decode(&encode(&exported)).unwrap_err()
        };
        assert_eq!(
            refused(|view| view.sequence = u64::MAX),
            "no commit can follow its sequence number"
        );
        assert_eq!(
            refused(|view| view.sequence = 6),
            "two calls have one commit, or a call is newer than the last commit"
        );
        assert_eq!(
            refused(|view| {
                view.attributes.insert("a".repeat(65_536), Encoded::default());
            }),
            "the name of an attribute has more than 65535 bytes"
        );
    }

    /// A file with this content and a good checksum.
    fn sealed(body: &[u8]) -> Vec<u8> {
        let mut bytes = [&MAGIC[..], &VERSION.to_le_bytes(), &[0; 4], body].concat();
        let check = xxh3_64(&bytes);
        bytes.extend_from_slice(&check.to_le_bytes());
        bytes
    }

    #[test]
    fn content_that_is_well_sealed_but_wrong_is_an_error() {
        assert_eq!(decode(&sealed(&[0x80])).unwrap_err(), "its content is no map");
        assert_eq!(decode(&sealed(&[0xa0])).unwrap_err(), "its field \"blobs\" is missing");
        let good = encode(&example());
        let body = &good[HEADER..good.len() - TRAILER];
        for place in 0..body.len().min(200) {
            let mut body = body.to_vec();
            body[place] = 0xff;
            // Whatever it is, it is an answer and no panic.
            let _ = decode(&sealed(&body));
        }
        let mut newer = good;
        newer[8] = 2;
        let error = decode(&newer).unwrap_err();
        assert_eq!(error, "it has format version 2; this program reads version 1");
    }
}
