//! What the fuzz targets share. The formats are written down in `docs/format.md`; what is here
//! follows that document, not the code that is being tested.
//!
//! Each target says at its top what it checks and what its input is. In `corpus/` are real files
//! and messages (made by `examples/seeds.rs`), inputs that once found something, and, where the
//! input is a structure, the short ones that together reach what fuzzing has reached.

pub mod check;
pub mod format;
pub mod memory;
