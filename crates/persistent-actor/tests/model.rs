//! Random histories of commits, reopenings, power losses and checkpoints against a plain model.
//!
//! `MODEL_SEED` and `MODEL_CASES` choose other histories and more of them.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use common::{Content, Open, Step, limits, options};
use persistent_actor::store::{Store, View};
use persistent_actor::testing::{Loss, Op, SimDisk, Switches};
use persistent_actor::{Durability, Options};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

#[derive(Clone, Debug)]
enum Event {
    Do(Step),
    /// Power fails during this step, after this share (of 255) of its operations.
    PowerLoss(Step, u8, u64),
    /// The process is killed during this step, after this share of its operations.
    Kill(Step, u8, u64),
}

fn contents() -> impl Strategy<Value = Content> {
    prop_oneof![
        4 => any::<u64>().prop_map(Content::Number),
        4 => (0usize..3000).prop_map(Content::Text),
        1 => (65_500usize..66_500).prop_map(Content::Text),
        1 => (0usize..3000).prop_map(Content::Zeros),
        2 => (65_536usize..140_000).prop_map(Content::Blob),
        3 => (0usize..140_000).prop_map(Content::Touched),
        1 => Just(Content::Same),
        2 => (65_536usize..90_000).prop_map(Content::Paged),
        5 => (0usize..90_000, 1usize..6000).prop_map(|(at, len)| Content::Written(at, len)),
        1 => (0usize..90_000, 1usize..90_000).prop_map(|(at, len)| Content::Written(at, len)),
        1 => Just(Content::Kept),
        1 => (0u8..4).prop_map(Content::Of),
    ]
}

/// Arrays in pages, few and much alike, so that they come to share slots and to use them again.
fn paged_contents() -> impl Strategy<Value = Content> {
    prop_oneof![
        2 => Just(Content::PagedZeros(70_000)),
        1 => Just(Content::Paged(70_000)),
        1 => Just(Content::PagedZeros(300_000)),
        8 => (0usize..70_000, 1usize..3000).prop_map(|(at, len)| Content::Written(at, len)),
        3 => (0usize..70_000).prop_map(|at| Content::Written(at, 9_000)),
        2 => Just(Content::Written(0, 280_000)),
        1 => Just(Content::Kept),
        1 => any::<u64>().prop_map(Content::Number),
        4 => (0u8..3).prop_map(Content::Of),
    ]
}

fn paged_steps() -> impl Strategy<Value = Step> {
    let changes = || prop::collection::vec((0u8..3, paged_contents()), 1..4);
    prop_oneof![
        2 => changes().prop_map(Step::Call),
        8 => changes().prop_map(Step::Update),
        1 => Just(Step::Reopen),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    let changes = || prop::collection::vec((0u8..4, contents()), 0..3);
    prop_oneof![
        6 => changes().prop_map(Step::Call),
        2 => changes().prop_map(Step::Update),
        1 => (65_536usize..70_000).prop_map(Step::Answer),
        1 => Just(Step::Reopen),
    ]
}

fn events<S: Strategy<Value = Step>>(steps: impl Fn() -> S) -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        8 => steps().prop_map(Event::Do),
        1 => (steps(), any::<u8>(), any::<u64>())
            .prop_map(|(step, share, seed)| Event::PowerLoss(step, share, seed)),
        1 => (steps(), any::<u8>(), any::<u64>())
            .prop_map(|(step, share, seed)| Event::Kill(step, share, seed)),
    ];
    prop::collection::vec(event, 1..40)
}

/// The disk, the store while it is open, and what it must hold.
struct World {
    disk: SimDisk,
    options: Options,
    open: Option<Open>,
    model: View,
}

impl World {
    fn open(&mut self) -> Result<&mut Open, TestCaseError> {
        if self.open.is_none() {
            let open = Open::on(&self.disk, &self.options);
            let open = open.map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert!(open.view == self.model, "reopened as something else");
            self.open = Some(open);
        }
        self.open.as_mut().ok_or_else(|| TestCaseError::fail("not open"))
    }

    fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        if matches!(step, Step::Reopen) {
            self.open = None;
        }
        let failed = |error: persistent_actor::StoreError| TestCaseError::fail(error.to_string());
        let record = step.record(&self.model);
        let disk = self.disk.clone();
        let open = self.open()?;
        open.commit(step).map_err(failed)?;
        disk.mark(open.view.sequence);
        open.store.maintain(&mut open.view).map_err(failed)?;
        if let Some(record) = record {
            self.model.apply(record, &limits());
        }
        Ok(())
    }

    /// Takes a step and goes on with the disk as it was somewhere in the middle of it.
    fn interrupt(&mut self, step: &Step, share: u8, loss: Loss) -> Result<(), TestCaseError> {
        let before = self.model.clone();
        let start = self.disk.log().len();
        self.take(step)?;
        let log = self.disk.log();
        let count = start + (log.len() - start) * usize::from(share) / 255;
        let answered = log[start..count].contains(&Op::Mark(self.model.sequence));
        self.disk = self.disk.crashed(count, loss);
        self.open = None;
        let found = Open::on(&self.disk, &self.options);
        let found = found.map_err(|error| TestCaseError::fail(error.to_string()))?.view;
        prop_assert!(
            found == self.model || (found == before && !answered),
            "answered: {answered}, found {} of {}",
            found.sequence,
            self.model.sequence
        );
        self.model = found;
        Ok(())
    }
}

fn play(events: &[Event], durability: Durability) -> Result<(), TestCaseError> {
    let mut world = World {
        disk: SimDisk::default(),
        options: options(durability, Switches::default()),
        open: None,
        model: View::default(),
    };
    for event in events {
        match event {
            Event::Do(step) => world.take(step)?,
            Event::PowerLoss(step, share, seed) if durability == Durability::Power => {
                world.interrupt(step, *share, Loss::Random(*seed))?;
            }
            Event::PowerLoss(step, share, seed) | Event::Kill(step, share, seed) => {
                world.interrupt(step, *share, Loss::TornWrite(*seed))?;
            }
        }
    }
    world.open = None;
    world.open().map(drop)
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn play_many<S: Strategy<Value = Step>>(durability: Durability, steps: impl Fn() -> S) {
    let (seed, cases) = (number("MODEL_SEED", 1), number("MODEL_CASES", 60));
    println!("MODEL_SEED={seed} MODEL_CASES={cases}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases: cases as u32, failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    TestRunner::new_with_rng(config, rng)
        .run(&events(steps), |events| play(&events, durability))
        .unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn random_histories_with_power_losses_follow_the_model() {
    play_many(Durability::Power, steps);
}

#[test]
fn random_histories_with_kills_follow_the_model() {
    play_many(Durability::Process, steps);
}

#[test]
fn random_histories_of_arrays_in_pages_follow_the_model() {
    play_many(Durability::Power, paged_steps);
    play_many(Durability::Process, paged_steps);
}
