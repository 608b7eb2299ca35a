//! [`Durability`]: how much a committed call survives.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a call that was answered survives.
///
/// | level | survives | before the reply leaves |
/// | --- | --- | --- |
/// | `none` | nothing: the state lives in the actor's memory | nothing is written |
/// | `process` | the death of any of our processes | the record is written to the operating system |
/// | `power` | power loss and kernel crash as well | one `fdatasync` has returned |
///
/// After a power loss, a store that was written at `process` is an older valid state or an
/// error, never a mixture.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Survives nothing.
    None,
    /// Survives the death of processes.
    Process,
    /// Survives power loss. The default.
    #[default]
    Power,
}

impl Durability {
    /// The level's name: `none`, `process` or `power`.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Process => "process",
            Self::Power => "power",
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A word that names no durability level.
#[derive(Debug, thiserror::Error)]
#[error("unknown durability {0:?}: expected none, process or power")]
pub struct UnknownDurability(String);

impl FromStr for Durability {
    type Err = UnknownDurability;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        [Self::None, Self::Process, Self::Power]
            .into_iter()
            .find(|level| level.name() == word)
            .ok_or_else(|| UnknownDurability(word.to_owned()))
    }
}
