//! [`Limit`]: how often something may happen.

/// How often something may happen: a number, or without limit.
///
/// ```
/// use persistent_actor_runtime::Limit;
/// assert!(Limit::from(3).allows(3));
/// assert!(!Limit::from(3).allows(4));
/// assert!(Limit::Unlimited.allows(u64::MAX));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Limit {
    /// Any number of times.
    #[default]
    Unlimited,
    /// At most so many times.
    Times(u32),
}

impl Limit {
    /// Whether it may happen `times` times.
    pub fn allows(self, times: u64) -> bool {
        match self {
            Self::Unlimited => true,
            Self::Times(limit) => times <= u64::from(limit),
        }
    }
}

impl From<u32> for Limit {
    fn from(times: u32) -> Self {
        Self::Times(times)
    }
}
