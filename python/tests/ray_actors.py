"""The actors of the Ray tests."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import ray

from persistent_actor import ActorState, Fenced, child_call_id, current_call_id, safe_state
from persistent_actor._ray import current_task


def die() -> None:
    """Ends this process at once, as a crash does."""
    os.kill(os.getpid(), signal.SIGKILL)


def kill_once(marker: str | None) -> None:
    """Ends this process, but only the first that comes here with this marker."""
    if marker is None:
        return
    try:
        Path(marker).touch(exist_ok=False)
    except FileExistsError:
        return
    die()


class Killer:
    """Stands in for the native state and ends the process around commits."""

    def __init__(self, native: Any) -> None:
        self._native = native
        self.before: str | None = None
        self.after: str | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._native, name)

    def commit_call(self, *args: Any) -> None:
        kill_once(self.before)
        self._native.commit_call(*args)
        kill_once(self.after)


@ray.remote(max_restarts=-1, max_task_retries=-1)
class Counter:
    """An ordinary persistent actor, whose process can be ended around its commits."""

    def __init__(self, path: str, durability: str = "process") -> None:
        self.state = ActorState(path, durability=durability)
        self.counter: int = self.state.get("counter", 0)
        self.array = self.state.get("array", np.zeros(200_000, np.uint8))
        self.killer = Killer(self.state._native)
        self.state._native = self.killer  # type: ignore[assignment]

    @safe_state("counter")
    def increment(self, before: str | None = None, after: str | None = None) -> int:
        self.killer.before, self.killer.after = before, after
        self.counter += 1
        return self.counter

    @safe_state("counter")
    def add(self, by: int) -> int:
        self.counter += by
        return self.counter

    @safe_state("array")
    def whole(self, after: str | None = None) -> np.ndarray[Any, Any]:
        self.killer.after = after
        self.array += np.uint8(1)
        return self.array

    @safe_state("counter")
    def fail(self) -> None:
        self.counter += 1000
        raise ValueError("on purpose")

    @safe_state("counter")
    def slow(self, seconds: float) -> int:
        time.sleep(seconds)
        self.counter += 1
        return self.counter

    def two_in_one(self, after_second: str | None) -> tuple[int, int]:
        """A task that calls two safe-state methods."""
        first = self.add(1)
        self.killer.after = after_second
        return first, self.add(10)

    @safe_state("counter")
    def slow_add(self, log: str, seconds: float) -> int:
        with open(log, "a") as file:
            file.write("run\n")
        time.sleep(seconds)
        self.counter += 1
        return self.counter

    def noted_add(self, log: str, seconds: float) -> int:
        """Adds 1 in a call that takes so long. The file `log` tells of each attempt and run."""
        task = current_task()
        assert task is not None
        with open(log, "a") as file:
            file.write(f"attempt {task.attempt}\n")
        return self.slow_add(log, seconds)

    def gated_add(self, by: int, began: str, gate: str, log: str) -> int:
        """The first attempt adds when the file `gate` is there, and notes what came of it."""
        task = current_task()
        assert task is not None
        if task.attempt > 0:
            return self.add(by)
        Path(began).touch()
        while not Path(gate).exists():
            time.sleep(0.01)
        try:
            reply = self.add(by)
        except Fenced:
            Path(log).write_text("fenced\n")
            raise
        Path(log).write_text("committed\n")
        return reply

    def in_a_thread(self) -> list[str | None]:
        """The call id in a thread of the actor's own."""
        ids: list[str | None] = []
        thread = threading.Thread(target=lambda: ids.append(str(current_call_id())))
        thread.start()
        thread.join()
        return ids

    def value(self) -> int:
        return self.counter

    def pid(self) -> int:
        return os.getpid()

    def node(self) -> str:
        return str(ray.get_runtime_context().get_node_id())


@ray.remote(max_restarts=-1, max_task_retries=-1)
class Parent:
    """Calls another actor inside a call of its own, and dies before it has answered."""

    def __init__(self, path: str, child: Any) -> None:
        self.state = ActorState(path, durability="process")
        self.calls: int = self.state.get("calls", 0)
        self.child = child

    @safe_state("calls")
    def call_child(self, marker: str) -> int:
        reply: int = ray.get(self.child.add.remote(1, call_id=child_call_id()))
        kill_once(marker)
        self.calls += 1
        return reply


@ray.remote(max_restarts=-1, max_task_retries=-1)
class Member:
    """A member of the benchmark's chain, as Python users write it."""

    def __init__(self, path: str) -> None:
        self.state = ActorState(path, durability="process")
        self.counter: int = self.state.get("counter", 1)

    def get_data(self) -> int:
        return self.counter

    @safe_state("counter")
    def _process(self, arg: int) -> int:
        self.counter += arg
        return self.counter

    def process(self, delay_ms: float, arg: int) -> int:
        time.sleep(delay_ms / 1000)
        return self._process(arg)

    def pid(self) -> int:
        return os.getpid()


@ray.remote(max_restarts=-1, max_task_retries=-1)
class Existing:
    """Says itself whether its state must be there."""

    def __init__(self, path: str, require_existing: bool | None = None) -> None:
        self.state = ActorState(path, durability="process", require_existing=require_existing)
        self.counter: int = self.state.get("counter", 0)

    @safe_state("counter")
    def add(self, by: int) -> int:
        self.counter += by
        return self.counter

    def pid(self) -> int:
        return os.getpid()


@ray.remote(max_restarts=-1, max_task_retries=-1)
class Async:
    """An actor with async methods, which call plain safe-state methods."""

    def __init__(self, path: str, child: Any = None) -> None:
        self.state = ActorState(path, durability="process")
        self.counter: int = self.state.get("counter", 0)
        self.child = child

    @safe_state("counter")
    def add(self, by: int) -> int:
        self.counter += by
        return self.counter

    async def add_thrice(self, marker: str | None = None) -> int:
        for _ in range(2):
            self.add(1)
            # Others have their turn.
            await asyncio.sleep(0.001)
        kill_once(marker)
        return self.add(1)

    async def add_at_once(self) -> None:
        async def add() -> None:
            self.add(1)

        await asyncio.gather(add(), add())

    async def child_without_label(self) -> None:
        child_call_id()

    async def call_children(self, marker: str | None = None) -> list[int]:
        replies: list[int] = await asyncio.gather(
            *(self.child.add.remote(1, call_id=child_call_id(f"child {n}")) for n in range(3))
        )
        kill_once(marker)
        return sorted(replies)

    async def value(self) -> int:
        return self.counter
