//! What holds for files in a container, whoever else is at work in it.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::Barrier;

use super::*;
use crate::durability::Durability;
use crate::{ActorState, Bytes, StateError, StoreError};

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    /// A new empty file in a directory of its own.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("state"), b"").unwrap();
        let place = Self { dir };
        use std::os::unix::fs::PermissionsExt;
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(place.path(), private).unwrap();
        place
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn open(&self) -> Container {
        Container::open(&self.path(), true, false).unwrap()
    }

    fn state(&self) -> ActorState {
        ActorState::options().durability(Durability::Process).open(self.path()).unwrap()
    }

    fn raw(&self) -> std::fs::File {
        std::fs::File::options().read(true).write(true).open(self.path()).unwrap()
    }
}

fn content(container: &Container, name: &str) -> Vec<u8> {
    let file = container.open(name).unwrap();
    let mut bytes = vec![0; file.size().unwrap() as usize];
    file.read_at(&mut bytes, 0).unwrap();
    bytes
}

/// A small deterministic generator (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// Random operations, compared with a map, by a container that is reopened now and then.
#[test]
fn files_in_a_container_behave_like_files() {
    for seed in 0..20 {
        eprintln!("seed {seed}");
        let mut random = Random(seed);
        let place = Place::new();
        let mut container = place.open();
        let mut model: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut handles: BTreeMap<String, Box<dyn StorageFile>> = BTreeMap::new();
        for _ in 0..300 {
            let name = format!("file-{}", random.below(6));
            let known = model.contains_key(&name);
            match random.below(12) {
                0..3 => match container.create(&name) {
                    Ok(file) => {
                        assert!(!known);
                        model.insert(name.clone(), Vec::new());
                        handles.insert(name, file);
                    }
                    Err(error) => {
                        assert!(known && error.kind() == io::ErrorKind::AlreadyExists, "{error}");
                    }
                },
                3..8 => {
                    let Some(file) = handles.get(&name) else { continue };
                    let bytes = vec![random.below(255) as u8 + 1; random.below(150_000) as usize];
                    let expected = model.get_mut(&name).unwrap();
                    let offset = random.below(expected.len() as u64 + 5000);
                    file.write_at(&bytes, offset).unwrap();
                    let (start, end) = (offset as usize, offset as usize + bytes.len());
                    if !bytes.is_empty() || start > expected.len() {
                        expected.resize(expected.len().max(end), 0);
                    }
                    expected[start..end].copy_from_slice(&bytes);
                }
                8 => match container.remove(&name) {
                    Ok(()) => {
                        assert!(model.remove(&name).is_some());
                        let file = handles.remove(&name);
                        assert!(file.is_none_or(|file| !file.is_linked().unwrap()));
                    }
                    Err(error) => {
                        assert!(!known && error.kind() == io::ErrorKind::NotFound, "{error}");
                    }
                },
                9 => {
                    let to = format!("file-{}", random.below(6));
                    let renamed = container.rename(&name, &to);
                    assert_eq!(renamed.is_ok(), known && !model.contains_key(&to));
                    if renamed.is_ok() {
                        let expected = model.remove(&name).unwrap();
                        model.insert(to.clone(), expected);
                        if let Some(file) = handles.remove(&name) {
                            handles.insert(to, file);
                        }
                    }
                }
                10 => {
                    handles.clear();
                    container = place.open();
                    container.tidy().unwrap();
                }
                _ => {
                    for (name, expected) in &model {
                        assert!(content(&container, name) == *expected, "{name}");
                    }
                }
            }
            let mut names = container.list().unwrap();
            names.sort();
            assert_eq!(names, model.keys().cloned().collect::<Vec<_>>());
        }
    }
}

#[test]
fn of_many_that_create_one_name_at_most_one_succeeds() {
    const PROCESSES: usize = 4;
    for round in 0..50 {
        let place = Place::new();
        let barrier = Barrier::new(PROCESSES);
        let won: usize = std::thread::scope(|scope| {
            let attempt = || {
                let container = place.open();
                barrier.wait();
                container.create("epoch-0000000000000001").is_ok()
            };
            let threads: Vec<_> = (0..PROCESSES).map(|_| scope.spawn(attempt)).collect();
            threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum()
        });
        assert!(won <= 1, "round {round}: {won} have created the file");
    }
}

#[test]
fn space_that_is_given_out_at_the_same_time_does_not_overlap() {
    let place = Place::new();
    place.open();
    std::thread::scope(|scope| {
        for number in 1..=4u8 {
            let place = &place;
            scope.spawn(move || {
                let container = place.open();
                let file = container.create(&format!("slot-{number}")).unwrap();
                for step in 0..100 {
                    file.write_at(&[number; 5000], step * 5000).unwrap();
                }
            });
        }
    });
    let container = place.open();
    for number in 1..=4u8 {
        assert!(content(&container, &format!("slot-{number}")) == vec![number; 500_000]);
    }
}

#[test]
fn an_append_that_was_cut_off_does_no_harm() {
    let place = Place::new();
    let container = place.open();
    container.create("a").unwrap().write_at(b"first", 0).unwrap();
    let raw = place.raw();
    for cut in [1, 511, 4096, 9000] {
        let end = raw.metadata().unwrap().len();
        raw.write_all_at(&vec![7; cut], end).unwrap();
        let name = format!("after-{cut}");
        container.create(&name).unwrap().write_at(&[cut as u8; 10_000], 0).unwrap();
        let container = place.open();
        assert_eq!(content(&container, "a"), b"first");
        assert!(content(&container, &name) == [cut as u8; 10_000]);
    }
}

#[test]
fn content_that_looks_like_a_header_is_not_taken_for_one() {
    let place = Place::new();
    let container = place.open();
    container.create("a").unwrap().write_at(&[1; 10_000], 0).unwrap();
    let copy = std::fs::read(place.path()).unwrap();
    container.create("copy").unwrap().write_at(&copy, 0).unwrap();
    // The header before the copy is lost, so its content is looked through for headers.
    let first = container.inner.scan().unwrap().into_iter().find(|e| e.is_first("copy")).unwrap();
    place.raw().write_all_at(&[0; PAGE as usize], first.position).unwrap();
    assert_eq!(place.open().list().unwrap(), ["a"]);
}

#[test]
fn a_header_that_tells_of_more_than_there_is_gives_no_longer_file() {
    let place = Place::new();
    let container = place.open();
    container.create("name").unwrap().write_at(&[1; 100], 0).unwrap();
    let good = container.inner.scan().unwrap().remove(0);
    for (len, room) in [(1 << 40, 1 << 40), (100, 1 << 40), (u64::MAX, !(PAGE - 1))] {
        let mut bad = Extent { len, room, ..good.clone() };
        container.inner.put_header(&mut bad).unwrap();
        assert!(container.open("name").is_err(), "{len} bytes in {room}");
    }
    assert!(container.list().unwrap().is_empty(), "an extent cannot end beyond all numbers");
}

#[test]
fn a_torn_header_is_read_from_its_other_copy() {
    let place = Place::new();
    let container = place.open();
    container.create("a").unwrap().write_at(b"content", 0).unwrap();
    let first = container.inner.scan().unwrap().remove(0);
    for copy in [0, SECTOR as u64] {
        let before = std::fs::read(place.path()).unwrap();
        place.raw().write_all_at(&[0xFF; 100], first.position + copy).unwrap();
        assert_eq!(place.open().list().unwrap(), ["a"], "copy at {copy}");
        std::fs::write(place.path(), before).unwrap();
    }
}

#[test]
fn a_process_that_died_over_a_candidate_does_not_block_the_name_for_ever() {
    let place = Place::new();
    let container = place.open();
    let mut extent = container.inner.take(&[]).unwrap();
    extent.serial = 1;
    extent.usage = Use::Candidate("epoch-0000000000000001".to_owned());
    container.inner.put_header(&mut extent).unwrap();
    let mut state = place.state();
    assert_eq!(state.epoch(), 2);
    state.set("n", &1).unwrap();
    drop(state);
    assert_eq!(place.state().get::<u32>("n").unwrap(), Some(1));
}

#[test]
fn a_file_of_something_else_is_refused_and_left_alone() {
    let place = Place::new();
    std::fs::write(place.path(), b"SQLite format 3\0 and so on").unwrap();
    let error = Container::open(&place.path(), true, false).err().unwrap();
    assert!(matches!(&error, OpenError::NotAState { found, .. } if found.contains("SQLite")));
    assert_eq!(std::fs::read(place.path()).unwrap(), b"SQLite format 3\0 and so on");
}

#[test]
fn a_damaged_or_newer_first_page_is_said_to_be_so() {
    let place = Place::new();
    place.open();
    place.raw().write_all_at(&[0xFF], 20).unwrap();
    let error = Container::open(&place.path(), true, false).err().unwrap();
    assert!(matches!(error, OpenError::Damaged { offset: 0, .. }));
    place.raw().write_all_at(&99u32.to_le_bytes(), 8).unwrap();
    let error = Container::open(&place.path(), true, false).err().unwrap();
    assert!(matches!(error, OpenError::NewerVersion { found: 99, .. }));
}

#[test]
fn an_empty_file_is_no_state_and_stays_empty_unless_one_may_be_made() {
    let place = Place::new();
    let error = ActorState::options().create(false).open(place.path()).err().unwrap();
    assert!(matches!(error, OpenError::NotFound { .. }));
    assert_eq!(std::fs::metadata(place.path()).unwrap().len(), 0);
}

#[test]
fn a_state_in_a_file_survives_reopening_and_leaves_nothing_beside_it() {
    let place = Place::new();
    for n in 0..30u64 {
        let mut state = place.state();
        let image = state.get_or_init("image", || Bytes::from(vec![0; 300_000])).unwrap();
        assert_eq!(image[n as usize], 0);
        assert_eq!(state.get_or_init("n", || 0u64).unwrap(), n);
        let mut image = image;
        image.make_mut()[n as usize] = 1;
        state.set("image", &image).unwrap();
        state.set("n", &(n + 1)).unwrap();
    }
    let names: Vec<_> = std::fs::read_dir(place.dir.path()).unwrap().collect();
    assert_eq!(names.len(), 1);
}

#[test]
fn the_newest_opener_of_a_file_wins() {
    let place = Place::new();
    let mut older = place.state();
    older.set("n", &1).unwrap();
    let mut newer = place.state();
    assert!(matches!(older.set("n", &100), Err(StateError::Store(StoreError::Fenced { .. }))));
    assert_eq!(newer.get::<u32>("n").unwrap(), Some(1));
    newer.set("n", &2).unwrap();
    assert_eq!(place.state().get::<u32>("n").unwrap(), Some(2));
}

#[test]
fn a_state_whose_file_was_deleted_is_fenced() {
    let place = Place::new();
    let mut state = place.state();
    std::fs::remove_file(place.path()).unwrap();
    assert!(matches!(state.set("n", &1), Err(StateError::Store(StoreError::Fenced { .. }))));
}

/// A stopped writer goes on after its successor has worked: what it writes goes where nobody
/// reads.
#[test]
fn what_a_superseded_writer_still_writes_changes_nothing() {
    let place = Place::new();
    let old = place.open();
    let slot = old.create("temporary-0000000000000001-00000001").unwrap();
    slot.write_at(&[1; 100_000], 0).unwrap();
    let mut state = place.state();
    let image = Bytes::from(vec![2; 300_000]);
    state.set("image", &image).unwrap();
    slot.write_at(&[3; 500_000], 0).unwrap();
    old.create("temporary-0000000000000001-00000002").unwrap().write_at(&[4; 500_000], 0).unwrap();
    old.rename("temporary-0000000000000001-00000002", "temporary-0000000000000001-00000003")
        .unwrap();
    state.set("n", &1).unwrap();
    drop(state);
    let state = place.state();
    assert_eq!(state.get::<Bytes>("image").unwrap(), Some(image));
    assert_eq!(state.get::<u32>("n").unwrap(), Some(1));
}

#[test]
fn reopening_often_costs_neither_space_nor_time_to_look_through() {
    let place = Place::new();
    let mut sizes = Vec::new();
    for n in 0..300u32 {
        let mut state = place.state();
        state.set("n", &n).unwrap();
        sizes.push(std::fs::metadata(place.path()).unwrap().blocks() * 512);
    }
    assert!(sizes[299] <= sizes[20] + 256 * 1024, "{} then {}", sizes[20], sizes[299]);
    assert!(place.open().inner.scan().unwrap().len() < 40);
}

#[test]
fn replacing_large_values_for_long_reuses_the_same_space() {
    let place = Place::new();
    let mut state = place.state();
    let mut sizes = Vec::new();
    for n in 0..200u32 {
        state.set("image", &Bytes::from(vec![n as u8; 1 << 20])).unwrap();
        sizes.push(std::fs::metadata(place.path()).unwrap().len());
    }
    assert_eq!(sizes[199], sizes[100], "the file does not grow");
    assert!(sizes[199] < 64 << 20, "{}", sizes[199]);
}

#[test]
fn a_state_in_a_file_that_may_only_be_read_is_read_and_not_written() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let mut state = place.state();
    state.set("n", &7).unwrap();
    drop(state);
    for (path, mode) in [(place.path(), 0o444), (place.dir.path().to_owned(), 0o755)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let before = std::fs::read(place.path()).unwrap();
    let path = place.path();
    // As somebody else: root may write to every file.
    let as_nobody = std::thread::spawn(move || {
        // SAFETY: it takes no memory, and holds for file accesses of this thread alone.
        unsafe { libc::setfsuid(65534) };
        assert!(std::fs::File::options().write(true).open(&path).is_err(), "it can be written");
        let read = crate::store::inspect(&path).unwrap();
        let refused = ActorState::options().create(false).open(&path).err().unwrap();
        let made = ActorState::options().open(&path).err().unwrap();
        (read.view.attributes.len(), refused.to_string(), made.to_string())
    });
    let (attributes, refused, made) = as_nobody.join().unwrap();
    assert_eq!(attributes, 1);
    assert!(refused.contains("Permission denied"), "{refused}");
    assert!(made.starts_with("cannot open") && made.contains("Permission denied"), "{made}");
    assert!(std::fs::read(place.path()).unwrap() == before);
}
