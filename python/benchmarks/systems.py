"""The actors that `call_cost.py` compares. All have the same methods; they differ in what they do
with the state after a call and before the reply."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import ray
from sqlitedict import SqliteDict

from persistent_actor import ActorState, safe_state

LARGE = 10 * 1024 * 1024
RETRIED = {"max_restarts": -1, "max_task_retries": -1}


class Plain:
    """Ray alone: state in memory."""

    def __init__(self, path: str, **options: Any) -> None:
        self.open(path, **options)
        self.counter: int = self.load("counter", 0)
        self.array = self.load("array", np.zeros(LARGE, np.uint8))

    def open(self, path: str) -> None: ...

    def load(self, name: str, default: Any) -> Any:
        return default

    def small(self) -> int:
        self.counter += 1
        return self.counter

    def large(self, by: int) -> int:
        self.array += np.uint8(by)
        return int(self.array[0])

    def large_array(self, by: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        self.array += by
        return self.array


class Synced(Plain):
    """Ray and the least that could make a call durable: 64 bytes written to a file that is long
    enough, and one `fdatasync`. What the array has become is not written."""

    def open(self, path: str) -> None:
        self.file = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        os.pwrite(self.file, bytes(1 << 20), 0)
        os.fsync(self.file)
        self.place = 0

    def sync(self) -> None:
        os.pwrite(self.file, self.counter.to_bytes(64, "little"), self.place % (1 << 20))
        self.place += 64
        os.fdatasync(self.file)

    def small(self) -> int:
        self.counter += 1
        self.sync()
        return self.counter


class Prototype(Plain):
    """The prototype's method: the pickled attribute in SQLite (`journal_mode=DELETE`,
    `synchronous=OFF`) after each call. A call that is retried is applied again."""

    def open(self, path: str) -> None:
        self.db = SqliteDict(path)

    def load(self, name: str, default: Any) -> Any:
        if name not in self.db:
            self.save(name, default)
        return self.db[name]

    def save(self, name: str, value: Any) -> None:
        self.db[name] = value
        self.db.commit()

    def small(self) -> int:
        reply = super().small()
        self.save("counter", self.counter)
        return reply

    def large(self, by: int) -> int:
        reply = super().large(by)
        self.save("array", self.array)
        return reply

    def large_array(self, by: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        reply = super().large_array(by)
        self.save("array", self.array)
        return reply


class Safe(Plain):
    """This package."""

    def open(self, path: str, **options: Any) -> None:
        self.state = ActorState(path, **options)

    def load(self, name: str, default: Any) -> Any:
        return self.state.get(name, default)

    @safe_state("counter")
    def small(self) -> int:
        return Plain.small(self)

    @safe_state("array")
    def large(self, by: int) -> int:
        return Plain.large(self, by)

    @safe_state("array")
    def large_array(self, by: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return Plain.large_array(self, by)


def start(directory: Path) -> dict[str, Any]:
    """One actor of each system."""

    def new(kind: type[Plain], name: str, **options: Any) -> Any:
        return ray.remote(**RETRIED)(kind).remote(str(directory / name), **options)

    return {
        "ray": new(Plain, "plain"),
        "ray + fdatasync": new(Synced, "synced"),
        "prototype": new(Prototype, "prototype"),
        "process": new(Safe, "process", durability="process"),
        "power": new(Safe, "power", durability="power"),
    }
