"""The lines between the benchmark and this driver: one JSON object each.

The benchmark writes one line, the run that is wanted, and keeps the pipe open: its end means that
this driver is to stop. What the driver writes is in `Channel` and in `rounds.Log`. Integers are
decimal texts, since they have no limit; times are nanoseconds of CLOCK_MONOTONIC.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any

LIMIT = 64 * 1024 * 1024
"""The longest line that is read. Bytes."""


class Channel:
    """The benchmark's end of the pipes. Everything else that is printed goes to standard error."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        self._in = os.fdopen(os.dup(0), "rb")
        self._lock = threading.Lock()
        # What Ray or an actor prints is no line of ours, and nobody else may read ours.
        os.dup2(2, 1)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)

    def send(self, kind: str, **fields: Any) -> None:
        line = json.dumps({"type": kind, **fields}, separators=(",", ":"))
        with self._lock:
            self._out.write(line + "\n")
            self._out.flush()

    def fail(self, reason: str, message: str) -> None:
        self.send("error", reason=reason, message=message)

    def receive(self) -> dict[str, Any]:
        """The run that is wanted."""
        line = self._in.readline(LIMIT)
        if not line.endswith(b"\n"):
            sys.exit("expected the description of a run on standard input")
        run: dict[str, Any] = json.loads(line)
        return run

    def wait_for_end(self) -> None:
        """Comes back when the benchmark wants this driver to stop, or is gone."""
        while self._in.read(4096):
            pass
