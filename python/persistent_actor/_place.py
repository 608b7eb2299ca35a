"""Where in a Ray cluster a local state was opened. Another node does not have it, and an actor that
Ray restarts there must not begin anew in silence.

The cluster's key-value store (GCS) keeps, for each local path, the node and the actor that opened
it last. It lasts as long as the cluster.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, NamedTuple

_NAMESPACE = b"persistent_actor"


class Opening(NamedTuple):
    """That a state was opened, as the cluster's store keeps it."""

    node: str
    """A node's id, hexadecimal."""
    address: str
    actor: str | None
    """An actor's id, if an actor opened it."""
    epoch: int
    """Under which epoch; 0 if it was about to be opened."""
    state: str | None
    """The state's own id; `None` if it was about to be opened."""

    def is_another(self, state: str | None, epoch: int) -> bool:
        """Whether a state that was opened after this one is not its continuation."""
        return epoch <= self.epoch or (self.state is not None and state != self.state)


class Place(NamedTuple):
    """A local path, as this process sees it."""

    path: str
    node: str
    address: str
    actor: str | None

    def last_opening(self) -> Opening | None:
        """How the path was opened last, on any node."""
        stored = _store()._internal_kv_get(os.fsencode(self.path), namespace=_NAMESPACE)
        return None if stored is None else Opening(*json.loads(stored))

    def note(self, epoch: int = 0, state: str | None = None) -> None:
        """Notes that the state was opened here, or is about to be."""
        opening = Opening(self.node, self.address, self.actor, epoch, state)
        stored = json.dumps(opening).encode()
        _store()._internal_kv_put(os.fsencode(self.path), stored, namespace=_NAMESPACE)

    def why_it_must_exist(self, last: Opening) -> str | None:
        """Why the state cannot be a new one; `None` if it may be."""
        if last.node != self.node:
            return (
                f"it was last opened on another node ({last.address}, node id {last.node}; this "
                f"one is {self.address}, node id {self.node}), and a local path is not carried "
                "along: keep the state in Redis or on a file system that all nodes share, or pass "
                "require_existing=False to begin anew"
            )
        if self.actor is not None and last.actor == self.actor and last.epoch > 0:
            return (
                "this actor had it open before it was restarted, so it was removed since; pass "
                "require_existing=False to begin anew"
            )
        return None


def _store() -> Any:
    from ray.experimental import internal_kv

    return internal_kv


def of(path: str) -> Place | None:
    """The place of `path`; `None` outside Ray and for what is not local."""
    ray = sys.modules.get("ray")
    if ray is None or "://" in path:
        return None
    worker = ray._private.worker.global_worker
    if worker.node is None:
        return None
    actor = worker.actor_id
    return Place(
        os.path.abspath(path),
        worker.current_node_id.hex(),
        str(worker.node.node_ip_address),
        None if actor.is_nil() else actor.hex(),
    )


def holds_something(path: str) -> bool:
    """Whether there may be a state at `path`."""
    try:
        return bool(os.listdir(path))
    except NotADirectoryError:
        return os.path.getsize(path) > 0
    except FileNotFoundError:
        return False
