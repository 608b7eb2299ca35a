//! `run.json`: which run a state directory belongs to, so that it is resumed with the parameters
//! with which it began.
//!
//! Written before the first actor starts, under another name first: it is there whole or not at
//! all, also after a power loss. Names of actors' directories contain no dot.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use persistent_actor::Durability;
use serde::{Deserialize, Serialize};

/// The file's name.
pub const NAME: &str = "run.json";

/// Its name while it is written.
pub const UNFINISHED: &str = ".run.json.unfinished";

/// The version of the file that this program writes and reads.
const VERSION: u64 = 1;

/// More is no run file. Bytes.
const MAX_BYTES: u64 = 64 * 1024;

/// What determines a run's calls and its right answer, and what that answer survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunParameters {
    /// Whether the state is 10 MiB.
    pub large: bool,
    /// How many actors.
    pub num_actors: usize,
    /// How many rounds.
    pub num_rounds: u64,
    /// What the states survive; `None` in files of earlier versions, which did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
}

/// The whole file.
#[derive(Serialize, Deserialize)]
struct Content {
    version: u64,
    #[serde(flatten)]
    parameters: RunParameters,
}

/// A run file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RunFileError {
    /// There is none.
    #[error(
        "there is no run to resume here; expected the directory of a run that was begun with \
         --safe-state and --state-dir"
    )]
    Missing,
    /// The system refused.
    #[error("cannot read {NAME}: {0}; expected a file that you can read")]
    Unreadable(#[source] io::Error),
    /// It is not what this program writes.
    #[error("{NAME} is damaged: {0}; it was left as it is")]
    Damaged(String),
    /// It is from a newer version of this program.
    #[error("{NAME} has version {0}, this program knows version {VERSION}; use a newer one")]
    Newer(u64),
}

/// Writes the run file of a directory that has none.
///
/// # Errors
/// What the system said.
pub fn write(dir: &Path, parameters: RunParameters) -> io::Result<()> {
    let mut text = serde_json::to_string_pretty(&Content { version: VERSION, parameters })?;
    text.push('\n');
    let unfinished = dir.join(UNFINISHED);
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, dir.join(NAME))?;
    File::open(dir)?.sync_all()
}

/// Reads the run file of a directory.
///
/// # Errors
/// See [`RunFileError`].
pub fn read(dir: &Path) -> Result<RunParameters, RunFileError> {
    let file = File::open(dir.join(NAME)).map_err(|error| match error.kind() {
        ErrorKind::NotFound => RunFileError::Missing,
        _ => RunFileError::Unreadable(error),
    })?;
    let mut text = String::new();
    match file.take(MAX_BYTES).read_to_string(&mut text) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            return Err(RunFileError::Damaged("it is no text".to_owned()));
        }
        Err(error) => return Err(RunFileError::Unreadable(error)),
    }
    let damaged = |error: serde_json::Error| RunFileError::Damaged(error.to_string());
    let value: serde_json::Value = serde_json::from_str(&text).map_err(damaged)?;
    match value.get("version").and_then(serde_json::Value::as_u64) {
        Some(version) if version > VERSION => return Err(RunFileError::Newer(version)),
        _ => {}
    }
    let content: Content = serde_json::from_value(value).map_err(damaged)?;
    if content.parameters.num_actors == 0 {
        return Err(RunFileError::Damaged("it names no actors".to_owned()));
    }
    Ok(content.parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMETERS: RunParameters = RunParameters {
        large: true,
        num_actors: 7,
        num_rounds: 5,
        durability: Some(Durability::Process),
    };

    #[test]
    fn a_run_file_reads_back_what_was_written() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(read(dir.path()), Err(RunFileError::Missing)));
        write(dir.path(), PARAMETERS).unwrap();
        assert_eq!(read(dir.path()).unwrap(), PARAMETERS);
        assert!(!dir.path().join(UNFINISHED).exists());
    }

    #[test]
    fn a_run_file_of_an_earlier_version_does_not_say_what_its_states_survive() {
        let dir = tempfile::tempdir().unwrap();
        let text = br#"{"version":1,"large":true,"num_actors":7,"num_rounds":5}"#;
        fs::write(dir.path().join(NAME), text).unwrap();
        assert_eq!(read(dir.path()).unwrap(), RunParameters { durability: None, ..PARAMETERS });
    }

    #[test]
    fn what_is_no_run_file_is_damaged_and_never_missing() {
        let dir = tempfile::tempdir().unwrap();
        for bad in [&b""[..], b"{", b"\xff\xfe", b"[]", br#"{"version":1,"large":true}"#] {
            fs::write(dir.path().join(NAME), bad).unwrap();
            assert!(matches!(read(dir.path()), Err(RunFileError::Damaged(_))), "{bad:?}");
        }
        fs::write(dir.path().join(NAME), br#"{"version":2}"#).unwrap();
        assert!(matches!(read(dir.path()), Err(RunFileError::Newer(2))));
    }
}
