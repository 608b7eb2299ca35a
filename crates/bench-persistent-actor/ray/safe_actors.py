"""The same actors with the package `persistent_actor`."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
from persistent_actor import ActorState, safe_state

LARGE_BYTES = 10 * 1024 * 1024


class Small:
    """Its state is an integer."""

    def __init__(self, path: str, durability: str) -> None:
        self.state = ActorState(path, durability=durability)
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

    def __init__(self, path: str, durability: str) -> None:
        self.state = ActorState(path, durability=durability)
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
