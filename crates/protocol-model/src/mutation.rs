//! [`Mutation`]: one rule of the protocol taken away, to show that the checker would notice.

use std::fmt;

/// A rule of the protocol that can be taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutation {
    /// The ledger is not asked: every call that arrives runs.
    NoDedup,
    /// A writer never looks whether it was superseded.
    NoEpochCheck,
    /// A writer looks whether it was superseded before it writes, not after.
    CheckBeforeWrite,
    /// An opener reads the predecessor's segment before it publishes its epoch.
    ReadBeforeClaim,
    /// A reply leaves before its record is synced.
    AnswerBeforeSync,
    /// A call that is sent again gets a new id.
    ResendWithNewIds,
    /// Calls that were sent to a worker that is gone are not sent again.
    NoResend,
    /// Calls are sent again in another order than at first.
    ResendOutOfOrder,
    /// The ledger forgets a call when a later one commits, acknowledged or not.
    TrimWithoutAck,
    /// The ledger forgets the floor below which calls have expired.
    ForgetFloor,
    /// An opener serves without looking whether it was superseded while it opened.
    NoCheckAfterOpen,
    /// An opener that sees a higher epoch after it claimed its own goes on.
    NoStepBack,
    /// An opener serves before its first segment is synced.
    ServeBeforeSnapshotSync,
    /// The directory is not synced when a segment gets its name.
    NoNamesSync,
    /// An opener removes the older segments before its own has its name.
    RemoveBeforePublish,
    /// An opener numbers its epoch by the claims alone, not by the segments as well.
    NumberByClaimsOnly,
    /// A method that changes nothing is answered from memory, without a look at the claims.
    ReadWithoutCheck,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::NoDedup,
        Self::NoEpochCheck,
        Self::CheckBeforeWrite,
        Self::ReadBeforeClaim,
        Self::AnswerBeforeSync,
        Self::ResendWithNewIds,
        Self::NoResend,
        Self::ResendOutOfOrder,
        Self::TrimWithoutAck,
        Self::ForgetFloor,
        Self::NoCheckAfterOpen,
        Self::NoStepBack,
        Self::ServeBeforeSnapshotSync,
        Self::NoNamesSync,
        Self::RemoveBeforePublish,
        Self::NumberByClaimsOnly,
        Self::ReadWithoutCheck,
    ];
}

impl fmt::Display for Mutation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoDedup => "no dedup",
            Self::NoEpochCheck => "no epoch check",
            Self::CheckBeforeWrite => "epoch check before the write",
            Self::ReadBeforeClaim => "read before the epoch is published",
            Self::AnswerBeforeSync => "answer before sync",
            Self::ResendWithNewIds => "resend with new ids",
            Self::NoResend => "no resend",
            Self::ResendOutOfOrder => "resend out of order",
            Self::TrimWithoutAck => "trim without acknowledgement",
            Self::ForgetFloor => "the floor of the ledger is forgotten",
            Self::NoCheckAfterOpen => "no epoch check after opening",
            Self::NoStepBack => "no stepping back below a higher epoch",
            Self::ServeBeforeSnapshotSync => "serve before the snapshot is synced",
            Self::NoNamesSync => "names are not synced",
            Self::RemoveBeforePublish => "old segments removed before the new one is published",
            Self::NumberByClaimsOnly => "epochs numbered by claims alone",
            Self::ReadWithoutCheck => "reads without an epoch check",
        })
    }
}
