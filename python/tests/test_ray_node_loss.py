"""A whole node is lost with its actor; the state is in Redis."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install 'ray>=2.40'")

from redis_server import RedisServer, is_installed  # noqa: E402

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(not is_installed(), reason="redis-server is not installed"),
]

# A process of its own, because it starts a cluster of several nodes. `spot` is a resource that
# the head does not have: so the actor lives on one of the two other nodes.
DRIVER = """
import contextlib, os, shutil, signal, sys, tempfile
from ray_cluster import HERE, cluster_token, get

directory = tempfile.mkdtemp(prefix="ray", dir="/tmp")
cluster_token(directory)
os.environ["RAY_TMPDIR"] = directory
os.mkdir(f"{directory}/ray")
import ray
from ray.cluster_utils import Cluster

cluster = Cluster()
try:
    cluster.add_node(num_cpus=1, include_dashboard=False)
    # Before there are other nodes: this process belongs to the head.
    ray.init(address=cluster.address, log_to_driver=False,
             runtime_env={"env_vars": {"PYTHONPATH": HERE}})
    spot = {"num_cpus": 1, "resources": {"spot": 1}}
    nodes = [cluster.add_node(**spot) for _ in range(2)]
    from ray_actors import Counter

    counter = Counter.options(resources={"spot": 1}).remote(sys.argv[1], "power")
    replies = [get(counter.add.remote(1)) for _ in range(5)]
    home = get(counter.node.remote())
    # The nodes share one address, so only the socket tells them apart.
    (socket,) = [node["RayletSocketName"] for node in ray.nodes() if node["NodeID"] == home]
    (lost,) = [node for node in nodes if node.raylet_socket_name == socket]
    pid = get(counter.pid.remote())
    waiting = [counter.slow.remote(1), counter.add.remote(1), counter.add.remote(1)]
    # A lost machine takes everything with it; this one's processes are ended one by one.
    cluster.remove_node(lost, allow_graceful=False)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    replies += get(waiting, timeout=200)
    replies += [get(counter.add.remote(1)) for _ in range(2)]
    print("MOVED", home != get(counter.node.remote()), flush=True)
    print("REPLIES", sorted(replies), get(counter.value.remote()), flush=True)
finally:
    ray.shutdown()
    cluster.shutdown()
    shutil.rmtree(directory, ignore_errors=True)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    yield server
    server.kill()


def test_when_a_node_is_lost_with_its_actor_nothing_is_lost_or_doubled(server: RedisServer) -> None:
    driver = subprocess.run(
        [sys.executable, "-c", DRIVER, server.url("node-loss")],
        cwd=os.path.dirname(__file__),
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert driver.returncode == 0, driver.stderr
    assert "MOVED True\n" in driver.stdout, driver.stdout
    assert f"REPLIES {list(range(1, 11))} 10\n" in driver.stdout, driver.stdout
