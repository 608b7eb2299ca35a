//! Asking before something that cannot be taken back.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::cli::YesArg;
use crate::error::Error;

/// Asks whether to go on, unless `--yes` was given.
pub(crate) fn confirm(question: &str, yes: &YesArg) -> Result<(), Error> {
    if yes.yes {
        return Ok(());
    }
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        let message = "nothing was done: standard input is not a terminal, so there is nobody to \
                       ask; expected --yes";
        return Err(Error::Refused(message.to_owned()));
    }
    let mut stderr = io::stderr();
    let asked = write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush());
    asked.map_err(Error::io("ask on", "standard error"))?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer).map_err(Error::io("read from", "standard input"))?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Error::Refused("nothing was done".to_owned())),
    }
}
