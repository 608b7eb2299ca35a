//! For tests: a disk that fails on demand, and switches that take a safety mechanism away, so
//! that the tests can show that they would notice. Not part of the public interface.

use serde::{Deserialize, Serialize};

pub use crate::store::sim::{Fault, Loss, Op, SimDisk};

/// Which mechanisms work. All of them, outside tests of the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switches {
    /// A committed call is answered from the ledger.
    pub dedup: bool,
    /// `power` syncs.
    pub sync: bool,
    /// Checksums are compared.
    pub checksum: bool,
    /// A superseded epoch refuses to answer.
    pub fencing: bool,
    /// A newer opener marks the claims that it removes.
    pub mark: bool,
    /// A failed method's changes are taken back.
    pub rollback: bool,
    /// A batch of a group journal is synced before its commits count as durable.
    pub group_sync: bool,
    /// The segments with entries in a group journal are synced before it is used again.
    pub group_segments: bool,
    /// What only the group journal knows is put in when a state is read.
    pub redo: bool,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            dedup: true,
            sync: true,
            checksum: true,
            fencing: true,
            mark: true,
            rollback: true,
            group_sync: true,
            group_segments: true,
            redo: true,
        }
    }
}
