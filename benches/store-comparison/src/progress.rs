//! One line on standard error that says what is being measured.

use std::io::{IsTerminal, Write, stderr};

/// Shown on a terminal only, and taken away at the end.
pub(crate) struct Progress {
    shown: bool,
}

impl Progress {
    pub(crate) fn new(quiet: bool) -> Self {
        Self { shown: !quiet && stderr().is_terminal() }
    }

    pub(crate) fn show(&self, what: &str) {
        if self.shown {
            // A terminal that went away does not stop the measurement.
            let _ = write!(stderr(), "\r\x1b[2K{what}");
        }
    }

    pub(crate) fn clear(&self) {
        self.show("");
    }
}
