//! [`Reading`]: how much an opener trusts what it finds, and where it leaves it.

use std::sync::Arc;

use super::InPlace;
use super::group::Chain;

/// How the journal of a state is read.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    /// Whether checksums are compared.
    pub(crate) verify: bool,
    /// Whether what only the group journal knows is put in.
    pub(crate) redo: bool,
    /// The run of a group journal of which all that was written is known to be in the file still.
    pub(crate) trusted_run: Option<u128>,
    /// A group journal that was read before.
    pub(crate) chain: Option<Arc<Chain>>,
    /// Where large arrays can stay where they are.
    pub(crate) in_place: InPlace,
    /// Whether no later incarnation will write the slots that this one finds.
    pub(crate) slots_are_kept: bool,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            verify: true,
            redo: true,
            trusted_run: None,
            chain: None,
            in_place: InPlace::default(),
            slots_are_kept: false,
        }
    }
}
