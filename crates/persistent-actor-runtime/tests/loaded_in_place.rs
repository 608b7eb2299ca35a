//! A large state is not read into memory when its actor starts: it is checked, and stays where it
//! lies. Alone in its file: it looks at what this program has mapped.

#![allow(clippy::unwrap_used, reason = "a test may panic and tell")]

mod support;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use persistent_actor_runtime::{Bytes, Durability, actor, safe_state, worker_for_tests};
use serde::{Deserialize, Serialize};
use support::{node, state_root};

worker_for_tests!();

const LEN: usize = 2 << 20;

/// An array whose bytes are all the same.
#[derive(Default, Serialize, Deserialize)]
struct Block {
    data: Bytes,
}

#[actor]
impl Block {
    #[safe_state("data")]
    fn fill(&mut self, value: u8) -> u8 {
        self.data = Bytes::build(LEN, |out| out.fill(value));
        value
    }

    /// Changes the array where it is, if it can be written.
    #[safe_state("data")]
    fn add(&mut self, value: u8) -> Result<Bytes, String> {
        self.data.make_mut().iter_mut().for_each(|byte| *byte = byte.wrapping_add(value));
        if value == 0 { Err("nothing to add".to_owned()) } else { Ok(self.data.clone()) }
    }

    /// Changes the array, then dies.
    #[safe_state("data")]
    fn spoil(&mut self) -> u8 {
        self.data.make_mut().fill(99);
        std::process::abort()
    }

    fn data(&self) -> Bytes {
        self.data.clone()
    }

    /// How many slots this process has mapped.
    fn mapped(&self) -> usize {
        mapped_slots()
    }
}

fn mapped_slots() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains("/slot-")).count()
}

fn filled_with(bytes: &Bytes) -> Option<u8> {
    let first = *bytes.first()?;
    (bytes.len() == LEN && bytes.iter().all(|byte| *byte == first)).then_some(first)
}

fn slots(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_string_lossy().contains("/slot-")).collect()
}

#[tokio::test]
async fn a_state_that_stays_where_it_lies_is_read_changed_lent_and_lost_like_any_other() {
    for durability in [Durability::Power, Durability::Process] {
        let root = state_root();
        let node = node(&root, durability);
        let block = node.actor::<Block>("block").max_deaths_per_call(1).spawn().await.unwrap();
        block.fill(1).await.unwrap();
        block.kill().await.unwrap();
        assert!(block.mapped().await.unwrap() > 0, "{durability}: it is mapped");

        let first = block.data().await.unwrap();
        assert_eq!(filled_with(&first), Some(1));
        assert_eq!(filled_with(&block.data().await.unwrap()), Some(1), "lent again");
        if durability == Durability::Power {
            assert_eq!(mapped_slots(), 0, "the caller never depends on a file at `power`");
        }
        block.add(0).await.unwrap_err();
        assert_eq!(filled_with(&block.data().await.unwrap()), Some(1), "rolled back");
        block.spoil().await.unwrap_err();
        assert_eq!(filled_with(&block.data().await.unwrap()), Some(1), "nothing of it was kept");

        let mut replies = vec![(1, first)];
        for value in 2..12 {
            let reply = block.add(1).await.unwrap();
            assert_eq!(filled_with(&reply), Some(value));
            replies.push((value, reply));
            block.kill().await.unwrap();
            replies.push((value, block.data().await.unwrap()));
            for (value, reply) in &replies {
                assert_eq!(filled_with(reply), Some(*value), "{durability}: stays what it was");
            }
        }
        block.stop().await.unwrap();
        damage_is_told(&root, durability).await;
    }
}

/// A byte of the content that has changed is an error that names the file, and not a crash.
async fn damage_is_told(root: &tempfile::TempDir, durability: Durability) {
    for slot in slots(&root.path().join("block")) {
        let file = std::fs::OpenOptions::new().write(true).open(slot).unwrap();
        file.write_at(&[200], 4096 + LEN as u64 / 2).unwrap();
    }
    let other = tempfile::tempdir().unwrap();
    std::fs::rename(root.path().join("block"), other.path().join("block")).unwrap();
    let node = node(&other, durability);
    let error = node.actor::<Block>("block").spawn().await.err().unwrap().to_string();
    assert!(error.contains("slot-") && error.contains("checksum"), "{durability}: {error}");
}
