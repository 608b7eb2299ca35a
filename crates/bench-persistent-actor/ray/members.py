"""The actors of a run, as the rounds see them."""

from __future__ import annotations

import importlib
import os
import signal
import threading
import time
from typing import Any

import numpy as np
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

MODULES = {"default": "plain_actors", "safe_actor": "safe_actors", "prototype": "prototype_actors"}


class Member:
    """One actor and what is known of its process."""

    def __init__(self, number: int, handle: Any, large: bool) -> None:
        self.number = number
        self.handle = handle
        self.large = large
        self.pid = 0
        self.restarts = 0
        self.killing = threading.Lock()
        """Held from a kill until the next process is known."""

    def process(self, delay_ms: int, argument: Any) -> Any:
        return self.handle.process.remote(delay_ms, argument)

    def get_data(self) -> Any:
        return ray.get(self.handle.get_data.remote())

    def ask_pid(self) -> int:
        return int(ray.get(self.handle.pid.remote()))

    def text(self, value: Any) -> str:
        """What a value amounts to, at a glance: of an array the first byte."""
        return str(int(value[0]) if self.large else value)

    def argument(self, number: int) -> Any:
        """The value that amounts to this number."""
        return np.full(self.length, number, np.uint8) if self.large else number

    @property
    def length(self) -> int:
        import plain_actors

        return plain_actors.LARGE_BYTES

    def examine(self) -> str | None:
        """What the state amounts to, all of it looked at; None for an array of mixed bytes, of
        another length or type."""
        value = self.get_data()
        if not self.large:
            return self.text(value)
        whole = value.dtype == np.uint8 and value.shape == (self.length,)
        return self.text(value) if whole and bool((value == value[0]).all()) else None


def start(run: dict[str, Any]) -> list[Member]:
    """Starts all actors and waits until each answers."""
    make = remote_class(run)
    members = []
    for number in range(run["num_actors"]):
        handle = make.remote(*constructor_arguments(run, number))
        members.append(Member(number, handle, run["large"]))
    pids = ray.get([member.handle.pid.remote() for member in members])
    for member, pid in zip(members, pids, strict=True):
        member.pid = pid
    return members


def remote_class(run: dict[str, Any]) -> Any:
    module = importlib.import_module(MODULES[run["system"]])
    # The workers cannot import it: it lies beside this driver alone.
    ray.cloudpickle.register_pickle_by_value(module)  # type: ignore[no-untyped-call]
    cls = module.Large if run["large"] else module.Small
    if any(kill["part"] is None for kill in run["kills"]):
        cls = that_can_die(cls)
    options: dict[str, Any] = {"max_restarts": -1, "max_task_retries": -1}
    if run["address"] is not None:
        # States are files, and kills are signals: all of it happens on this machine.
        here = ray.get_runtime_context().get_node_id()
        options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(here, soft=False)
    return ray.remote(**options)(cls)


def constructor_arguments(run: dict[str, Any], number: int) -> list[str]:
    path = os.path.join(run["state_dir"], f"actor-{number}")
    if run["system"] == "safe_actor":
        return [path, run["durability"]]
    return [path + ".sqlite"] if run["system"] == "prototype" else []


def that_can_die(cls: Any) -> Any:
    """The same actor, which can be told to die between its next commit and the reply."""

    class Dying(cls):  # type: ignore[misc]
        _note: str | None = None

        def arm(self, note: str) -> None:
            # In memory alone: the process after this one does not die again.
            self._note = note

        def process(self, delay_ms: int, arg: Any) -> Any:
            reply = super().process(delay_ms, arg)
            if self._note is not None:
                with open(self._note, "w") as note:
                    note.write(str(time.monotonic_ns()))
                os.kill(os.getpid(), signal.SIGKILL)
            return reply

    return Dying
