//! What holds for every state that was read, whatever it was read from.

use persistent_actor::LedgerLimits;
use persistent_actor::store::{Salvage, View, fuzzing};
use persistent_actor::{Admission, CallId, OpenError};

/// Checks a state by itself.
///
/// # Panics
/// If it cannot be a state.
pub fn view(view: &View) {
    let (mut calls, mut bytes) = (0, 0);
    for (session, of_session) in view.ledger.sessions() {
        for (&sequence, entry) in &of_session.calls {
            let id = CallId { session, sequence };
            let admission = view.ledger.admit(id, entry.digest);
            assert!(admission == Admission::Replay(entry.reply.clone()), "{id} is answered");
            let other = view.ledger.admit(id, !entry.digest);
            assert_eq!(other, Admission::IdReused, "{id} with other arguments");
            calls += 1;
            bytes += entry.reply.value.size() + 64;
        }
    }
    assert_eq!(view.ledger.len(), calls, "the calls by age are those by session");
    assert_eq!(view.ledger.bytes(), bytes, "the size of the ledger");
}

/// Checks that a state stays the same when it is written and read.
///
/// # Panics
/// If it does not.
pub fn view_reads_back(view: &View) {
    let limits = LedgerLimits::default();
    let read = fuzzing::encode_and_read_snapshot(view, &limits);
    let Some((again, of_ledger)) = read else { panic!("a state cannot be written and read") };
    assert!(again == *view);
    assert_eq!((of_ledger.max_bytes, of_ledger.max_calls), (limits.max_bytes, limits.max_calls));
}

/// Checks that salvage agrees with what was read, or not read, of the same files.
///
/// # Panics
/// If it does not.
pub fn salvage_agrees(
    read: &Result<(View, bool), OpenError>,
    salvaged: &Result<Salvage, OpenError>,
) {
    if let Ok(Salvage { committed, partial, .. }) = salvaged {
        committed.iter().chain(partial).for_each(self::view);
    }
    match (read, salvaged) {
        (Ok((view, _)), Ok(salvage)) => {
            assert_eq!(salvage.damage, [], "what can be read is not damaged");
            assert!(salvage.committed.as_ref() == Some(view));
            assert!(salvage.partial.as_ref() == Some(view));
        }
        (Err(OpenError::Damaged { .. }), Ok(salvage)) => assert_ne!(salvage.damage, []),
        (Err(OpenError::NewerVersion { .. }), Err(OpenError::NewerVersion { .. }))
        | (Err(OpenError::NotFound { .. }), Err(OpenError::NotFound { .. }))
        | (Err(OpenError::NotAState { .. }), Err(OpenError::NotAState { .. }))
        | (Err(OpenError::Unreadable { .. }), Err(OpenError::Unreadable { .. })) => {}
        // A file may be damaged in one place and of a newer version in another.
        (Err(OpenError::Damaged { .. } | OpenError::NewerVersion { .. }), _) => {}
        (read, salvaged) => {
            let read = read.as_ref().map(|_| "a state");
            let salvaged = salvaged.as_ref().map(|salvage| &salvage.damage);
            panic!("reading gave {read:?}, salvaging {salvaged:?}")
        }
    }
}
