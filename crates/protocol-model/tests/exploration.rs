//! Every run of the protocol within a bound of calls and faults keeps every promise.
//!
//! The larger bounds take minutes and gigabytes:
//! `cargo test --release -p protocol-model --test exploration -- --ignored --nocapture`

use protocol_model::faults::Faults;
use protocol_model::model::{Level, Protocol};
use protocol_model::trace::readable;
use stateright::{Checker, Model};

const NOTHING: Faults = Faults { deaths: 0, zombies: 0, power_losses: 0, late_copies: 0 };

fn protocol(level: Level, callers: u8, calls: u8, faults: Faults) -> Protocol {
    Protocol { callers, calls, reads: 0, checkpoints: 0, level, faults, mutation: None }
}

/// Visits every state and says how many there are.
#[expect(clippy::print_stdout, reason = "the number is a result, shown with --nocapture")]
fn explore(name: &str, protocol: Protocol) {
    let checker = protocol.checker().threads(2).spawn_bfs().join();
    let states = checker.unique_state_count();
    println!("{name}: {states} states");
    let violations = checker.discoveries().into_iter();
    let violations: Vec<_> = violations
        .map(|(what, path)| format!("not so: {what}\n{}", readable(&protocol, &path)))
        .collect();
    assert!(violations.is_empty(), "{}", violations.join("\n"));
    assert!(checker.is_done() && states > 1_000, "the exploration is not complete");
}

#[test]
fn promises_hold_with_a_death_a_zombie_and_a_power_loss() {
    let faults = Faults { deaths: 1, zombies: 1, power_losses: 1, ..NOTHING };
    explore("death, zombie, power loss", protocol(Level::Power, 1, 1, faults));
}

#[test]
fn promises_hold_for_calls_in_a_row_with_a_death_and_a_zombie() {
    let faults = Faults { deaths: 1, zombies: 1, ..NOTHING };
    explore("two calls, death, zombie", protocol(Level::Process, 1, 2, faults));
}

#[test]
fn promises_hold_for_callers_side_by_side() {
    let faults = Faults { zombies: 1, ..NOTHING };
    explore("two callers, zombie", protocol(Level::Process, 2, 2, faults));
}

#[test]
fn promises_hold_for_three_calls_with_deaths_a_power_loss_and_late_copies() {
    let faults = Faults { deaths: 2, power_losses: 1, late_copies: 2, ..NOTHING };
    explore("three calls, deaths, power loss", protocol(Level::Power, 1, 3, faults));
}

#[test]
fn promises_hold_with_reads_checkpoints_and_late_copies_beside_a_zombie() {
    let faults = Faults { zombies: 1, late_copies: 1, ..NOTHING };
    let protocol = protocol(Level::Process, 1, 1, faults);
    explore("read, checkpoint, zombie", Protocol { reads: 1, checkpoints: 1, ..protocol });
}

#[test]
fn promises_hold_with_a_checkpoint_and_power_losses() {
    let faults = Faults { deaths: 1, power_losses: 2, ..NOTHING };
    let protocol = protocol(Level::Power, 1, 2, faults);
    explore("checkpoints, power losses", Protocol { checkpoints: 2, ..protocol });
}

#[test]
#[ignore = "minutes and gigabytes"]
fn promises_hold_with_two_deaths_a_zombie_and_a_power_loss() {
    let faults = Faults { deaths: 2, zombies: 1, power_losses: 1, ..NOTHING };
    explore("two deaths, zombie, power loss", protocol(Level::Power, 1, 1, faults));
}

#[test]
#[ignore = "minutes and gigabytes"]
fn promises_hold_for_calls_in_a_row_with_reads_checkpoints_and_late_copies_beside_a_zombie() {
    let faults = Faults { zombies: 1, late_copies: 1, ..NOTHING };
    let protocol = protocol(Level::Power, 1, 2, faults);
    explore(
        "two calls, read, checkpoint, zombie",
        Protocol { reads: 1, checkpoints: 1, ..protocol },
    );
}
