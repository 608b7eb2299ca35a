//! Makes states whole whose last incarnation has ended without doing so.
//!
//! A successor does it, too, when it opens the state. But there may never be one, and until then
//! each file of the group journal would name the member.

use std::cmp::Ordering;
use std::io::ErrorKind;

use super::head::Head;
use super::{GroupJournal, Member};
use crate::error::{OpenError, StoreError};
use crate::store::disk::Disk;
use crate::store::failure::ReadError;

/// How often a state is looked at whose journal is just being replaced.
const ATTEMPTS: u32 = 3;

/// Makes `state` whole without what its incarnation of this epoch, the `member`, which writes no more,
/// has left to the group journal. `false` if that is not possible; an error if the disk has failed.
pub(super) fn make_whole(
    group: &GroupJournal,
    state: &str,
    member: Member,
    epoch: u64,
) -> Result<bool, StoreError> {
    let storage = match group.root.open(state, false) {
        Err(OpenError::NotFound { .. }) => return Ok(true),
        Err(_) => return Ok(false),
        Ok(storage) => storage,
    };
    let disk = Disk::new(storage, group.options.switches.sync);
    for _ in 0..ATTEMPTS {
        let head = match Head::find(&disk) {
            Ok(Some(head)) => head,
            Ok(None) => return Ok(true),
            Err(ReadError::Io(failure)) if failure.kind() == ErrorKind::NotFound => continue,
            // Whoever opens the state next tells what is wrong with it.
            Err(_) => return Ok(false),
        };
        let done = match head.epoch().cmp(&epoch) {
            Ordering::Less => return Ok(false),
            Ordering::Equal => head.make_whole(member, &disk),
            // That of a successor holds all that this one did, and was synced before it got its name.
            Ordering::Greater => head.confirm_name(&disk),
        };
        match done {
            Ok(false) => {}
            done => return done.map_err(|failure| failure.into_store_error(&group.path(state))),
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::codec;
    use crate::options::Options;
    use crate::store::{FileStore, Record, Store};
    use crate::testing::SimDisk;

    /// One commit that is durable through the group journal only, and its writer is gone.
    fn live_and_die(disk: &SimDisk, group: &GroupJournal, name: &str) {
        let member = group.join(name);
        let options = Options::default().group(Some(member)).group_run(Some(group.run()));
        let opened = FileStore::open_on(disk.dir(name), Path::new(name), &options);
        let (mut store, view) = opened.unwrap();
        let changes = vec![("n".to_owned(), codec::encode(&1).unwrap())];
        store.commit(&Record { sequence: 1, call: None, changes }, &view).unwrap();
        group.submit(member, &store.take_written().unwrap()).unwrap();
        group.flush().unwrap();
        group.forsake(member, store.epoch());
    }

    #[test]
    fn members_that_were_killed_do_not_pile_up() {
        let (disk, options) = (SimDisk::default(), Options::default());
        let group = GroupJournal::open_on(disk.root(), &options, None).unwrap();
        for round in 0..100 {
            live_and_die(&disk, &group, &format!("a{round}"));
            assert_eq!(group.members().marks().count(), 1);
            while group.needs_maintenance() {
                group.maintain().unwrap();
            }
            assert_eq!(group.members().marks().count(), 0);
            assert!(group.members().states().is_empty());
        }
    }

    #[test]
    fn members_that_could_not_open_their_states_do_not_pile_up() {
        let (disk, options) = (SimDisk::default(), Options::default().create(false));
        let group = Arc::new(GroupJournal::open_on(disk.root(), &options, None).unwrap());
        for _ in 0..100 {
            let opened = GroupJournal::open_state(&group, "nobody", options.clone());
            assert!(matches!(opened, Err(OpenError::NotFound { .. })));
        }
        assert_eq!(group.members().states().len(), 1);
    }

    /// It has the same names and the same epoch.
    #[test]
    fn a_state_that_took_the_place_of_one_that_was_forsaken_is_left_alone() {
        let (disk, options) = (SimDisk::default(), Options::default());
        let group = GroupJournal::open_on(disk.root(), &options, None).unwrap();
        live_and_die(&disk, &group, "a");
        let dir = disk.dir("a");
        dir.list().unwrap().iter().for_each(|name| dir.remove(name).unwrap());
        live_and_die(&disk, &group, "a");
        let content = || disk.files().into_iter().filter(|(name, _)| name.starts_with("a/"));
        let before: Vec<_> = content().collect();
        // That of the second is not due yet.
        let second = group.members().next_forsaken().unwrap();
        group.maintain().unwrap();
        assert!(content().eq(before) && !group.members().has_forsaken());
        group.members().forsake(second.0, second.2);
        group.maintain().unwrap();
        assert_eq!(group.members().states().len(), 1, "the first is a member until the end");
        assert_eq!(group.members().marks().count(), 1);
    }

    /// What is in the way of one state does not hold up the others.
    #[test]
    fn a_state_that_cannot_be_made_whole_stays_a_member_and_the_group_journal_is_of_use() {
        let (disk, options) = (SimDisk::default(), Options::default());
        let group = GroupJournal::open_on(disk.root(), &options, None).unwrap();
        live_and_die(&disk, &group, "damaged");
        let journals = disk.dir("damaged").list().unwrap();
        let journal = journals.iter().find(|name| name.starts_with("journal-")).unwrap();
        disk.dir("damaged").open(journal).unwrap().write_at(b"?", 20).unwrap();
        while group.needs_maintenance() {
            group.maintain().unwrap();
        }
        assert_eq!(group.members().states().len(), 1);
        live_and_die(&disk, &group, "another");
    }
}
