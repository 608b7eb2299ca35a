//! From what was typed to a state directory, and from a directory to an actor's name.

use std::path::{Path, PathBuf};

use crate::cli::RootArg;
use crate::error::Error;

/// The longest escaped name. Bytes.
const MAX_NAME_BYTES: usize = 200;

/// The state directory that was named.
pub(crate) fn state_path(state: &Path, root: &RootArg) -> Result<PathBuf, Error> {
    refuse_redis(state)?;
    let Some(root) = &root.root else {
        // Without a slash at the end, so that names can be put beside it.
        return Ok(state.components().collect());
    };
    let Some(name) = state.to_str() else {
        let message = format!("the actor's name {:?} is not UTF-8", state.display());
        return Err(Error::Refused(message));
    };
    Ok(root.join(escape(name)?))
}

/// Refuses a URL of a state in Redis, which is not shown: there is a password in it.
pub(crate) fn refuse_redis(path: &Path) -> Result<(), Error> {
    match path.to_str() {
        Some(url) if url.starts_with("redis://") || url.starts_with("rediss://") => {
            Err(Error::Refused(
                "states in Redis are out of reach here: expected the path of a directory or file. \
                 `redis-cli` reads them beside a running actor (docs/format-redis.md names the \
                 keys); Python's ActorState(url) takes them over from it"
                    .to_owned(),
            ))
        }
        _ => Ok(()),
    }
}

/// The name of an actor's directory, as the local engine makes it: letters, digits, `-` and `_`
/// stay, every other byte becomes `%` and two hexadecimal digits.
fn escape(name: &str) -> Result<String, Error> {
    let mut escaped = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => escaped.push(byte.into()),
            _ => escaped += &format!("%{byte:02X}"),
        }
    }
    if escaped.is_empty() || escaped.len() > MAX_NAME_BYTES {
        return Err(Error::Refused(format!(
            "{name:?} is no actor's name: expected one that takes 1 to {MAX_NAME_BYTES} bytes when \
             every byte but ASCII letters, digits, - and _ is counted three times; this one takes \
             {}",
            escaped.len()
        )));
    }
    Ok(escaped)
}

/// The actor's name; `None` if the local engine would not give its directory this name.
pub(crate) fn unescape(directory: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = directory.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    let name = String::from_utf8(bytes).ok()?;
    (escape(&name).ok()? == directory).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_comes_back_from_its_directory() {
        for name in ["Counter-7_b", "../x", "a%2F", "ä\0", "1/2 \u{1b}"] {
            assert_eq!(unescape(&escape(name).unwrap()).as_deref(), Some(name));
        }
        assert_eq!(escape("../x").unwrap(), "%2E%2E%2Fx");
    }

    #[test]
    fn directories_that_are_no_actors_have_no_name() {
        for directory in ["", ".lock", "a b", "%", "%2", "%zz", "%2e", "%41", "%FF", "%+1"] {
            assert_eq!(unescape(directory), None, "{directory}");
        }
    }

    #[test]
    fn a_name_that_is_too_long_is_refused_before_it_becomes_a_path() {
        let error = escape(&"/".repeat(67)).unwrap_err().to_string();
        assert!(error.ends_with("this one takes 201"), "{error}");
        assert!(escape("").is_err());
    }
}
