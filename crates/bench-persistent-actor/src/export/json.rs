//! `--json`: all figures of a run.

use std::io::{self, Write};

use serde::Serialize;

use crate::export::OutputFile;

/// Writes what was found as one JSON object, indented; the fields are those of
/// [`Measurement`](crate::measurement::Measurement) or [`Report`](crate::chaos::report::Report).
///
/// # Errors
/// What the system said.
pub fn write(file: OutputFile, found: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_string_pretty(found)?;
    text.push('\n');
    file.begin()?.write_all(text.as_bytes())
}
