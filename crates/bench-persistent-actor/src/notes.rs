//! What is said while a run goes on: progress and notes, on standard error.

use std::io::Write;

use indicatif::ProgressBar;

use crate::progress;

/// The run's voice; silent when quiet. Clones are one voice.
#[derive(Clone, Debug)]
pub struct Notes {
    bar: ProgressBar,
    quiet: bool,
}

impl Notes {
    /// For a run of so many steps of this name (in the plural).
    pub fn new(steps: u64, unit: &str, quiet: bool) -> Self {
        Self { bar: progress::bar(steps, unit, quiet), quiet }
    }

    /// One more step is done.
    pub fn step_done(&self) {
        if !self.bar.is_hidden() {
            self.bar.inc(1);
        }
    }

    /// So many steps were done before this program began.
    pub fn steps_done_before(&self, steps: u64) {
        self.bar.set_position(steps);
        self.bar.reset_eta();
    }

    /// Prints a line.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            self.bar.suspend(|| print(text));
        }
    }

    /// Prints a line that says what is wrong, quiet or not.
    pub fn error(&self, text: &str) {
        self.bar.suspend(|| print(text));
    }

    /// Takes the progress bar away.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// Prints a line on standard error. With that gone there is nobody left to tell.
pub fn print(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
