//! The native module of the Python package `persistent_actor`: the Rust core, and the way of
//! Python values into it and back. Private; the package's Python files are its face.

mod decode;
mod encode;
mod errors;
mod memory;
mod numpy;
mod state;
mod tags;

use pyo3::prelude::*;

/// The Rust core of `persistent_actor`. Private: use the package.
#[pymodule]
mod _native {
    use super::*;

    #[pymodule_export]
    use super::state::{Snapshot, State};

    #[pymodule_init]
    fn init(_module: &Bound<'_, PyModule>) -> PyResult<()> {
        // A second import into the same process keeps the first pool.
        let _ = persistent_actor::install_memory_pool(Box::new(memory::Pool::default()));
        Ok(())
    }
}
