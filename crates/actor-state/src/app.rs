//! The program: from the command line to the exit code.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::commands::{
    calls, compact, copy, delete, diff, get, list, outcome, parked, repair, show, verify,
};
use crate::error::{Error, FAILED};

pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli.command) {
        Ok(code) => ExitCode::from(code),
        // Nobody reads any more, so there is nobody to tell. But what was asked for was not told
        // either, or not even done, and 0 would say that it was.
        Err(Error::Output(error)) if error.kind() == ErrorKind::BrokenPipe => {
            ExitCode::from(FAILED)
        }
        Err(error) => {
            note(&format!("error: {error}"));
            if let Some(hint) = error.hint() {
                note(&format!("hint: {hint}"));
            }
            ExitCode::from(match cli.command {
                // Here 1 means that the states differ, or that the call was not committed.
                Command::Diff(_) | Command::Outcome(_) => FAILED,
                _ => error.exit_code(),
            })
        }
    }
}

fn run(command: &Command) -> Result<u8, Error> {
    match command {
        Command::List(args) => list::run(args),
        Command::Show(args) => show::run(args),
        Command::Get(args) => get::run(args),
        Command::Diff(args) => diff::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Repair(args) => repair::run(args),
        Command::Export(args) => copy::export(args),
        Command::Import(args) => copy::import(args),
        Command::Fork(args) => copy::fork(args),
        Command::Compact(args) => compact::run(args),
        Command::Calls(args) => calls::run(args),
        Command::Retry(args) => parked::retry(args),
        Command::Drop(args) => parked::drop_for_good(args),
        Command::Outcome(args) => outcome::run(args),
        Command::Delete(args) => delete::run(args),
    }
}

/// Prints a line on standard error. With that gone there is nobody left to tell.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
