//! Memory for large arrays that is used again: a fresh 10 MiB cost several milliseconds of page
//! faults, a reused one nothing.

use std::any::Any;
use std::sync::{Arc, Mutex};

use persistent_actor::{Memory, MemoryPool};

/// How much unused memory is kept. Bytes.
const MAX_KEPT: usize = 256 * 1024 * 1024;
const PAGE: usize = 4096;
/// Where the content starts in its page. Copying to an address that is a little above the
/// source's, modulo the page, is five times slower on some processors, and large arrays of the
/// usual allocators start at 16.
const OFFSET_IN_PAGE: usize = 64;

/// A pool that takes back what was dropped.
#[derive(Clone, Default)]
pub(crate) struct Pool {
    free: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Pool {
    fn take(&self, room: usize) -> Option<Vec<u8>> {
        let mut free = self.free.lock().ok()?;
        let fits = |vec: &Vec<u8>| vec.len() >= room && vec.len() <= 2 * room;
        let place = free.iter().position(fits)?;
        Some(free.swap_remove(place))
    }

    fn give(&self, vec: Vec<u8>) {
        let Ok(mut free) = self.free.lock() else { return };
        let mut kept: usize = free.iter().map(Vec::len).sum::<usize>() + vec.len();
        free.push(vec);
        while kept > MAX_KEPT {
            kept -= free.remove(0).len();
        }
    }
}

impl MemoryPool for Pool {
    fn allocate(&self, len: usize) -> Box<dyn Memory> {
        let room = len + PAGE;
        let vec = self.take(room).unwrap_or_else(|| vec![0; room]);
        let in_page = vec.as_ptr().addr() % PAGE;
        let start = (OFFSET_IN_PAGE + PAGE - in_page) % PAGE;
        Box::new(Block { vec, start, len, pool: self.clone() })
    }
}

struct Block {
    vec: Vec<u8>,
    start: usize,
    len: usize,
    pool: Pool,
}

impl Memory for Block {
    fn as_slice(&self) -> &[u8] {
        &self.vec[self.start..self.start + self.len]
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.vec[self.start..self.start + self.len]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.pool.give(std::mem::take(&mut self.vec));
    }
}
