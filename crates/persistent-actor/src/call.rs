//! [`CallId`]: the identity of a call, the same in every retry.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::codec::Encoded;

/// One caller's stream of calls to one actor: 48 bits of Unix time in milliseconds, then 80
/// random bits (the layout of a ULID), so that sessions sort by age.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId(pub u128);

impl SessionId {
    /// A new session, different from all others.
    ///
    /// # Errors
    /// If the operating system has no random bytes to give.
    pub fn generate() -> std::io::Result<Self> {
        let mut random = [0; 16];
        let mut filled = 0;
        while filled < random.len() {
            let flags = rustix::rand::GetRandomFlags::empty();
            filled += rustix::rand::getrandom(&mut random[filled..], flags)?;
        }
        let random = u128::from_le_bytes(random) >> 48;
        Ok(Self((u128::from(unix_ms()) << 80) | random))
    }

    /// When the session began, in milliseconds of Unix time.
    pub fn started_ms(self) -> u64 {
        (self.0 >> 80) as u64
    }

    /// The lowest of the sessions that stand for a foreign call id.
    pub(crate) const FIRST_FOREIGN: Self = Self(u128::MAX << 80);

    /// Whether it stands for a foreign call id; see [`CallId::foreign`].
    pub fn is_foreign(self) -> bool {
        self >= Self::FIRST_FOREIGN
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The identity of a call: its session and its number in it, counted from 0.
///
/// Written `session:sequence`, the session as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CallId {
    /// The caller's session.
    pub session: SessionId,
    /// The number of the call in its session.
    pub sequence: u64,
}

impl CallId {
    /// The identity of a call that another engine has named, from a digest of that name.
    ///
    /// Such names have no order, and nobody acknowledges their replies: each is a session of its
    /// own (48 bits of ones, then the digest) with one call, number 0. The ledger remembers them
    /// as a set; see [`MAX_FOREIGN_EXPIRED`](crate::ledger::MAX_FOREIGN_EXPIRED).
    ///
    /// The digest should be cryptographic: two names with one digest would be one call.
    pub fn foreign(digest: [u8; 10]) -> Self {
        let digest = digest.iter().fold(0, |bits, byte| (bits << 8) | u128::from(*byte));
        Self { session: SessionId(SessionId::FIRST_FOREIGN.0 | digest), sequence: 0 }
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.session, self.sequence)
    }
}

/// A text that is no [`CallId`].
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a call id: expected 32 hexadecimal digits, a colon and a number")]
pub struct InvalidCallId(String);

impl FromStr for CallId {
    type Err = InvalidCallId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (session, sequence) = text.split_once(':')?;
            let session = SessionId(u128::from_str_radix(session, 16).ok()?);
            Some(Self { session, sequence: sequence.parse().ok()? })
        };
        // One call has one name: no sign, no digits too few or too many.
        let id = parse().filter(|id: &Self| id.to_string() == text);
        id.ok_or_else(|| InvalidCallId(text.to_owned()))
    }
}

/// How a call ended in the actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ReplyStatus {
    /// The method returned; the reply's value is what it returned.
    Returned,
    /// The method returned an `Err`; the reply's value is the error. Nothing was saved.
    Failed,
    /// The method panicked; the reply's value is the message, a string. Nothing was saved.
    Panicked,
}

/// The answer to a call, as it is remembered and sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// How the call ended.
    pub status: ReplyStatus,
    /// What came of it.
    pub value: Encoded,
}

/// Milliseconds of Unix time.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_id_reads_back_what_it_prints() {
        let id = CallId { session: SessionId::generate().unwrap(), sequence: 42 };
        assert_eq!(id.to_string().parse::<CallId>().unwrap(), id);
        assert!("no".parse::<CallId>().unwrap_err().to_string().contains("\"no\""));
        let session = "0".repeat(32);
        for text in ["1:2", &format!("+{}:2", &session[1..]), &format!("{session}:+2")] {
            assert!(text.parse::<CallId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_foreign_call_is_a_session_of_its_own() {
        let id = CallId::foreign([0xAB; 10]);
        assert!(id.session.is_foreign());
        assert_eq!(id.to_string(), "ffffffffffffabababababababababab:0");
        assert!(!SessionId::generate().unwrap().is_foreign());
        assert_ne!(CallId::foreign([0; 10]), id);
    }

    #[test]
    fn sessions_sort_by_the_time_they_began() {
        let before = unix_ms();
        let session = SessionId::generate().unwrap();
        assert!((before..=unix_ms()).contains(&session.started_ms()));
    }
}
