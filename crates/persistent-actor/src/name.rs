//! Actor names to directory names and back.
//!
//! A name becomes one path component that cannot lead anywhere else: ASCII letters, digits, `-`
//! and `_` stay, every other byte of its UTF-8 becomes `%` and two hexadecimal digits. So `.`,
//! `..`, `/` and hidden files are impossible, and the name can be read back.

use std::path::{Path, PathBuf};

/// The longest directory name of an actor. Linux file systems take 255; the rest is for those who
/// put something before or after it, such as a backup. Bytes.
pub const MAX_ESCAPED_BYTES: usize = 200;

/// A name that no actor can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidName {
    /// The name is empty.
    #[error("an actor's name must not be empty")]
    Empty,
    /// The name is too long for a directory name.
    #[error(
        "the actor's name {start:?}… needs {bytes} bytes as a directory name, \
         {MAX_ESCAPED_BYTES} are possible (letters, digits, '-' and '_' need one each, other \
         bytes three)"
    )]
    TooLong {
        /// How the name starts.
        start: String,
        /// What it would need, in bytes.
        bytes: usize,
    },
}

/// The directory name of an actor.
///
/// # Errors
/// [`InvalidName`] if the name is empty or too long.
///
/// ```
/// use persistent_actor::escape_name;
/// assert_eq!(escape_name("visits-2")?, "visits-2");
/// assert_eq!(escape_name("../user")?, "%2E%2E%2Fuser");
/// # Ok::<(), persistent_actor::InvalidName>(())
/// ```
pub fn escape_name(name: &str) -> Result<String, InvalidName> {
    if name.is_empty() {
        return Err(InvalidName::Empty);
    }
    let plain = name.bytes().filter(|byte| is_plain(*byte)).count();
    let bytes = plain + (name.len() - plain) * 3;
    if bytes > MAX_ESCAPED_BYTES {
        return Err(InvalidName::TooLong { start: name.chars().take(20).collect(), bytes });
    }
    let mut escaped = String::with_capacity(bytes);
    for byte in name.bytes() {
        if is_plain(byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push('%');
            escaped.push(hex_digit(byte >> 4));
            escaped.push(hex_digit(byte & 0xf));
        }
    }
    Ok(escaped)
}

/// The actor's name that belongs to a directory name; `None` if [`escape_name`] does not make
/// such a directory name.
///
/// ```
/// use persistent_actor::unescape_name;
/// assert_eq!(unescape_name("%2E%2E%2Fuser").as_deref(), Some("../user"));
/// assert_eq!(unescape_name(".."), None);
/// ```
pub fn unescape_name(escaped: &str) -> Option<String> {
    let mut bytes = escaped.bytes();
    let mut name = Vec::with_capacity(escaped.len());
    while let Some(byte) = bytes.next() {
        name.push(match byte {
            b'%' => (hex_value(bytes.next()?)? << 4) | hex_value(bytes.next()?)?,
            byte => byte,
        });
    }
    let name = String::from_utf8(name).ok()?;
    // One name has one directory: other spellings, such as %41 for A, are not ours.
    (escape_name(&name).as_deref() == Ok(escaped)).then_some(name)
}

/// The directory of the actor `name` below `root`.
///
/// # Errors
/// [`InvalidName`] if the name is empty or too long.
pub fn state_path(root: &Path, name: &str) -> Result<PathBuf, InvalidName> {
    Ok(root.join(escape_name(name)?))
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

fn hex_digit(value: u8) -> char {
    char::from_digit(u32::from(value), 16).unwrap_or('0').to_ascii_uppercase()
}

fn hex_value(digit: u8) -> Option<u8> {
    // Lower case is not what escape_name writes.
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_name_reads_back_and_is_one_harmless_component(name in "\\PC{1,60}|[./%a]{1,20}") {
            match escape_name(&name) {
                Ok(escaped) => {
                    prop_assert_eq!(unescape_name(&escaped), Some(name));
                    prop_assert!(escaped.len() <= MAX_ESCAPED_BYTES);
                    let harmless = |b: u8| b.is_ascii_alphanumeric() || b"-_%".contains(&b);
                    prop_assert!(escaped.bytes().all(harmless) && !escaped.is_empty());
                }
                Err(InvalidName::TooLong { bytes, .. }) => prop_assert!(bytes > 200),
                Err(other) => prop_assert!(false, "{other}"),
            }
        }

        #[test]
        fn a_directory_name_belongs_to_one_name_or_none(text in "[A-Za-z0-9%_.-]{0,30}") {
            if let Some(name) = unescape_name(&text) {
                prop_assert_eq!(escape_name(&name), Ok(text));
            }
        }
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        assert_eq!(escape_name(""), Err(InvalidName::Empty));
        assert_eq!(escape_name(&"a".repeat(200)).map(|name| name.len()), Ok(200));
        assert!(escape_name(&"a".repeat(201)).is_err());
        let error = escape_name(&"é".repeat(40)).unwrap_err().to_string();
        assert!(error.contains("needs 240 bytes"), "{error}");
    }

    #[test]
    fn other_spellings_are_not_ours() {
        for text in ["", ".", "..", "a/b", "%", "%4", "%41", "%2e", "%FF", "a b"] {
            assert_eq!(unescape_name(text), None, "{text}");
        }
    }
}
