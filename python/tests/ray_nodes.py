"""A private Ray cluster of a head and two more nodes, of which one can be lost or stopped. Only for
a process of its own: it sets environment variables that Ray's processes inherit."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from ray_cluster import HERE, cluster_token, get

TUNED = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}
"""The head's checks of its nodes; see `docs/ray.md`."""


def wait_for(event: Callable[[], Any], what: str, timeout: float = 120) -> None:
    """Returns when `event()` is true."""
    deadline = time.monotonic() + timeout
    while not event():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {timeout} s")
        time.sleep(0.01)


class Nodes:
    """Actors with the resource `spot` live on one of the two nodes beside the head."""

    SPOT: dict[str, Any] = {"resources": {"spot": 1}}

    def __init__(self, **env: str) -> None:
        os.environ.update(env)
        self.directory = tempfile.mkdtemp(prefix="ray", dir="/tmp")
        cluster_token(self.directory)
        os.environ["RAY_TMPDIR"] = self.directory
        os.mkdir(f"{self.directory}/ray")
        import ray
        from ray.cluster_utils import Cluster

        self.cluster = Cluster()
        self.stopped: list[int] = []
        self.cluster.add_node(num_cpus=1, include_dashboard=False)
        # Before there are other nodes: this process belongs to the head.
        ray.init(
            address=self.cluster.address,
            log_to_driver=False,
            runtime_env={"env_vars": {"PYTHONPATH": HERE}},
        )
        self.nodes: list[Any] = []
        for _ in range(2):
            self.add()

    def __enter__(self) -> Nodes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        import ray

        self.resume()
        ray.shutdown()
        self.cluster.shutdown()
        shutil.rmtree(self.directory, ignore_errors=True)

    def add(self) -> None:
        """One more node."""
        self.nodes.append(self.cluster.add_node(num_cpus=1, **self.SPOT))

    def home(self, actor: Any) -> Any:
        """The node that an actor lives on."""
        import ray

        home = get(actor.node.remote())
        # The nodes share one address, so only the socket tells them apart.
        (socket,) = [node["RayletSocketName"] for node in ray.nodes() if node["NodeID"] == home]
        (found,) = [node for node in self.nodes if node.raylet_socket_name == socket]
        return found

    def lose(self, node: Any) -> None:
        """Ends all processes of a node at once, as the end of a machine does."""
        everything = processes(node)
        for pid in everything:
            os.kill(pid, signal.SIGSTOP)
        for pid in everything:
            os.kill(pid, signal.SIGKILL)
        self.cluster.remove_node(node, allow_graceful=False)
        self.nodes.remove(node)

    def stop(self, node: Any) -> None:
        """Stops all processes of a node, as if its machine hung."""
        self.stopped = processes(node)
        for pid in self.stopped:
            os.kill(pid, signal.SIGSTOP)

    def resume(self, *pids: int) -> None:
        """Lets these stopped processes go on; without any, all."""
        for pid in pids or tuple(self.stopped):
            if pid in self.stopped:
                self.stopped.remove(pid)
                os.kill(pid, signal.SIGCONT)


def processes(node: Any) -> list[int]:
    """A node's raylet and all that descends from it: workers and agents."""
    listing = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True)
    children: dict[int, list[int]] = {}
    for line in listing.stdout.splitlines():
        pid, parent = map(int, line.split())
        children.setdefault(parent, []).append(pid)
    found = [info.process.pid for infos in node.all_processes.values() for info in infos]
    for pid in found:
        found.extend(child for child in children.get(pid, []) if child not in found)
    return found
