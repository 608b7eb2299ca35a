"""The same actors with the method of the prototype from which this project grew, written anew as
a baseline: attributes pickled in SQLite, written after the method and before the reply.

It survives the death of a process, not a power loss (`synchronous` is off). It knows nothing of
calls: one that is retried because its process died after the commit is applied twice.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from sqlitedict import SqliteDict

LARGE_BYTES = 10 * 1024 * 1024


class ActorState:
    """Attributes in a table of SQLite, pickled."""

    def __init__(self, path: str) -> None:
        # Its own default is `PRAGMA synchronous=OFF`.
        self._table = SqliteDict(path, journal_mode="DELETE")

    def get(self, attr: str, default: Any) -> Any:
        if attr not in self._table:
            self.update([(attr, default)])
        return self._table[attr]

    def update(self, pairs: Iterable[tuple[str, Any]]) -> None:
        self._table.update(pairs)
        self._table.commit(blocking=True)


def safe_state(*attributes: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Saves the attributes after the method has run."""

    def decorate(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
            reply = method(self, *args, **kwargs)
            self.state.update((name, getattr(self, name)) for name in attributes)
            return reply

        return wrapper

    return decorate


class Small:
    """Its state is an integer."""

    def __init__(self, path: str) -> None:
        self.state = ActorState(path)
        self.number: int = self.state.get("number", 1)

    def get_data(self) -> int:
        return self.number

    @safe_state("number")
    def process(self, delay_ms: int, arg: int) -> int:
        time.sleep(delay_ms / 1000)
        self.number += arg
        return self.number

    def pid(self) -> int:
        return os.getpid()


class Large:
    """Its state is an array of 10 MiB."""

    def __init__(self, path: str) -> None:
        self.state = ActorState(path)
        self.array: np.ndarray[Any, Any] = self.state.get("array", np.ones(LARGE_BYTES, np.uint8))

    def get_data(self) -> np.ndarray[Any, Any]:
        return self.array

    @safe_state("array")
    def process(self, delay_ms: int, arg: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        time.sleep(delay_ms / 1000)
        self.array += arg
        return self.array

    def pid(self) -> int:
        return os.getpid()
