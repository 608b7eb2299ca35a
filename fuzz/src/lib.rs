//! What the fuzz targets share. The formats are written down in `docs/format.md`; what is here
//! follows that document, not the code that is being tested.

pub mod check;
pub mod format;
pub mod memory;
