//! [`Actors`]: the actors of a node by name.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::cell::{Cell, End};
use crate::error::SpawnError;

/// The actors of a node that are alive, by name.
#[derive(Default)]
pub(crate) struct Actors(Mutex<Table>);

#[derive(Default)]
struct Table {
    cells: HashMap<Arc<str>, Arc<Cell>>,
    closed: bool,
}

impl Actors {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an actor; one of the same name that is on its way out is awaited.
    pub(crate) async fn add(&self, cell: &Arc<Cell>) -> Result<(), SpawnError> {
        loop {
            let leaving = {
                let mut table = self.table();
                let name = || cell.name.to_string();
                if table.closed {
                    return Err(SpawnError::NodeClosed { name: name() });
                }
                match table.cells.get(&cell.name) {
                    Some(other) if !other.has_ended() && !other.is_closing() => {
                        return Err(SpawnError::NameInUse { name: name() });
                    }
                    Some(other) if !other.has_ended() => other.clone(),
                    _ => {
                        table.cells.insert(cell.name.clone(), cell.clone());
                        return Ok(());
                    }
                }
            };
            leaving.ended().await;
        }
    }

    /// The actor of this name, if it lives.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Cell>> {
        self.table().cells.get(name).filter(|cell| !cell.has_ended()).cloned()
    }

    /// Whether no more actors are taken.
    pub(crate) fn is_closed(&self) -> bool {
        self.table().closed
    }

    /// Takes an actor out that has ended.
    pub(crate) fn remove(&self, cell: &Arc<Cell>) {
        let mut table = self.table();
        if table.cells.get(&cell.name).is_some_and(|known| Arc::ptr_eq(known, cell)) {
            table.cells.remove(&cell.name);
        }
    }

    /// Takes no more actors; gives those that live.
    fn close(&self) -> Vec<Arc<Cell>> {
        let mut table = self.table();
        table.closed = true;
        table.cells.values().cloned().collect()
    }

    /// Stops all actors after the calls that were sent.
    pub(crate) async fn stop_all(&self) {
        let cells = self.close();
        for cell in &cells {
            cell.close();
        }
        for cell in &cells {
            cell.ended().await;
        }
    }

    /// Kills all actors' processes and waits until they are gone.
    pub(crate) fn kill_all(&self) {
        let cells = self.close();
        // All are killed before the first is waited for.
        for cell in &cells {
            cell.kill_process();
        }
        for cell in &cells {
            cell.end(End::Stopped);
        }
    }
}
