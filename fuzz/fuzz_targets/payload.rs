//! The payload of a record: what can be read can be written and read again, and is the same.
//!
//! Input: a byte (even: a commit; odd: a snapshot), then the payload.

#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use persistent_actor::LedgerLimits;
use persistent_actor::store::{View, fuzzing};
use persistent_actor_fuzz::{check, memory};

fn commit(payload: &[u8], limit: usize) {
    let Some(record) = memory::bounded(limit, || fuzzing::read_commit(payload, 7)) else { return };
    let names: BTreeSet<&String> = record.changes.iter().map(|(name, _)| name).collect();
    if names.len() == record.changes.len() {
        let again = fuzzing::encode_and_read_commit(&record);
        assert!(again == Some((record.clone(), true)), "{record:?}");
    }
    let mut view = View::default();
    view.apply(record, &LedgerLimits::default());
    check::view(&view);
    check::view_reads_back(&view);
}

fn snapshot(payload: &[u8], limit: usize) {
    let read = memory::bounded(limit, || fuzzing::read_snapshot(payload, 7));
    let Some((mut view, limits)) = read else { return };
    check::view(&view);
    check::view_reads_back(&view);
    view.ledger.trim(&limits);
    check::view(&view);
    view.ledger.expire(&limits, 1 << 45);
    check::view(&view);
    check::view_reads_back(&view);
}

fuzz_target!(|input: &[u8]| {
    let Some((kind, payload)) = input.split_first() else { return };
    // A reference of 28 bytes may stand for large CBOR, which is made up here.
    let limit = (1 << 16) + payload.len() * 64 + payload.len() / 28 * (1 << 17);
    match kind % 2 {
        0 => commit(payload, limit),
        _ => snapshot(payload, limit),
    }
});
