//! `get`: the value of an attribute.

use std::io::IsTerminal;

use persistent_actor::Encoded;

use crate::cbor::{self, Item, Layout};
use crate::cli::GetArgs;
use crate::error::Error;
use crate::output::Output;
use crate::reading::Reading;
use crate::units::show_bytes;

/// More JSON than this does not belong on a terminal. Bytes of the value.
const MAX_ON_TERMINAL: u64 = 64 * 1024;

pub(crate) fn run(args: &GetArgs) -> Result<u8, Error> {
    let reading = Reading::named(&args.state, &args.root)?;
    let value = reading.attribute(&args.attribute)?;
    let mut out = Output::new();
    if args.raw {
        let bytes = cbor::raw(value).map_err(|error| reading.malformed(&args.attribute, error))?;
        refuse_terminal(args, value)?;
        out.bytes(&bytes)?;
    } else {
        let item = reading.parse(&args.attribute, value)?;
        refuse_terminal(args, value)?;
        out.line(&show(&item, args.json))?;
    }
    out.finish()?;
    Ok(0)
}

/// Refuses to print to a terminal what does not belong there.
fn refuse_terminal(args: &GetArgs, value: &Encoded) -> Result<(), Error> {
    let would_flood = args.raw || (args.json && value.size() > MAX_ON_TERMINAL);
    if !would_flood || args.force || !std::io::stdout().is_terminal() {
        return Ok(());
    }
    let form = if args.raw { "raw bytes" } else { "JSON" };
    Err(Error::Refused(format!(
        "attribute {:?} has {}: its {form} would flood the terminal; redirect the output to a file \
         or a pipe, or give --force",
        args.attribute,
        show_bytes(value.size())
    )))
}

fn show(item: &Item<'_>, json: bool) -> String {
    if json { cbor::to_json(item) } else { cbor::render(item, Layout::Tree) }
}
