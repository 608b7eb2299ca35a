#!/usr/bin/env python3
"""How long an actor does not answer when its node is lost: Ray's own failover beside that of an
actor whose state is in Redis.

    target/python-env/bin/python python/benchmarks/node_loss.py            # Ray's default checks
    target/python-env/bin/python python/benchmarks/node_loss.py --tuned    # as docs/ray.md tunes them

Starts a cluster of a head and two nodes with one actor on one of them, ends all processes of this
node, and measures the time to the next reply; then another node takes its place. Both kinds of
actors take turns. Needs `redis-server`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from ray_cluster import get  # noqa: E402
from ray_nodes import TUNED, Nodes  # noqa: E402
from redis_server import RedisServer  # noqa: E402


class Plain:
    """Ray alone: its counter is lost with the node."""

    def __init__(self) -> None:
        self.counter = 0

    def add(self, by: int) -> int:
        self.counter += by
        return self.counter

    def node(self) -> str:
        import ray

        return str(ray.get_runtime_context().get_node_id())


def new_actor(kind: str, url: str) -> Any:
    import ray
    from ray_actors import Counter

    if kind == "safe":
        return Counter.options(**Nodes.SPOT).remote(url, "power")
    remote = ray.remote(max_restarts=-1, max_task_retries=-1)(Plain)
    return remote.options(**Nodes.SPOT).remote()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tuned", action="store_true", help="with faster health checks")
    parser.add_argument("--turns", type=int, default=5, help="lost nodes for each kind (5)")
    args = parser.parse_args()
    settings = TUNED if args.tuned else {}
    print("settings:", " ".join(f"{name}={value}" for name, value in settings.items()) or "default")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory, Nodes(**settings) as nodes:
        import ray

        server = RedisServer(Path(directory))
        times: dict[str, list[float]] = {"ray": [], "safe": []}
        for turn in range(args.turns):
            for kind, found in times.items():
                actor = new_actor(kind, server.url(f"{kind}-{turn}"))
                assert get(actor.add.remote(1)) == 1
                lost = nodes.home(actor)
                start = time.perf_counter()
                nodes.lose(lost)
                reply = get(actor.add.remote(1), timeout=200)
                found.append(time.perf_counter() - start)
                assert reply == (2 if kind == "safe" else 1), f"{kind}: {reply}"
                ray.kill(actor)
                nodes.add()
        server.kill()
        for kind, found in times.items():
            shown = " ".join(f"{seconds:.2f}" for seconds in found)
            print(f"{kind:<5} lost node to next reply: median {statistics.median(found):.2f} s ({shown})")
        added = statistics.median(times["safe"]) - statistics.median(times["ray"])
        print(f"added by safe state: {added:+.2f} s", flush=True)


if __name__ == "__main__":
    main()
