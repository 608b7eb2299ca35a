//! [`Faults`]: how much may go wrong in one run.

/// How often each fault may strike in one run; the bounds keep the space of states finite.
///
/// A fault strikes between any two steps, or never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    /// The current worker dies.
    pub deaths: u8,
    /// The node loses its worker, which lives on as a zombie: it takes each of its remaining
    /// steps at any later time, or never.
    pub zombies: u8,
    /// Every process dies, and of what was not synced any part is lost.
    pub power_losses: u8,
    /// A late copy of a call that was answered reaches the worker.
    pub late_copies: u8,
}

impl Faults {
    /// How many faults may still strike.
    pub fn total(self) -> u8 {
        self.deaths + self.zombies + self.power_losses + self.late_copies
    }
}
