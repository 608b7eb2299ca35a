//! `get`: the value of an attribute.

use std::borrow::Cow;
use std::io::IsTerminal;

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
    let item = reading.parse(&args.attribute, value)?;
    let on_terminal = std::io::stdout().is_terminal() && !args.force;
    if on_terminal && (args.raw || (args.json && value.size() > MAX_ON_TERMINAL)) {
        let form = if args.raw { "raw bytes" } else { "JSON" };
        return Err(Error::Refused(format!(
            "attribute {:?} has {}: its {form} would flood the terminal; redirect the output to a \
             file or a pipe, or give --force",
            args.attribute,
            show_bytes(value.size())
        )));
    }
    let mut out = Output::new();
    if args.raw {
        let bytes = match cbor::content_of_bytes(&item) {
            Some(content) => Cow::Borrowed(content),
            None => cbor::self_contained(value).map_err(|source| Error::Value {
                path: reading.path.clone(),
                attribute: args.attribute.clone(),
                source,
            })?,
        };
        out.bytes(&bytes)?;
    } else {
        out.line(&show(&item, args.json))?;
    }
    out.finish()?;
    Ok(0)
}

fn show(item: &Item<'_>, json: bool) -> String {
    if json { cbor::to_json(item) } else { cbor::render(item, Layout::Tree) }
}
