//! `actor-state`: looks after the states of persistent actors.
//!
//! [`cli`] says what can be typed, [`app`] runs it, [`commands`] has a file for each command.
//! Commands that read use [`persistent_actor::store::inspect`], which changes nothing and never
//! holds up a running actor; those that write make a new directory beside the old one and rename
//! it ([`place`]), so that a state is never half there.

mod app;
mod cbor;
mod cli;
mod commands;
mod confirm;
mod error;
mod export;
mod holder;
mod locate;
mod opening;
mod output;
mod place;
mod reading;
mod units;

fn main() -> std::process::ExitCode {
    app::main()
}
