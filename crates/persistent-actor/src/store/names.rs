//! The names of the files in a state directory.

use std::fmt;

/// The file that says which state a directory holds.
pub(crate) const IDENTITY: &str = "identity";

/// What distinguishes files of one kind: the epoch that made it, and its number in that epoch.
/// Ordered by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FileId {
    pub(crate) epoch: u64,
    pub(crate) number: u32,
}

/// A file name that belongs to the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileName {
    Identity,
    Claim(u64),
    Journal(FileId),
    Slot(FileId),
    Temporary(FileId),
}

impl FileName {
    /// Reads a name; `None` if it is not one of ours.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        if name == IDENTITY {
            return Some(Self::Identity);
        }
        let (kind, rest) = name.split_once('-')?;
        match kind {
            "epoch" => Some(Self::Claim(hex(rest, 16)?)),
            "journal" => Some(Self::Journal(file_id(rest)?)),
            "slot" => Some(Self::Slot(file_id(rest)?)),
            "temporary" => Some(Self::Temporary(file_id(rest)?)),
            _ => None,
        }
    }

    /// The epoch in the name.
    pub(crate) fn epoch(self) -> Option<u64> {
        match self {
            Self::Identity => None,
            Self::Claim(epoch) => Some(epoch),
            Self::Journal(id) | Self::Slot(id) | Self::Temporary(id) => Some(id.epoch),
        }
    }
}

fn file_id(text: &str) -> Option<FileId> {
    let (epoch, number) = text.split_once('-')?;
    Some(FileId { epoch: hex(epoch, 16)?, number: u32::try_from(hex(number, 8)?).ok()? })
}

/// Exactly `digits` lower-case hexadecimal digits.
fn hex(text: &str, digits: usize) -> Option<u64> {
    let valid =
        text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if valid { u64::from_str_radix(text, 16).ok() } else { None }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, id) = match self {
            Self::Identity => return f.write_str(IDENTITY),
            Self::Claim(epoch) => return write!(f, "epoch-{epoch:016x}"),
            Self::Journal(id) => ("journal", id),
            Self::Slot(id) => ("slot", id),
            Self::Temporary(id) => ("temporary", id),
        };
        write!(f, "{kind}-{:016x}-{:08x}", id.epoch, id.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back_what_it_prints() {
        let id = FileId { epoch: 0xabc, number: 7 };
        for name in [
            FileName::Identity,
            FileName::Claim(u64::MAX),
            FileName::Journal(id),
            FileName::Slot(id),
            FileName::Temporary(id),
        ] {
            assert_eq!(FileName::parse(&name.to_string()), Some(name));
        }
    }

    #[test]
    fn names_that_only_look_alike_are_not_ours() {
        for name in [
            "",
            "epoch",
            "epoch-1",
            "epoch-00000000000000AB",
            "journal-0000000000000001",
            "slot-x-y",
        ] {
            assert_eq!(FileName::parse(name), None, "{name}");
        }
    }
}
