"""What Ray says about the task that the calling thread executes. Ray is never imported here: a
program that runs under Ray has done so."""

from __future__ import annotations

import sys
import threading
from typing import Any, NamedTuple


class Task(NamedTuple):
    """One attempt at a task."""

    session: str
    """The name of the Ray session: task ids repeat between sessions."""
    task: str
    """The task's id, 24 bytes in hexadecimal, the same in every attempt."""
    attempt: int
    """How often the task was tried before; -1 if this version of Ray does not say."""


def current_task() -> Task | None:
    """The task that this thread executes; `None` outside Ray, in the driver, and in threads that
    the program has started itself, where Ray's answer would be a task that does not exist."""
    ray = sys.modules.get("ray")
    if ray is None:
        return None
    module = ray._private.worker
    worker = module.global_worker
    # Each call asks this, so it asks the worker itself, not the runtime context above it.
    if worker.mode != module.WORKER_MODE:
        return None
    task_id, actor_id = worker.current_task_id, worker.actor_id
    if task_id.is_nil():
        return None
    task: str = task_id.hex()
    if actor_id.is_nil():
        # A task without an actor runs in the main thread.
        if threading.current_thread() is not threading.main_thread():
            return None
    elif not task.endswith(actor_id.hex()):
        return None
    return Task(_session_name(worker), task, _attempt(worker))


def session_name() -> str | None:
    """The session that this process is connected to; not through Ray Client (`ray://`)."""
    ray = sys.modules.get("ray")
    if ray is None:
        return None
    worker = ray._private.worker.global_worker
    return None if worker.node is None else _session_name(worker)


def _session_name(worker: Any) -> str:
    return str(worker.node.session_name)


def _attempt(worker: Any) -> int:
    ask = getattr(worker.core_worker, "get_current_task_attempt_number", None)
    return int(ask()) if ask is not None else -1
