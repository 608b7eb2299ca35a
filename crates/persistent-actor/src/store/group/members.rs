//! [`Members`]: the incarnations of states that have a part in a group journal.

use std::collections::{BTreeMap, BTreeSet};

use super::batch::Mark;
use crate::store::names::FileId;

/// The incarnations of states that have a part in a group journal, by their numbers.
#[derive(Default)]
pub(super) struct Members {
    last: u64,
    incarnations: BTreeMap<u64, Incarnation>,
    /// Those that have ended, with the epochs under which they had opened their states: these are to
    /// be made whole.
    forsaken: Vec<(u64, u64)>,
    /// States that could not be opened by whoever had joined for that.
    doubtful: BTreeSet<String>,
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

    /// It has ended, and its state, opened under this epoch, may need the group journal.
    pub(super) fn forsake(&mut self, number: u64, epoch: u64) {
        self.forsaken.push((number, epoch));
    }

    pub(super) fn has_forsaken(&self) -> bool {
        !self.forsaken.is_empty()
    }

    /// Takes out one whose state is to be made whole: number, state and epoch. It stays a member.
    pub(super) fn next_forsaken(&mut self) -> Option<(u64, String, u64)> {
        while let Some((number, epoch)) = self.forsaken.pop() {
            if let Some(member) = self.incarnations.get(&number) {
                return Some((number, member.state.clone(), epoch));
            }
        }
        None
    }

    /// It could not open its state; how far that came is not known.
    pub(super) fn give_up(&mut self, number: u64) {
        self.doubtful.extend(self.incarnations.remove(&number).map(|member| member.state));
    }

    /// The states that may need the group journal.
    pub(super) fn states(&self) -> BTreeSet<String> {
        let members = self.incarnations.values().map(|member| &member.state);
        members.chain(&self.doubtful).cloned().collect()
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
