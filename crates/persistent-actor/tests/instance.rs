//! What a call does to memory and to the committed state, whatever way it ends.

#![allow(clippy::unwrap_used)]

use std::cell::Cell;
use std::path::Path;

use persistent_actor::codec::{self, BLOB_MIN_BYTES, CodecError, Encoded};
use persistent_actor::testing::Switches;
use persistent_actor::{
    Actor, ActorState, Answer, Bytes, Call, CallId, Durability, Instance, Method, Outcome,
    Rejection, Reply, ReplyStatus, SessionId, StoreError,
};
use serde::{Deserialize, Serialize};

thread_local! {
    static RUNS: Cell<u32> = const { Cell::new(0) };
}

/// What `#[actor]` would write, by hand: `count` and `image` are durable, `hits` is not.
#[derive(Default)]
struct Counter {
    count: u64,
    image: Bytes,
    hits: u64,
}

const ADD: usize = 0;
const FAIL: usize = 1;
const PANIC: usize = 2;
const READ: usize = 3;

fn change(counter: &mut Counter, args: &Encoded) -> Result<Encoded, CodecError> {
    let (by,): (u64,) = codec::decode(args)?;
    RUNS.set(RUNS.get() + 1);
    counter.count += by;
    counter.hits += 1;
    let content = counter.count.to_le_bytes()[0];
    counter.image = Bytes::build(BLOB_MIN_BYTES, |out| out.fill(content));
    codec::encode(&counter.count)
}

impl Actor for Counter {
    const NAME: &'static str = "Counter";
    const ATTRIBUTES: &'static [&'static str] = &["count", "image"];
    const METHODS: &'static [Method<Self>] = &[
        Method {
            name: "add",
            saves: Some(&[0, 1]),
            run: |counter, args| change(counter, args).map(Outcome::Returned),
        },
        Method {
            name: "fail",
            saves: Some(&[0, 1]),
            run: |counter, args| change(counter, args).map(Outcome::Failed),
        },
        Method {
            name: "panic",
            saves: Some(&[0, 1]),
            run: |counter, args| {
                change(counter, args)?;
                panic!("on purpose")
            },
        },
        Method {
            name: "read",
            saves: None,
            run: |counter, _| codec::encode(&(counter.count, counter.hits)).map(Outcome::Returned),
        },
    ];

    fn save(&self, index: usize) -> Result<Encoded, CodecError> {
        if index == 0 { codec::encode(&self.count) } else { codec::encode(&self.image) }
    }

    fn load(&mut self, index: usize, value: &Encoded) -> Result<(), CodecError> {
        if index == 0 {
            self.count = codec::decode(value)?;
        } else {
            self.image = codec::decode(value)?;
        }
        Ok(())
    }
}

fn open(path: &Path, switches: Switches) -> Instance<Counter> {
    let options = ActorState::options().durability(Durability::Process).switches(switches);
    Instance::open(options.open(path).unwrap(), || Ok(Counter::default())).unwrap()
}

fn call(sequence: u64, method: usize, by: u64) -> Call {
    let id = CallId { session: SessionId(1 << 80), sequence };
    let args = if method == READ { codec::encode(&()) } else { codec::encode(&(by,)) };
    Call { id, acked_below: 0, method, args: args.unwrap() }
}

fn answer(instance: &mut Instance<Counter>, call: &Call) -> Answer {
    instance.call(call, &mut |_| ()).unwrap()
}

fn run(instance: &mut Instance<Counter>, call: &Call) -> Reply {
    match answer(instance, call) {
        Answer::Ran(reply) | Answer::Replayed(reply) => reply,
        Answer::Rejected(rejection) => panic!("{rejection}"),
    }
}

fn memory(instance: &Instance<Counter>) -> (u64, u8) {
    let counter = instance.actor();
    (counter.count, counter.image.first().copied().unwrap_or(0))
}

fn in_a_new_state(switches: Switches, test: impl FnOnce(&mut Instance<Counter>)) {
    let dir = tempfile::tempdir().unwrap();
    test(&mut open(&dir.path().join("state"), switches));
}

#[test]
fn a_state_that_is_made_begins_with_the_attributes_of_its_actor() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("counter");
    let make = || Ok(Counter { count: 5, ..Counter::default() });
    for _ in 0..2 {
        let instance = Instance::open_at(ActorState::options(), &path, make).unwrap();
        let names: Vec<_> = instance.state().attributes().map(|(name, _)| name).collect();
        assert_eq!((names, instance.state().sequence()), (vec!["count", "image"], 1));
    }
    // It is the state that counts from now on.
    let other = || Ok(Counter { count: 6, ..Counter::default() });
    let mut instance = Instance::open_at(ActorState::options(), &path, other).unwrap();
    assert_eq!(memory(&instance).0, 5);
    run(&mut instance, &call(0, ADD, 1));
    assert_eq!((memory(&instance).0, instance.state().sequence()), (6, 2));

    // What is large is committed as ever.
    let large =
        || Ok(Counter { image: Bytes::from(vec![3; BLOB_MIN_BYTES]), ..Counter::default() });
    let path = dir.path().join("large");
    for _ in 0..2 {
        let instance = Instance::open_at(ActorState::options(), &path, large).unwrap();
        assert_eq!((memory(&instance), instance.state().sequence()), ((0, 3), 1));
    }
}

#[test]
fn a_committed_call_is_answered_again_without_running_again() {
    in_a_new_state(Switches::default(), |instance| {
        let first = run(instance, &call(0, ADD, 5));
        let runs = RUNS.get();
        let again = answer(instance, &call(0, ADD, 5));
        assert!(matches!(&again, Answer::Replayed(reply) if *reply == first));
        assert_eq!(RUNS.get(), runs);
        assert_eq!(memory(instance), (5, 5));
    });
}

#[test]
fn with_dedup_switched_off_a_retry_doubles() {
    in_a_new_state(Switches { dedup: false, ..Switches::default() }, |instance| {
        run(instance, &call(0, ADD, 5));
        run(instance, &call(0, ADD, 5));
        assert_eq!(memory(instance).0, 10, "or the tests of exactly-once prove nothing");
    });
}

#[test]
fn a_method_that_fails_changes_nothing() {
    in_a_new_state(Switches::default(), |instance| {
        run(instance, &call(0, ADD, 5));
        assert_eq!(run(instance, &call(1, FAIL, 70)).status, ReplyStatus::Failed);
        assert_eq!(memory(instance), (5, 5));
        assert_eq!(instance.actor().hits, 2, "what is not durable stays as the method left it");
        assert_eq!(instance.state().get::<u64>("count").unwrap(), Some(5));
    });
}

#[test]
fn with_rollback_switched_off_a_failure_leaks_into_memory() {
    in_a_new_state(Switches { rollback: false, ..Switches::default() }, |instance| {
        run(instance, &call(0, FAIL, 70));
        assert_eq!(memory(instance).0, 70, "or the tests of rollback prove nothing");
    });
}

#[test]
fn a_panic_changes_nothing_and_resets_what_is_not_durable() {
    in_a_new_state(Switches::default(), |instance| {
        run(instance, &call(0, ADD, 5));
        let panicked = run(instance, &call(1, PANIC, 70));
        assert_eq!(panicked.status, ReplyStatus::Panicked);
        assert_eq!(codec::decode::<String>(&panicked.value).unwrap(), "on purpose");
        assert_eq!(memory(instance), (5, 5));
        assert_eq!(instance.actor().hits, 0);
        assert_eq!(run(instance, &call(1, PANIC, 70)), panicked, "the failure is remembered");
    });
}

#[test]
fn reading_leaves_no_record() {
    in_a_new_state(Switches::default(), |instance| {
        run(instance, &call(0, ADD, 5));
        let before = instance.state().sequence();
        run(instance, &call(1, READ, 0));
        assert_eq!(instance.state().sequence(), before);
    });
}

#[test]
fn a_restart_continues_from_the_last_commit_and_remembers_its_calls() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut first = open(&path, Switches::default());
    let committed = run(&mut first, &call(0, ADD, 5));
    drop(first);
    let mut second = open(&path, Switches::default());
    assert_eq!(memory(&second), (5, 5));
    assert_eq!(second.actor().hits, 0);
    assert_eq!(run(&mut second, &call(0, ADD, 5)), committed);
    run(&mut second, &call(1, ADD, 1));
    assert_eq!(memory(&second), (6, 6));
}

#[test]
fn an_id_with_other_arguments_is_refused_and_nothing_runs() {
    in_a_new_state(Switches::default(), |instance| {
        run(instance, &call(0, ADD, 5));
        let refused = answer(instance, &call(0, ADD, 6));
        assert!(matches!(refused, Answer::Rejected(Rejection::IdReused(_))));
        assert_eq!(memory(instance), (5, 5));
    });
}

#[test]
fn an_acknowledged_id_expires() {
    in_a_new_state(Switches::default(), |instance| {
        run(instance, &call(0, ADD, 5));
        run(instance, &Call { acked_below: 1, ..call(1, ADD, 1) });
        let refused = answer(instance, &call(0, ADD, 5));
        assert!(matches!(refused, Answer::Rejected(Rejection::LedgerExpired(_))));
        assert_eq!(memory(instance), (6, 6));
    });
}

#[test]
fn arguments_that_do_not_fit_and_unknown_methods_are_refused() {
    in_a_new_state(Switches::default(), |instance| {
        let mut wrong = call(0, ADD, 5);
        wrong.args = codec::encode(&("five",)).unwrap();
        let refused = answer(instance, &wrong);
        assert!(matches!(refused, Answer::Rejected(Rejection::Codec { method: "add", .. })));
        wrong.method = 99;
        let refused = answer(instance, &wrong);
        assert!(matches!(refused, Answer::Rejected(Rejection::UnknownMethod { method: 99, .. })));
        assert_eq!(memory(instance), (0, 0));
    });
}

/// Its one attribute is a chain; each call makes it longer.
#[derive(Default)]
struct Chain(Option<Box<Link>>);

#[derive(Serialize, Deserialize)]
enum Link {
    Next(u64, Option<Box<Link>>),
}

fn prolong(chain: &mut Chain, args: &Encoded) -> Result<Outcome, CodecError> {
    let (by,): (u64,) = codec::decode(args)?;
    for number in 0..by {
        chain.0 = Some(Box::new(Link::Next(number, chain.0.take())));
    }
    codec::encode(&()).map(Outcome::Returned)
}

impl Actor for Chain {
    const NAME: &'static str = "Chain";
    const ATTRIBUTES: &'static [&'static str] = &["first"];
    const METHODS: &'static [Method<Self>] =
        &[Method { name: "prolong", saves: Some(&[0]), run: prolong }];

    fn save(&self, _index: usize) -> Result<Encoded, CodecError> {
        codec::encode(&self.0)
    }

    fn load(&mut self, _index: usize, value: &Encoded) -> Result<(), CodecError> {
        self.0 = codec::decode(value)?;
        Ok(())
    }
}

#[test]
fn an_attribute_that_nests_too_deep_to_be_loaded_is_not_saved() {
    const DEEPEST: u64 = codec::MAX_DEPTH as u64 / 2; // A variant with two fields has two levels.
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let options = ActorState::options().durability(Durability::Process);
        let state = options.open(dir.path().join("state")).unwrap();
        Instance::open(state, || Ok(Chain::default())).unwrap()
    };
    let length = |instance: &Instance<Chain>| {
        let mut link = instance.actor().0.as_deref();
        let mut length = 0;
        while let Some(Link::Next(_, next)) = link {
            (link, length) = (next.as_deref(), length + 1);
        }
        length
    };
    let mut instance = open();
    let call = |sequence, by| call(sequence, 0, by);
    let answer = instance.call(&call(0, DEEPEST), &mut |_| ()).unwrap();
    assert!(matches!(answer, Answer::Ran(_)), "{answer:?}");
    let answer = instance.call(&call(1, 1), &mut |_| ()).unwrap();
    let Answer::Rejected(Rejection::Codec { method: "prolong", reason, .. }) = answer else {
        panic!("{answer:?}")
    };
    assert!(reason.contains("nests deeper than 128 levels"), "{reason}");
    assert_eq!(length(&instance), DEEPEST, "what the method has done is taken back");
    drop(instance);
    assert_eq!(length(&open()), DEEPEST);
}

/// A second opener takes the state over and commits; what does the first one read then?
fn read_after_a_takeover(switches: Switches) -> Result<Answer, StoreError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut first = open(&path, switches);
    let mut second = open(&path, switches);
    run(&mut second, &call(0, ADD, 5));
    first.call(&call(1, READ, 0), &mut |_| ())
}

#[test]
fn a_superseded_actor_does_not_even_answer_from_memory() {
    let answer = read_after_a_takeover(Switches::default());
    assert!(matches!(answer, Err(StoreError::Fenced { epoch: 1, .. })), "{answer:?}");
}

#[test]
fn with_fencing_switched_off_a_superseded_actor_answers_with_an_old_state() {
    let answer = read_after_a_takeover(Switches { fencing: false, ..Switches::default() });
    let Ok(Answer::Ran(reply)) = answer else { panic!("{answer:?}") };
    let (count, _): (u64, u64) = codec::decode(&reply.value).unwrap();
    assert_eq!(count, 0, "or the test of fenced reads proves nothing");
}
