//! `export`, `import`, `fork`: the same content in another place.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use persistent_actor::ledger::Ledger;
use persistent_actor::store::View;

use crate::cli::{ExportArgs, ForkArgs, ImportArgs};
use crate::error::Error;
use crate::export::{self, Exported};
use crate::locate::state_path;
use crate::output::show_name;
use crate::place::Draft;
use crate::reading::Reading;
use crate::units::{count, now_ms, show_bytes};

pub(crate) fn export(args: &ExportArgs) -> Result<u8, Error> {
    let reading = Reading::named(&args.state, &args.root)?;
    let exported = Exported {
        state_id: reading.state.state_id,
        epoch: reading.state.epoch,
        exported_ms: now_ms(),
        view: reading.state.view,
    };
    let bytes = export::encode(&exported);
    if args.file == Path::new("-") {
        let mut stdout = io::stdout();
        if stdout.is_terminal() {
            let message =
                "an export does not belong on a terminal: redirect it to a file or a pipe";
            return Err(Error::Refused(message.to_owned()));
        }
        let written = stdout.write_all(&bytes).and_then(|()| stdout.flush());
        written.map_err(Error::Output)?;
    } else {
        write_new(&args.file, &bytes)?;
    }
    let (from, size) = (show_name(&reading.path.to_string_lossy()), bytes.len() as u64);
    crate::app::note(&format!(
        "exported {from} ({}): {}",
        content(&exported.view),
        show_bytes(size)
    ));
    Ok(0)
}

/// Writes a file that must not exist: it appears with its whole content, private to the user.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let draft = Draft::of_new(path)?;
    let written = || -> io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft.path())?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    written().map_err(Error::io("write", path))?;
    draft.publish()
}

pub(crate) fn import(args: &ImportArgs) -> Result<u8, Error> {
    let path = state_path(&args.state, &args.root)?;
    let draft = Draft::of_new(&path)?;
    let (name, bytes) = read_export(&args.file)?;
    let exported = export::decode(&bytes)
        .map_err(|reason| Error::Refused(format!("{name} cannot be imported: {reason}")))?;
    draft.make_state(&path, &exported.view, exported.epoch, None)?;
    draft.publish()?;
    let path = show_name(&path.to_string_lossy());
    crate::app::note(&format!("made {path} ({})", content(&exported.view)));
    Ok(0)
}

fn read_export(file: &Path) -> Result<(String, Vec<u8>), Error> {
    if file == Path::new("-") {
        let mut bytes = Vec::new();
        let read = io::stdin().lock().read_to_end(&mut bytes);
        read.map_err(Error::io("read", "standard input"))?;
        return Ok(("standard input".to_owned(), bytes));
    }
    let mut bytes = Vec::new();
    let read = File::open(file).and_then(|mut file| file.read_to_end(&mut bytes));
    read.map_err(Error::io("read", file))?;
    Ok((file.display().to_string(), bytes))
}

pub(crate) fn fork(args: &ForkArgs) -> Result<u8, Error> {
    let reading = Reading::named(&args.state, &args.root)?;
    let path = state_path(&args.new, &args.root)?;
    let draft = Draft::of_new(&path)?;
    // A different actor: it has answered no call yet, and a call to the other is new to it.
    let attributes = reading.state.view.named_attributes();
    let attributes = attributes.map(|(name, value)| (name.to_owned(), value.clone())).collect();
    let view =
        View { sequence: reading.state.view.sequence, attributes, ledger: Ledger::default() };
    draft.make_state(&reading.path, &view, 0, None)?;
    draft.publish()?;
    let (from, to) = (&reading.path.to_string_lossy(), &path.to_string_lossy());
    let content = content(&view);
    crate::app::note(&format!("made {} from {} ({content})", show_name(to), show_name(from)));
    Ok(0)
}

fn content(view: &View) -> String {
    let (attributes, calls) = (view.named_attributes().count(), view.ledger.len());
    let (attributes, calls) = (count(attributes, "attribute"), count(calls, "remembered call"));
    format!("{attributes}, {calls}, sequence {}", view.sequence)
}
