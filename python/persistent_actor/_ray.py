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
    if ray is None or not ray.is_initialized():
        return None
    worker = ray._private.worker
    if worker.global_worker.mode != worker.WORKER_MODE:
        return None
    context = ray.get_runtime_context()
    task: str | None = context.get_task_id()
    if task is None:
        return None
    actor: str | None = context.get_actor_id()
    if actor is None:
        # A task without an actor runs in the main thread.
        if threading.current_thread() is not threading.main_thread():
            return None
    elif not task.endswith(actor):
        return None
    return Task(_session_name(worker.global_worker, context), task, _attempt(worker.global_worker))


def session_name() -> str | None:
    """The session that this process is connected to."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return None
    return _session_name(ray._private.worker.global_worker, ray.get_runtime_context())


def _session_name(worker: Any, context: Any) -> str:
    ask = getattr(context, "get_session_name", None)
    return str(ask() if ask is not None else worker.node.session_name)


def _attempt(worker: Any) -> int:
    ask = getattr(worker.core_worker, "get_current_task_attempt_number", None)
    return int(ask()) if ask is not None else -1
