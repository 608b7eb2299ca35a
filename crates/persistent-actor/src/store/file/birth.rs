//! What is done once in the life of a state: its first journal, and its name.
//!
//! A new state is complete, and may be told of, when its first journal has its name and that of
//! the directory is synced, too. Until then it opens as new: the journal gets its name in one
//! step, when it is whole.

use super::{FileStore, Stop, check_sizes, is_large};
use crate::codec::Encoded;
use crate::options::Options;
use crate::store::names::FileName;
use crate::store::patches::Plan;
use crate::store::{Record, View, identity};

/// What a new state holds: these attributes, as if its first commit had set them. Nothing, if they
/// have to lie in slots, or cannot be stored: then they are committed like any others.
pub(super) fn view(initial: Vec<(String, Encoded)>, options: &Options) -> View {
    let mut view = View::default();
    let record = Record { sequence: 1, call: None, changes: initial };
    let fits = check_sizes(&record, &Plan::new()).is_ok() && !is_large(&record);
    if fits && !record.changes.is_empty() {
        view.apply(record, &options.limits);
    }
    view
}

/// Above which commit the directory gets its `identity`, if it has none: a state that holds only
/// what it began with can do without. As long as it has none, the directory's own name may not be
/// synced: whoever made it may have been killed before that.
pub(super) fn unnamed(names: &[FileName], view: &View) -> Option<u64> {
    let is_new = !names.iter().any(|name| matches!(name, FileName::Journal(_)));
    let above = if is_new { view.sequence } else { 0 };
    (!names.contains(&FileName::Identity)).then_some(above)
}

impl FileStore {
    pub(super) fn needs_identity(&self, view: &View) -> bool {
        self.unnamed.is_some_and(|above| view.sequence > above)
    }

    /// Writes `identity`, if it is due; says whether. It follows from the journal, which is
    /// durable, and nothing that is answered follows from it.
    pub(super) fn write_identity(&mut self, view: &View) -> Result<bool, Stop> {
        let is_due = self.needs_identity(view);
        if is_due {
            // The directory may hold another state by now.
            self.check_claim_now()?;
            self.complete()?;
        }
        Ok(is_due)
    }

    /// Writes `identity`, if there is none yet.
    pub(in crate::store) fn complete(&mut self) -> Result<(), Stop> {
        if self.unnamed.take().is_some() {
            identity::write(&self.disk, self.state_id, self.claim.epoch)?;
        }
        Ok(())
    }
}
