//! A file for each command.

pub(crate) mod calls;
pub(crate) mod compact;
pub(crate) mod copy;
pub(crate) mod delete;
pub(crate) mod diff;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod outcome;
pub(crate) mod parked;
pub(crate) mod repair;
pub(crate) mod show;
pub(crate) mod verify;
