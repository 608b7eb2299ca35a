//! The core's errors as Python exceptions, which are defined in `persistent_actor/_errors.py`.

use persistent_actor::{OpenError, StateError, StoreError};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyType;

/// The exception `name` of the package, with this message.
pub(crate) fn error(py: Python<'_>, name: &str, message: impl Into<String>) -> PyErr {
    let class = py.import("persistent_actor._errors").and_then(|module| module.getattr(name));
    match class.and_then(|class| Ok(class.cast_into::<PyType>()?)) {
        Ok(class) => PyErr::from_type(class, message.into()),
        Err(error) => error,
    }
}

pub(crate) fn open_error(py: Python<'_>, cause: &OpenError) -> PyErr {
    let name = match cause {
        OpenError::NotFound { .. } => "NotFoundError",
        OpenError::Unreadable { .. } => "UnreadableError",
        OpenError::Damaged { .. } => "DamagedError",
        OpenError::GroupJournalMissing { .. } => "GroupJournalMissingError",
        OpenError::NewerVersion { .. } => "NewerVersionError",
        OpenError::NotPrivate { .. } => "NotPrivateError",
        OpenError::NotAState { .. } => "NotAStateError",
        OpenError::Attribute { .. } => "DecodeError",
        OpenError::Store(cause) => return store_error(py, cause),
        _ => "OpenError",
    };
    error(py, name, cause.to_string())
}

pub(crate) fn store_error(py: Python<'_>, cause: &StoreError) -> PyErr {
    let name = match cause {
        StoreError::Fenced { .. } => "Fenced",
        StoreError::Io { .. } => "StoreIOError",
        StoreError::Poisoned { .. } => "Poisoned",
        StoreError::TooLarge { .. } => "TooLargeError",
        _ => "StoreError",
    };
    error(py, name, cause.to_string())
}

pub(crate) fn state_error(py: Python<'_>, cause: &StateError) -> PyErr {
    match cause {
        StateError::Store(cause) => store_error(py, cause),
        other => error(py, "DecodeError", other.to_string()),
    }
}

/// A thread panicked while it held the state. That is a bug, but not one that ends the process.
pub(crate) fn broken() -> PyErr {
    PyRuntimeError::new_err("an earlier call panicked while it held the state; open it again")
}
