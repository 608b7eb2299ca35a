//! `delete`: a state is gone in one step, or still there.

use std::fs;

use persistent_actor::OpenError;

use crate::cli::DeleteArgs;
use crate::confirm::confirm;
use crate::error::Error;
use crate::locate::state_path;
use crate::output::show_name;
use crate::place::{Draft, is_file, state_files};
use crate::reading::{Reading, refuse_if_held};
use crate::units::{count, show_bytes};

pub(crate) fn run(args: &DeleteArgs) -> Result<u8, Error> {
    let path = state_path(&args.state, &args.root)?;
    refuse_if_held(&path, "stop it first")?;
    let reading = Reading::of(&path);
    if is_file(&path) {
        if let Err(Error::Open(OpenError::NotAState { .. } | OpenError::NotFound { .. })) = reading
        {
            return reading.map(|_| 0);
        }
    } else if state_files(&path)?.is_empty() {
        let path = path.display();
        return Err(Error::Refused(format!("{path} is empty: there is no state to delete")));
    }
    let shown = show_name(&path.to_string_lossy());
    let content = match reading {
        Ok(reading) => format!(
            "{}, {}, sequence {}",
            count(reading.state.view.named_attributes().count(), "attribute"),
            show_bytes(reading.disk_bytes()),
            reading.state.view.sequence
        ),
        Err(error) => error.to_string(),
    };
    confirm(&format!("Delete {shown} ({content})?"), &args.yes)?;
    // Under another name first: half a state must not be taken for a damaged one.
    let trash = Draft::beside(&path)?;
    fs::rename(&path, trash.path()).map_err(Error::io("delete", &path))?;
    trash.discard()?;
    crate::app::note(&format!("deleted {shown} ({content})"));
    Ok(0)
}
