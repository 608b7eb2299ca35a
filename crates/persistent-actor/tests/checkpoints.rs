//! Checkpoints while replies grow old: what the journal on disk still names is not written to.
//! (In the other tests no reply grows old.)

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use std::time::Duration;

use common::{Content, Open, Random, Step, history, limits, options, run};
use persistent_actor::store::View;
use persistent_actor::testing::{Loss, Op, SimDisk, Switches};
use persistent_actor::{
    ActorState, CallId, Durability, LedgerLimits, Options, Reply, ReplyStatus, SessionId, codec,
};

const SEEDS: u64 = 40;
const STEPS: usize = 60;

/// All calls of the tests are from 1970: any checkpoint between commits forgets them.
fn forgetful() -> Options {
    let limits = LedgerLimits { max_age: Duration::from_secs(3600), ..limits() };
    options(Durability::Power, Switches::default()).ledger_limits(limits)
}

/// Arrays in pages that are patched, shared and replaced, and large replies.
fn steps(random: &mut Random) -> Vec<Step> {
    use Content::{Kept, Number, Of, Paged, PagedZeros, Written};
    let mut steps = Vec::new();
    let place = |random: &mut Random| random.below(65_000) as usize;
    for _ in 0..STEPS {
        let attribute = random.below(3) as u8;
        let other = (attribute + 1) % 3;
        steps.push(match random.below(12) {
            0 => Step::Answer(66_000),
            1 => Step::Update(vec![(attribute, Paged(70_000))]),
            2 => Step::Update(vec![(attribute, PagedZeros(70_000))]),
            3 | 4 => Step::Update(vec![(attribute, Kept)]),
            5 => Step::Update(vec![(attribute, Of(other))]),
            6 => Step::Update(vec![(attribute, Number(7))]),
            7 => Step::Call(vec![(attribute, Written(place(random), 700))]),
            _ => Step::Update(vec![(attribute, Written(place(random), 2900))]),
        });
    }
    steps
}

/// What is found has the attributes of one of the history, not older than what was answered.
fn judge(disk: &SimDisk, history: &[View], answered: u64) -> Result<(), String> {
    let found =
        Open::on(disk, &forgetful()).map_err(|error| format!("it does not open: {error}"))?;
    let sequence = found.view.sequence;
    if sequence < answered {
        return Err(format!("commit {answered} was answered, {sequence} is found"));
    }
    match found.view.attributes == history[sequence as usize].attributes {
        true => Ok(()),
        false => Err(format!("the attributes are not those of commit {sequence}")),
    }
}

/// Stops after each operation of these steps; how many were tried.
fn try_all(steps: &[Step]) -> Result<usize, String> {
    let (disk, history) = (SimDisk::default(), history(steps));
    run(&disk, &forgetful(), steps).unwrap();
    let (log, mut answered, mut tried) = (disk.log(), 0, 0);
    for count in 0..=log.len() {
        if let Some(Op::Mark(commit)) = count.checked_sub(1).map(|last| &log[last]) {
            answered = *commit;
        }
        for loss in [Loss::Nothing, Loss::Unsynced] {
            judge(&disk.crashed(count, loss), &history, answered)
                .map_err(|broken| format!("operation {count}, {loss:?}: {broken}"))?;
            tried += 1;
        }
    }
    Ok(tried)
}

#[test]
fn a_stop_in_a_checkpoint_that_forgets_replies_leaves_a_state_that_opens() {
    let tried = |seed| {
        let tried = try_all(&steps(&mut Random(seed)));
        tried.unwrap_or_else(|broken| panic!("seed {seed}, {broken}"))
    };
    println!("{} crash points", (0..SEEDS).map(tried).sum::<usize>());
}

/// Two arrays get new slots in one checkpoint, and the first leaves one that the journal names.
#[test]
fn a_slot_that_a_checkpoint_leaves_is_not_used_again_in_the_same_checkpoint() {
    use Content::{Kept, Number, Of, Paged, PagedZeros, Written};
    let mut tried = 0;
    for before in 0..12 {
        let update = |attribute, content| Step::Update(vec![(attribute, content)]);
        let mut steps = vec![update(2, Paged(70_000))];
        // Nearly as many patches as an array may have, and some room left in the segment.
        steps.extend((0..3).map(|n| update(2, Written(n * 5000, 2600))));
        steps.extend((0..before).map(|n| update(3, Content::Text(100 * n))));
        steps.extend([
            update(0, PagedZeros(70_000)),
            update(0, Kept),
            update(1, Of(0)),
            update(0, Kept),
            update(0, Number(1)),
            update(2, Written(30_000, 1500)),
        ]);
        steps.extend((0..12).map(|n| update(3, Content::Text(900 + n))));
        tried += try_all(&steps).unwrap_or_else(|broken| panic!("{before}, {broken}"));
    }
    println!("{tried} crash points");
}

/// Between such calls there is never time for the checkpoint that usually forgets.
#[test]
fn the_bounds_of_the_ledger_hold_however_large_the_records_are() {
    let dir = tempfile::tempdir().unwrap();
    let limits = LedgerLimits { max_sessions: 16, ..LedgerLimits::default() };
    let options = ActorState::options().durability(Durability::Process).ledger_limits(limits);
    let mut state = options.open(dir.path().join("state")).unwrap();
    let mut most = 0;
    for n in 1..=500u128 {
        let id = CallId { session: SessionId(n << 80), sequence: 0 };
        let text = codec::encode(&"x".repeat(60_000 + n as usize)).unwrap();
        let reply = Reply { status: ReplyStatus::Returned, value: codec::encode(&()).unwrap() };
        state.commit_call(id, 0, 0, reply, vec![("text".to_owned(), text)]).unwrap();
        state.maintain().unwrap();
        most = most.max(state.view().ledger.sessions().count());
    }
    assert!(most < 100, "{most} sessions were remembered");
}
