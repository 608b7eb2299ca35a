"""Call ids: the identity of a call, the same in every retry."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from . import _ray


class CallId(NamedTuple):
    """The identity of a call, as text. Retries of one call have the same."""

    text: str

    @property
    def digest(self) -> bytes:
        """What the ledger keeps of the id: 80 bits of BLAKE2b."""
        return blake2b(self.text.encode(), digest_size=10, person=b"call-id").digest()

    @property
    def ledger_id(self) -> str:
        """The call as `actor-state` names it."""
        return f"ffffffffffff{self.digest.hex()}:0"

    def __str__(self) -> str:
        return self.text


def as_call_id(value: str | CallId) -> CallId:
    """The id of a call for which the caller has chosen `call_id=value`."""
    if isinstance(value, CallId):
        return value
    if not isinstance(value, str) or not value:
        raise TypeError(f"call_id={value!r}: expected a text that is not empty, or a CallId")
    return CallId(f"given:{value}")


def of_task(session: str, task: str) -> CallId:
    """The id of the first safe-state call that a Ray task makes on a state."""
    return CallId(f"ray:{session}:{task}")


def call_id_of(ref: Any) -> CallId:
    """The id of the call that an `ObjectRef` is the reply of, for `ActorState.outcome`.

    It is that of the task's first call of a `safe_state` method.
    """
    session = _ray.session_name()
    if session is None:
        raise RuntimeError("this process is not connected to Ray, so no call has an id")
    return of_task(session, ref.task_id().hex())


class _Execution:
    """A call or task that a thread executes, and how many children it has had."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.children = 0


class _Thread(threading.local):
    """What the calling thread is doing."""

    call: CallId | None = None
    """The safe-state call that runs in this thread, if it has an id."""
    execution: _Execution | None = None
    """The same as an execution."""


_thread: Final = _Thread()


class _OfTask:
    """What a Ray task has done outside safe-state calls. Coroutines of several tasks take turns in
    one thread, so this is kept in their contexts."""

    def __init__(self, task: _ray.Task) -> None:
        self.task = task
        self.execution = _Execution(f"{of_task(task.session, task.task).text}/task")
        self.calls: dict[str, int] = {}
        """How many safe-state calls it has made, by the state's path."""


_of_task: Final[ContextVar[_OfTask | None]] = ContextVar("persistent_actor_task", default=None)


def _doings(task: _ray.Task) -> _OfTask:
    doings = _of_task.get()
    if doings is None or doings.task != task:
        doings = _OfTask(task)
        _of_task.set(doings)
    return doings


def next_ordinal(task: _ray.Task, path: str) -> int:
    """How many safe-state calls a task has made on a state before the one that begins."""
    calls = _doings(task).calls
    ordinal = calls.get(path, 0)
    calls[path] = ordinal + 1
    return ordinal

Entered = tuple[CallId | None, _Execution | None]


def enter(call_id: CallId | None) -> Entered:
    """A safe-state call begins in this thread; gives back what was running before."""
    before = (_thread.call, _thread.execution)
    _thread.call = call_id
    _thread.execution = None if call_id is None else _Execution(call_id.text)
    return before


def leave(before: Entered) -> None:
    """The call has ended."""
    _thread.call, _thread.execution = before


def current_call_id() -> CallId | None:
    """The id of the call that this thread executes; `None` if it has none (plain Python, the
    driver, threads that the program has started itself)."""
    if _thread.call is not None:
        return _thread.call
    task = _ray.current_task()
    return None if task is None else of_task(task.session, task.task)


def child_call_id(label: str | None = None) -> CallId:
    """An id for a call that is made inside a call: the same again when that one is retried.

        self.other.add.remote(1, call_id=child_call_id())

    Ray gives a call that is made inside a retried method a new task id; this is how the callee
    recognises it. Without a `label`, children are numbered in the order in which they are made,
    so the method must make them in the same order each time. In `async def` methods the order is
    not certain, and a label that is not used twice is required.
    """
    execution = _thread.execution or _task_execution()
    if execution is None:
        raise RuntimeError(
            "there is no call to derive an id from: call this inside a method that Ray executes, "
            "or choose a call_id yourself"
        )
    if label is not None:
        return CallId(f"{execution.prefix}/{label}")
    if _thread.execution is None and _is_async():
        raise RuntimeError(
            "in an async method the order of calls is not certain: pass child_call_id() a label "
            "that differs from those of the method's other calls"
        )
    execution.children += 1
    return CallId(f"{execution.prefix}/#{execution.children - 1}")


def _task_execution() -> _Execution | None:
    task = _ray.current_task()
    return None if task is None else _doings(task).execution


def _is_async() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
