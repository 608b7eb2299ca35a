//! A pool of slots on a simulated disk: what is built in them is there at once, all of it or
//! nothing of what it will be.

use std::any::Any;
use std::cell::RefCell;
use std::sync::{Arc, Mutex, Once};

use persistent_actor::store::{SlotId, SlotPool, Storage, StorageFile};
use persistent_actor::testing::SimDisk;
use persistent_actor::{Memory, MemoryPool, Options, install_memory_pool};

/// Where a slot's content begins.
const CONTENT: u64 = 4096;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Available,
    GivenOut,
    AtRest,
}

/// The slots of one state.
pub struct SimSlots {
    disk: SimDisk,
    slots: Mutex<Vec<(SlotId, usize, Stage)>>,
    /// How often memory was given out.
    pub given: Mutex<usize>,
    /// How often what is committed stayed where it was.
    pub mapped: Mutex<usize>,
}

thread_local! {
    /// What [`persistent_actor::Bytes`] are built in on this thread.
    static CURRENT: RefCell<Option<Arc<SimSlots>>> = const { RefCell::new(None) };
}

/// Lets a store with these options build arrays in slots of `disk`, as long as the guard lives.
pub fn in_place(disk: &SimDisk, options: &Options) -> (Options, Guard) {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| assert!(install_memory_pool(Box::new(ThreadPool)).is_ok()));
    let slots = Mutex::default();
    let pool = Arc::new(SimSlots {
        disk: disk.clone(),
        slots,
        given: Mutex::default(),
        mapped: Mutex::default(),
    });
    CURRENT.set(Some(pool.clone()));
    (options.clone().build_in_place(pool.clone()), Guard(pool))
}

/// See [`in_place`].
pub struct Guard(pub Arc<SimSlots>);

impl Guard {
    /// Runs `work` without the slots, as another process would.
    pub fn without<T>(work: impl FnOnce() -> T) -> T {
        let current = CURRENT.take();
        let done = work();
        CURRENT.set(current);
        done
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        CURRENT.take();
    }
}

impl SimSlots {
    fn take(self: &Arc<Self>, len: usize) -> Option<Built> {
        let (slot, room) = {
            let mut slots = self.slots.lock().unwrap();
            let free = |(_, room, stage): &&mut (SlotId, usize, Stage)| {
                *stage == Stage::Available && *room >= len
            };
            let (slot, room, stage) = slots.iter_mut().find(free)?;
            *stage = Stage::GivenOut;
            (*slot, *room)
        };
        *self.given.lock().unwrap() += 1;
        // A method may write anything, over and over, before it has written what it means to.
        if let Ok(file) = self.disk.open(&name(slot)) {
            let _ = file.write_at(&vec![0xee; room], CONTENT);
        }
        Some(Built { content: vec![0xee; len], slot, pool: self.clone() })
    }

    fn find(&self, slot: SlotId, change: impl FnOnce(&mut Stage)) {
        let mut slots = self.slots.lock().unwrap();
        if let Some((_, _, stage)) = slots.iter_mut().find(|(id, ..)| *id == slot) {
            change(stage);
        }
    }
}

impl SlotPool for SimSlots {
    fn least_bytes(&self) -> u64 {
        65_536
    }

    fn clear(&self) {
        self.slots.lock().unwrap().clear();
    }

    fn offer(&self, slot: SlotId, _: &dyn StorageFile, len: u64) -> bool {
        self.slots.lock().unwrap().push((slot, len as usize, Stage::Available));
        true
    }

    fn renew(&self, slot: SlotId) {
        self.find(slot, |stage| {
            if *stage == Stage::AtRest {
                *stage = Stage::Available;
            }
        });
    }

    fn is_idle(&self, slot: SlotId) -> bool {
        let mut idle = false;
        self.find(slot, |stage| idle = *stage != Stage::GivenOut);
        idle
    }

    fn withdraw(&self, slot: SlotId) -> bool {
        let idle = self.is_idle(slot);
        self.slots.lock().unwrap().retain(|(id, ..)| *id != slot || !idle);
        idle
    }

    fn map_committed(
        &self,
        slot: SlotId,
        file: &dyn StorageFile,
        len: u64,
        _: bool,
    ) -> Option<Box<dyn Memory>> {
        let mut content = vec![0; len as usize];
        file.read_at(&mut content, CONTENT).ok()?;
        *self.mapped.lock().unwrap() += 1;
        Some(Box::new(Committed { content, name: name(slot), disk: self.disk.clone() }))
    }
}

fn name(slot: SlotId) -> String {
    format!("slot-{:016x}-{:08x}", slot.epoch, slot.number)
}

/// Like a mapping: whoever writes to the file changes what is committed.
struct Committed {
    content: Vec<u8>,
    name: String,
    disk: SimDisk,
}

impl Memory for Committed {
    fn as_slice(&self) -> &[u8] {
        let mut files = self.disk.files().into_iter();
        // (Who has mapped a file still has it when its name is gone.)
        if let Some((_, file)) = files.find(|(name, _)| *name == self.name) {
            let now = &file[CONTENT as usize..][..self.content.len()];
            assert!(now == self.content, "a slot is written that is needed");
        }
        &self.content
    }

    fn is_writable(&self) -> bool {
        false
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        unreachable!("it is copied first")
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

struct Built {
    content: Vec<u8>,
    slot: SlotId,
    pool: Arc<SimSlots>,
}

impl Memory for Built {
    fn as_slice(&self) -> &[u8] {
        &self.content
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.content
    }

    fn slot(&self) -> Option<SlotId> {
        Some(self.slot)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for Built {
    fn drop(&mut self) {
        self.pool.find(self.slot, |stage| *stage = Stage::AtRest);
    }
}

struct ThreadPool;

impl MemoryPool for ThreadPool {
    fn allocate(&self, len: usize) -> Box<dyn Memory> {
        // (Another process may come in between while it is taken.)
        let current = CURRENT.with_borrow(Clone::clone);
        match current.and_then(|current| current.take(len)) {
            Some(built) => Box::new(built),
            None => Box::new(vec![0; len]),
        }
    }
}
