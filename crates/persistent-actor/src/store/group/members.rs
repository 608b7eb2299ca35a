//! [`Members`]: the incarnations of states that have a part in a group journal.

use std::collections::BTreeMap;

use super::batch::Mark;
use crate::store::names::FileId;

/// The incarnations of states that have a part in a group journal, by their numbers.
#[derive(Default)]
pub(super) struct Members {
    last: u64,
    incarnations: BTreeMap<u64, Incarnation>,
}

/// What is known of a member.
struct Incarnation {
    /// The name of its state.
    state: String,
    /// Up to where its newest segment is durable; `None` before its first commit.
    mark: Option<Mark>,
    /// The last group journal with an entry of it.
    last_in: u32,
}

impl Members {
    /// A new member; gives its number.
    pub(super) fn join(&mut self, state: String) -> u64 {
        self.last += 1;
        let incarnation = Incarnation { state, mark: None, last_in: 0 };
        self.incarnations.insert(self.last, incarnation);
        self.last
    }

    pub(super) fn leave(&mut self, number: u64) {
        self.incarnations.remove(&number);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.incarnations.is_empty()
    }

    /// These marks are durable in the group journal `file`.
    pub(super) fn note(&mut self, marks: &[(u64, Mark)], file: u32) {
        for (number, mark) in marks {
            if let Some(member) = self.incarnations.get_mut(number) {
                member.mark = Some(*mark);
                member.last_in = file;
            }
        }
    }

    /// Up to where the members' newest segments are durable.
    pub(super) fn marks(&self) -> impl Iterator<Item = (u64, Mark)> {
        self.incarnations.iter().filter_map(|(number, member)| Some((*number, member.mark?)))
    }

    /// The states with entries in `file` or a newer one, and their newest segments.
    pub(super) fn with_entries_since(&self, file: u32) -> Vec<(String, FileId)> {
        let since = self.incarnations.values().filter(|member| member.last_in >= file);
        since.filter_map(|member| Some((member.state.clone(), member.mark?.segment))).collect()
    }
}
