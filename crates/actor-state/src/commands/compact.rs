//! `compact`: a fresh checkpoint, and what it makes superfluous removed.

use crate::cli::CompactArgs;
use crate::error::Error;
use crate::opening::open;
use crate::output::{Output, show_name};
use crate::reading::Reading;
use crate::units::show_bytes;

pub(crate) fn run(args: &CompactArgs) -> Result<u8, Error> {
    let before = Reading::named(&args.state, &args.root)?;
    let state = open(&before.path, args.take_over)?;
    let epoch = state.epoch();
    drop(state);
    let after = Reading::of(&before.path)?;
    let mut out = Output::new();
    out.line(&format!(
        "{}: {} -> {}, epoch {epoch}",
        show_name(&before.path.to_string_lossy()),
        show_bytes(before.disk_bytes()),
        show_bytes(after.disk_bytes()),
    ))?;
    out.finish()?;
    Ok(0)
}
