//! `--json`: all figures of a run.

use std::io::{self, Write};

use crate::export::OutputFile;
use crate::measurement::Measurement;

/// Writes the measurement as one JSON object, indented; the fields are those of [`Measurement`].
///
/// # Errors
/// What the system said.
pub fn write(file: OutputFile, measurement: &Measurement) -> io::Result<()> {
    let mut text = serde_json::to_string_pretty(measurement)?;
    text.push('\n');
    file.begin()?.write_all(text.as_bytes())
}
