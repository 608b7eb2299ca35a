"""Durable attributes for Ray actors, saved atomically with each call's reply: exactly once.

    import ray
    from persistent_actor import ActorState, safe_state

    @ray.remote(max_restarts=-1, max_task_retries=-1)
    class Counter:
        def __init__(self, path):
            self.state = ActorState(path)
            self.counter = self.state.get("counter", 0)

        @safe_state("counter")
        def increment(self):
            self.counter += 1
            return self.counter

Kill the actor at any instant: no increment is lost, none is applied twice, and each call gets the
reply of its one execution.
"""

from ._call_id import CallId, as_call_id, call_id_of, child_call_id, current_call_id
from ._errors import (
    CallError,
    DamagedError,
    DecodeError,
    Fenced,
    GroupJournalMissingError,
    IdReused,
    LedgerExpired,
    NewerVersionError,
    NotAStateError,
    NotFoundError,
    NotPrivateError,
    OpenError,
    PersistentActorError,
    Poisoned,
    StoreError,
    StoreIOError,
    TooLargeError,
    UnreadableError,
    ValueTypeError,
)
from ._safe_state import safe_state
from ._state import ActorState, Outcome

__all__ = [
    "ActorState",
    "CallError",
    "CallId",
    "DamagedError",
    "DecodeError",
    "Fenced",
    "GroupJournalMissingError",
    "IdReused",
    "LedgerExpired",
    "NewerVersionError",
    "NotAStateError",
    "NotFoundError",
    "NotPrivateError",
    "OpenError",
    "Outcome",
    "PersistentActorError",
    "Poisoned",
    "StoreError",
    "StoreIOError",
    "TooLargeError",
    "UnreadableError",
    "ValueTypeError",
    "as_call_id",
    "call_id_of",
    "child_call_id",
    "current_call_id",
    "safe_state",
]
