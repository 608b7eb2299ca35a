//! [`State`]: the core's `ActorState` for Python. The GIL is released around everything that may
//! wait: the lock, reading, and commits.

use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};

use persistent_actor::{
    ActorState, Admission, CallId, Durability, Encoded, LedgerLimits, RESERVED_PREFIX, Reply,
    ReplyStatus,
};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};
use xxhash_rust::xxh3::xxh3_64;

use crate::decode::decode;
use crate::encode::{Others, Shared, encode};
use crate::errors::{broken, error, open_error, state_error, store_error};

type Locked = Arc<Mutex<Option<ActorState>>>;

/// An encoded value: a snapshot of an object, to be committed later.
#[pyclass(frozen)]
pub(crate) struct Snapshot(Encoded);

/// One actor's durable attributes.
#[pyclass(frozen)]
pub(crate) struct State {
    state: Locked,
    allow_pickle: bool,
    epoch: u64,
    id: Option<u128>,
    /// Wakes the thread that does what may wait until a reply has left.
    maintenance: Arc<Mutex<Sender<()>>>,
    /// The process that opened it. A forked child has all of this, too, but not the right to write.
    process: u32,
}

#[pymethods]
impl State {
    #[new]
    #[pyo3(signature = (path, *, durability, create, max_calls, max_reply_bytes, allow_pickle))]
    fn open(
        py: Python<'_>,
        path: PathBuf,
        durability: &str,
        create: bool,
        max_calls: usize,
        max_reply_bytes: u64,
        allow_pickle: bool,
    ) -> PyResult<Self> {
        let durability: Durability = match durability.parse() {
            Ok(Durability::None) | Err(_) => {
                let message = format!("durability {durability:?}: expected 'process' or 'power'");
                return Err(PyValueError::new_err(message));
            }
            Ok(durability) => durability,
        };
        let limits =
            LedgerLimits { max_calls, max_bytes: max_reply_bytes, ..LedgerLimits::default() };
        let options =
            ActorState::options().durability(durability).create(create).ledger_limits(limits);
        let state = py.detach(|| options.open(&path)).map_err(|cause| open_error(py, &cause))?;
        let (epoch, id) = (state.epoch(), state.state_id());
        let state = Arc::new(Mutex::new(Some(state)));
        let maintenance = Arc::new(Mutex::new(start_maintenance(&state)?));
        Ok(Self { state, allow_pickle, epoch, id, maintenance, process: std::process::id() })
    }

    /// The committed value of an attribute, as a new object, in a tuple; `None` if it was never
    /// set.
    fn load<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let encoded = self.with(py, |state| Ok(state.encoded(name).cloned()))?;
        let Some(encoded) = encoded else { return Ok(None) };
        let object =
            decode(py, &encoded, self.allow_pickle).map_err(|cause| note(py, cause, name))?;
        Ok(Some(PyTuple::new(py, [object])?))
    }

    /// The names of the committed attributes.
    fn names(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        self.with(py, |state| Ok(state.attributes().map(|(name, _)| name.to_owned()).collect()))
    }

    /// Encodes the value of an attribute now.
    fn snapshot(&self, name: &str, object: &Bound<'_, PyAny>) -> PyResult<Snapshot> {
        check_name(name)?;
        let encoded = encode(object, self.others(), None, &mut Shared::default());
        Ok(Snapshot(encoded.map_err(|cause| note(object.py(), cause, name))?))
    }

    /// What an attribute was when the snapshot was taken, as a new object.
    fn restore<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        snapshot: &Snapshot,
    ) -> PyResult<Bound<'py, PyAny>> {
        decode(py, &snapshot.0, self.allow_pickle).map_err(|cause| note(py, cause, name))
    }

    /// Commits attributes, all or none.
    fn commit(&self, py: Python<'_>, pairs: Vec<(String, Bound<'_, PyAny>)>) -> PyResult<()> {
        let changes = self.encode_all(py, pairs, &mut Shared::default())?;
        let (done, is_due) =
            self.with(py, |state| Ok((state.update(changes), state.is_maintenance_due())))?;
        done.map_err(|cause| state_error(py, &cause))?;
        self.maintain_if(is_due);
        Ok(())
    }

    /// Asks the ledger about a call: `None` if it never ran, else its reply in a tuple.
    fn admit<'py>(
        &self,
        py: Python<'py>,
        call: [u8; 10],
        digest: u64,
    ) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let admission = self.with(py, |state| Ok(state.admit(CallId::foreign(call), digest)))?;
        match admission {
            Admission::Fresh => Ok(None),
            Admission::Replay(reply) => {
                let reply = decode(py, &reply.value, self.allow_pickle)?;
                Ok(Some(PyTuple::new(py, [reply])?))
            }
            Admission::Expired => Err(error(
                py,
                "LedgerExpired",
                "the call was committed, but its reply is not remembered any more; nothing ran",
            )),
            Admission::IdReused => Err(error(
                py,
                "IdReused",
                "the call's id was used before, for another method or other arguments; nothing ran",
            )),
        }
    }

    /// Commits a call in one record: its id, its reply, and the attributes that it changed.
    fn commit_call(
        &self,
        py: Python<'_>,
        call: [u8; 10],
        digest: u64,
        pairs: Vec<(String, Bound<'_, PyAny>)>,
        reply: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let mut shared = Shared::default();
        let changes = self.encode_all(py, pairs, &mut shared)?;
        let value = encode(reply, self.others(), None, &mut shared)
            .map_err(|cause| note(py, cause, "the method's reply"))?;
        // From here on the program may do with its buffers what it likes.
        drop(shared);
        let reply = Reply { status: ReplyStatus::Returned, value };
        let id = CallId::foreign(call);
        let (done, is_due) = self.with(py, |state| {
            Ok((state.commit_call(id, 0, digest, reply, changes), state.is_maintenance_due()))
        })?;
        done.map_err(|cause| store_error(py, &cause))?;
        self.maintain_if(is_due);
        Ok(())
    }

    /// What became of a call: `("committed", reply)`, `("expired", None)` or
    /// `("unknown", None)`. The last is not said by a state that is fenced, or whose commit failed:
    /// the call may be committed all the same.
    fn outcome<'py>(
        &self,
        py: Python<'py>,
        call: [u8; 10],
    ) -> PyResult<(&'static str, Bound<'py, PyAny>)> {
        let id = CallId::foreign(call);
        let (reply, is_expired, checked) = self.with(py, |state| {
            let ledger = &state.view().ledger;
            let reply = ledger.entry(id).map(|entry| entry.reply.value.clone());
            let is_expired = ledger.admit(id, 0) == Admission::Expired;
            let is_known = reply.is_some() || is_expired;
            Ok((reply, is_expired, if is_known { Ok(()) } else { state.check() }))
        })?;
        checked.map_err(|cause| store_error(py, &cause))?;
        let none = py.None().into_bound(py);
        match reply {
            Some(reply) => Ok(("committed", decode(py, &reply, self.allow_pickle)?)),
            None if is_expired => Ok(("expired", none)),
            None => Ok(("unknown", none)),
        }
    }

    /// A digest of a method and its arguments, the same in every process.
    #[staticmethod]
    fn digest(
        method: &Bound<'_, PyString>,
        args: &Bound<'_, PyTuple>,
        kwargs: &Bound<'_, PyDict>,
    ) -> PyResult<u64> {
        let py = method.py();
        let kwargs = kwargs.items();
        kwargs.sort()?;
        let call = PyTuple::new(py, [method.as_any(), args.as_any(), kwargs.as_any()])?;
        let encoded = encode(call.as_any(), Others::Digest, None, &mut Shared::default())?;
        Ok(xxh3_64(&encoded.inline))
    }

    /// The epoch under which the state is open.
    #[getter]
    fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What tells this state from another one at the same path, as hexadecimal text; `None` in
    /// Redis.
    #[getter]
    fn id(&self) -> Option<String> {
        self.id.map(|id| format!("{id:032x}"))
    }

    /// The number of the last commit.
    #[getter]
    fn sequence(&self, py: Python<'_>) -> PyResult<u64> {
        self.with(py, |state| Ok(state.sequence()))
    }

    /// Gives files and memory back; everything but `close` fails afterwards. In a forked child it
    /// does nothing.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_of_another_process() {
            return Ok(());
        }
        py.detach(|| self.state.lock().map(|mut state| drop(state.take())).map_err(|_| broken()))
    }
}

impl State {
    fn others(&self) -> Others {
        if self.allow_pickle { Others::Pickle } else { Others::Refuse }
    }

    /// Whether this is a forked child's copy. Its locks must not be touched: at the fork, a thread
    /// that the child does not have may have held them.
    fn is_of_another_process(&self) -> bool {
        std::process::id() != self.process
    }

    /// Runs `work` on the state without the GIL.
    fn with<T: Send>(
        &self,
        py: Python<'_>,
        work: impl Send + FnOnce(&mut ActorState) -> PyResult<T>,
    ) -> PyResult<T> {
        if self.is_of_another_process() {
            let message = format!(
                "this ActorState was opened in another process (pid {}): open the state again here",
                self.process
            );
            return Err(PyRuntimeError::new_err(message));
        }
        py.detach(|| {
            let mut state: MutexGuard<'_, Option<ActorState>> =
                self.state.lock().map_err(|_| broken())?;
            match &mut *state {
                Some(state) => work(state),
                None => Err(PyValueError::new_err("this ActorState is closed")),
            }
        })
    }

    fn encode_all(
        &self,
        py: Python<'_>,
        pairs: Vec<(String, Bound<'_, PyAny>)>,
        shared: &mut Shared,
    ) -> PyResult<Vec<(String, Encoded)>> {
        let mut changes = Vec::with_capacity(pairs.len());
        for (name, object) in pairs {
            check_name(&name)?;
            let encoded = if let Ok(snapshot) = object.cast_exact::<Snapshot>() {
                snapshot.get().0.clone()
            } else {
                let old = self.with(py, |state| Ok(state.encoded(&name).cloned()))?;
                encode(&object, self.others(), old.as_ref(), shared)
                    .map_err(|cause| note(py, cause, &name))?
            };
            changes.push((name, encoded));
        }
        Ok(changes)
    }

    fn maintain_if(&self, is_due: bool) {
        if is_due && let Ok(sender) = self.maintenance.lock() {
            // An error means that the thread has ended, which it does when the state is lost.
            let _ = sender.send(());
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if self.is_of_another_process() {
            // They are its parent's: to drop them could wait for locks as above, and it closes what
            // the parent has open.
            std::mem::forget((Arc::clone(&self.state), Arc::clone(&self.maintenance)));
        }
    }
}

/// Refuses the names of the library's own attributes.
fn check_name(name: &str) -> PyResult<()> {
    if !name.starts_with(RESERVED_PREFIX) {
        return Ok(());
    }
    Err(PyValueError::new_err(format!(
        "attribute {name:?}: expected a name that does not begin with a NUL character; such names \
         are reserved"
    )))
}

/// Starts the thread that writes checkpoints ahead, between calls. It ends with the state.
fn start_maintenance(state: &Locked) -> PyResult<Sender<()>> {
    let (sender, receiver) = channel::<()>();
    let state = Arc::downgrade(state);
    let work = move || {
        while receiver.recv().is_ok() {
            while receiver.try_recv().is_ok() {}
            let Some(state) = state.upgrade() else { return };
            let Ok(mut state) = state.lock() else { return };
            // A failure poisons the store, and the next commit says so.
            let done = state.as_mut().map(ActorState::maintain);
            if !matches!(done, Some(Ok(()))) {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name("actor-state".to_owned());
    thread.spawn(work)?;
    Ok(sender)
}

/// Says in an error which value it is about.
fn note(py: Python<'_>, cause: PyErr, value: &str) -> PyErr {
    let text = format!("in attribute {value:?}");
    let text = if value.starts_with("the ") { format!("in {value}") } else { text };
    // A note that cannot be added is no reason to hide the error.
    let _ = cause.value(py).call_method1("add_note", (text,));
    cause
}
