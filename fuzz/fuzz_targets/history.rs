//! Commits, checkpoints and reopenings in any order: the state is always that of a model, and a
//! call that was committed is answered or expired, never fresh.

#![no_main]

use std::collections::BTreeMap;
use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use persistent_actor::codec::BLOB_MIN_BYTES;
use persistent_actor::testing::SimDisk;
use persistent_actor::{
    ActorState, Admission, Bytes, CallId, Durability, Encoded, LedgerLimits, Reply, ReplyStatus,
    SessionId, StoreError,
};
use persistent_actor_fuzz::check;

#[derive(Arbitrary, Debug)]
struct History {
    max_calls: u8,
    max_kib: u16,
    is_synced: bool,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Update(Vec<(Name, Value)>),
    Call {
        call: Call,
        changes: Vec<(Name, Value)>,
    },
    /// The same call again.
    Retry(u8),
    Reopen,
}

#[derive(Arbitrary, Debug)]
struct Call {
    session: u8,
    sequence: Number,
    acked_below: Number,
    status: u8,
    reply: Value,
}

#[derive(Arbitrary, Debug)]
enum Number {
    Small(u8),
    Any(u64),
}

#[derive(Arbitrary, Debug)]
enum Name {
    Short(u8),
    Any(String),
}

#[derive(Arbitrary, Debug)]
enum Value {
    Bytes(Vec<u8>),
    /// Does not fit into the journal.
    LargeCbor(u8),
    Array(u8, u8),
    /// That of an attribute, as it is now.
    Of(Name),
    /// That of an attribute and another array.
    With(Name, u8),
}

impl Number {
    fn get(&self) -> u64 {
        match self {
            Self::Small(number) => (*number).into(),
            Self::Any(number) => *number,
        }
    }
}

impl Name {
    fn get(&self) -> String {
        match self {
            Self::Short(number) => format!("a{}", number % 4),
            // Names that begin with NUL are the library's own.
            Self::Any(name) => name.trim_start_matches('\0').to_owned(),
        }
    }
}

fn array(fill: u8, more: u8) -> Bytes {
    Bytes::from(vec![fill; BLOB_MIN_BYTES + usize::from(more) * 16])
}

/// The state as it should be.
#[derive(Default)]
struct Model {
    attributes: BTreeMap<String, Encoded>,
    calls: Vec<(CallId, Reply)>,
}

impl Model {
    fn value(&self, value: &Value) -> Encoded {
        match value {
            Value::Bytes(inline) => Encoded { inline: inline.clone(), blobs: Vec::new() },
            Value::LargeCbor(fill) => {
                Encoded { inline: vec![*fill; BLOB_MIN_BYTES], blobs: Vec::new() }
            }
            Value::Array(fill, more) => {
                Encoded { inline: vec![*fill], blobs: vec![array(*fill, *more)] }
            }
            Value::Of(name) => self.attributes.get(&name.get()).cloned().unwrap_or_default(),
            Value::With(name, fill) => {
                let mut value = self.attributes.get(&name.get()).cloned().unwrap_or_default();
                value.blobs.truncate(3);
                value.blobs.push(array(*fill, 0));
                value
            }
        }
    }

    fn changes(&self, changes: &[(Name, Value)]) -> Vec<(String, Encoded)> {
        changes.iter().map(|(name, value)| (name.get(), self.value(value))).collect()
    }
}

struct Run {
    disk: SimDisk,
    history: History,
    state: ActorState,
    model: Model,
}

fn open(disk: &SimDisk, history: &History) -> ActorState {
    let limits = LedgerLimits {
        max_calls: history.max_calls.into(),
        max_bytes: u64::from(history.max_kib) << 10,
        max_age: Duration::MAX,
        ..LedgerLimits::default()
    };
    let durability = if history.is_synced { Durability::Power } else { Durability::Process };
    let options = ActorState::options().durability(durability).ledger_limits(limits);
    match options.small_segments().impatient().open_on(disk.storage(), "state") {
        Ok(state) => state,
        Err(error) => panic!("cannot be opened: {error}"),
    }
}

impl Run {
    /// Whether the state can go on.
    fn step(&mut self, step: &Step) -> bool {
        match step {
            Step::Update(changes) => {
                let changes = self.model.changes(changes);
                let result = self.state.update(changes.clone());
                match result {
                    Ok(()) => self.model.attributes.extend(changes),
                    // A name of more than 64 KiB, say; nothing was written.
                    Err(error) => return check_too_large(&error.to_string()),
                }
            }
            Step::Call { call, changes } => return self.call(call, changes),
            Step::Retry(which) => {
                if let Some((id, reply)) = self.model.calls.get(usize::from(*which)) {
                    check_answered(&self.state, *id, reply);
                }
            }
            Step::Reopen => {
                let before = self.state.view().clone();
                self.state = open(&self.disk, &self.history);
                assert!(*self.state.view() == before);
            }
        }
        true
    }

    fn call(&mut self, call: &Call, changes: &[(Name, Value)]) -> bool {
        let session = SessionId(u128::from(call.session) << 120 | 1);
        let id = CallId { session, sequence: call.sequence.get() };
        if self.state.admit(id, 1) != Admission::Fresh {
            return true;
        }
        let status = [ReplyStatus::Returned, ReplyStatus::Failed, ReplyStatus::Panicked];
        let status = status[usize::from(call.status) % 3];
        let reply = Reply { status, value: self.model.value(&call.reply) };
        let changes = self.model.changes(changes);
        let acked_below = call.acked_below.get();
        let result = self.state.commit_call(id, acked_below, 1, reply.clone(), changes.clone());
        match result {
            Ok(()) => {}
            Err(StoreError::TooLarge { .. }) => return true,
            Err(error) => panic!("cannot be committed: {error}"),
        }
        self.model.attributes.extend(changes);
        self.model.calls.push((id, reply));
        if let Err(error) = self.state.maintain() {
            panic!("cannot be maintained: {error}");
        }
        true
    }
}

fn check_too_large(error: &str) -> bool {
    assert!(error.contains("too large"), "{error}");
    true
}

fn check_answered(state: &ActorState, id: CallId, reply: &Reply) {
    match state.admit(id, 1) {
        Admission::Replay(again) => assert!(again == *reply),
        Admission::Expired => {}
        other => panic!("call {id}, which was committed, is {other:?}"),
    }
}

fuzz_target!(|history: History| {
    let disk = SimDisk::default();
    let state = open(&disk, &history);
    let mut run = Run { disk, history, state, model: Model::default() };
    let steps = std::mem::take(&mut run.history.steps);
    for step in steps.iter().take(64) {
        run.step(step);
        assert!(run.state.view().attributes == run.model.attributes);
        check::view(run.state.view());
    }
    for (id, reply) in &run.model.calls {
        check_answered(&run.state, *id, reply);
    }
    run.step(&Step::Reopen);
    check::view_reads_back(run.state.view());
    let salvaged = persistent_actor::store::fuzzing::salvage_state(run.disk.storage());
    let read = persistent_actor::store::fuzzing::read_state(run.disk.storage());
    check::salvage_agrees(&read, &salvaged);
});
