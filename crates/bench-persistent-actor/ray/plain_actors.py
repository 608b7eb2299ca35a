"""Ray's own actors, as Python users write them: a killed one starts again from 1."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

LARGE_BYTES = 10 * 1024 * 1024


class Small:
    """Its state is an integer."""

    def __init__(self) -> None:
        self.number = 1

    def get_data(self) -> int:
        return self.number

    def process(self, delay_ms: int, arg: int) -> int:
        time.sleep(delay_ms / 1000)
        self.number += arg
        return self.number

    def pid(self) -> int:
        return os.getpid()


class Large:
    """Its state is an array of 10 MiB."""

    def __init__(self) -> None:
        self.array = np.ones(LARGE_BYTES, np.uint8)

    def get_data(self) -> np.ndarray[Any, Any]:
        return self.array

    def process(self, delay_ms: int, arg: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        time.sleep(delay_ms / 1000)
        self.array += arg
        return self.array

    def pid(self) -> int:
        return os.getpid()
