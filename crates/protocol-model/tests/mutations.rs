//! The model notices when a rule of the protocol is missing: each one, taken away, breaks a
//! promise within a bound in which the whole protocol keeps all of them.
//!
//! The shortest run to each violation is printed:
//! `cargo test -p protocol-model --test mutations -- --nocapture`

use protocol_model::faults::Faults;
use protocol_model::model::{Action, Level, Protocol, State};
use protocol_model::mutation::Mutation;
use protocol_model::properties::{ANSWERED, DURABLE, FRESH_READ, KEPT, ONCE, ORDER, REMEMBERED};
use protocol_model::trace::readable;
use stateright::{Checker, HasDiscoveries, Model, Path};

const NONE: Faults = Faults { deaths: 0, zombies: 0, power_losses: 0, late_copies: 0 };
const DEATH: Faults = Faults { deaths: 1, ..NONE };
const ZOMBIE: Faults = Faults { zombies: 1, ..NONE };
const LATE_COPY: Faults = Faults { late_copies: 1, ..NONE };
const POWER: Faults = Faults { power_losses: 1, ..NONE };

/// A bound within which the lack of a rule shows, and the promise that breaks.
fn bound(mutation: Mutation) -> (Level, u8, Faults, &'static str) {
    use Level::{Power, Process};
    match mutation {
        Mutation::NoDedup => (Process, 1, ZOMBIE, ONCE),
        Mutation::NoEpochCheck | Mutation::CheckBeforeWrite => (Process, 1, ZOMBIE, KEPT),
        Mutation::ReadBeforeClaim => (Process, 1, ZOMBIE, KEPT),
        Mutation::AnswerBeforeSync | Mutation::NoNamesSync => (Power, 1, POWER, DURABLE),
        Mutation::ResendWithNewIds => (Process, 1, DEATH, ONCE),
        Mutation::NoResend => (Process, 1, DEATH, ANSWERED),
        Mutation::ResendOutOfOrder => (Process, 2, DEATH, ORDER),
        Mutation::TrimWithoutAck => (Process, 2, ZOMBIE, REMEMBERED),
        Mutation::ForgetFloor => (Process, 2, LATE_COPY, ONCE),
        Mutation::NoCheckAfterOpen => (Power, 1, ZOMBIE, DURABLE),
        Mutation::NoStepBack => (Process, 1, Faults { deaths: 1, ..ZOMBIE }, KEPT),
        Mutation::ServeBeforeSnapshotSync => (Power, 1, Faults { deaths: 1, ..POWER }, DURABLE),
        Mutation::RemoveBeforePublish => (Process, 1, DEATH, KEPT),
        Mutation::NumberByClaimsOnly => (Power, 1, Faults { deaths: 1, ..POWER }, KEPT),
        Mutation::ReadWithoutCheck => (Process, 1, ZOMBIE, FRESH_READ),
    }
}

fn protocol(mutation: Mutation) -> Protocol {
    let (level, calls, faults, _) = bound(mutation);
    let reads = u8::from(mutation == Mutation::ReadWithoutCheck);
    Protocol { callers: 1, calls, reads, checkpoints: 0, level, faults, mutation: Some(mutation) }
}

/// A shortest run that breaks a promise. The checker gives one of the first, so what is shorter
/// is looked for until there is nothing.
fn shortest(protocol: Protocol, promise: &'static str) -> Option<Path<State, Action>> {
    let mut found: Option<Path<State, Action>> = None;
    loop {
        let wanted = HasDiscoveries::AnyOf([promise].into());
        let mut checker = protocol.checker().threads(1).finish_when(wanted);
        if let Some(found) = &found {
            // The number of states of a run; the bound leaves out runs of that many.
            checker = checker.target_max_depth(found.clone().into_states().len());
        }
        match checker.spawn_bfs().join().discovery(promise) {
            Some(shorter) => found = Some(shorter),
            None => return found,
        }
    }
}

#[test]
fn every_rule_that_is_taken_away_breaks_its_promise() {
    for mutation in Mutation::ALL {
        let protocol = protocol(mutation);
        let promise = bound(mutation).3;
        let Some(path) = shortest(protocol, promise) else {
            panic!("without its rule ({mutation}), this still holds: {promise}");
        };
        println!("{mutation}, so it is not so that {promise}:\n{}\n", readable(&protocol, &path));
    }
}

#[test]
fn the_whole_protocol_keeps_all_promises_within_the_same_bounds() {
    for mutation in Mutation::ALL {
        let checker = Protocol { mutation: None, ..protocol(mutation) }.checker();
        let checker = checker.threads(1).spawn_bfs().join();
        assert!(checker.is_done() && checker.discoveries().is_empty(), "{mutation}");
    }
}
