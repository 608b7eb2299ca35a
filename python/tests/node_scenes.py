"""What happens to nodes, each scene in a process of its own: `python node_scenes.py SCENE ARGUMENT…`.
Prints what `test_ray_node_loss.py` checks."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from ray_cluster import get
from ray_nodes import TUNED, Nodes, wait_for


def new_counter(path: str) -> Any:
    from ray_actors import Counter

    return Counter.options(**Nodes.SPOT).remote(path, "power")


def loss(url: str) -> None:
    """A node is lost with its actor, calls that are under way, and a large reply."""
    import ray

    with Nodes(**TUNED) as nodes:
        counter = new_counter(url)
        replies = [get(counter.add.remote(1)) for _ in range(5)]
        large = [counter.whole.remote() for _ in range(2)]
        ray.wait(large, num_returns=2, fetch_local=False)
        home = nodes.home(counter)
        waiting = [counter.slow.remote(1), counter.add.remote(1), counter.add.remote(1)]
        nodes.lose(home)
        replies += get(waiting, timeout=200)
        replies += [get(counter.add.remote(1)) for _ in range(2)]
        print("MOVED", nodes.home(counter) is not home)
        print("REPLIES", sorted(replies), get(counter.value.remote()))
        print("LARGE", [sorted(set(get(ref).tolist())) for ref in large], flush=True)
        print("ARRAY", int(get(counter.whole.remote())[0]))


def zombie(url: str, directory: str) -> None:
    """A node hangs in the middle of a call, is replaced, and goes on."""
    with Nodes(**TUNED) as nodes:
        counter = new_counter(url)
        replies = [get(counter.add.remote(1)) for _ in range(5)]
        pid = get(counter.pid.remote())
        home = nodes.home(counter)
        gate, log = Path(directory, "gate"), Path(directory, "outcome")
        began = Path(directory, "began")
        waiting = counter.gated_add.remote(1, str(began), str(gate), str(log))
        wait_for(began.exists, "the call")
        nodes.stop(home)
        replies.append(get(waiting, timeout=200))
        replies += [get(counter.add.remote(1)) for _ in range(5)]
        print("MOVED", nodes.home(counter) is not home)
        # First the actor, so that its node does not end it before it has tried to commit.
        gate.touch()
        nodes.resume(pid)
        wait_for(lambda: log.exists() and log.read_text().endswith("\n"), "the zombie's commit")
        print("ZOMBIE", log.read_text().strip())
        nodes.resume()
        replies.append(get(counter.add.remote(1)))
        print("REPLIES", replies, get(counter.value.remote()), flush=True)


def elsewhere(path: str) -> None:
    """An actor with a local path is restarted on another node, which does not have it."""
    import ray

    with Nodes(**TUNED) as nodes:
        counter = new_counter(path)
        print("REPLY", get(counter.add.remote(5)))
        nodes.lose(nodes.home(counter))
        # All nodes of this test share one disk.
        os.rename(path, f"{path} of the lost node")
        try:
            print("REPLY", get(counter.add.remote(1), timeout=200))
        except ray.exceptions.RayActorError as error:
            print("ERROR", str(error).replace("\n", " "))
        # A machine that has an older copy is no better than one that has none.
        shutil.copytree(f"{path} of an older run", path)
        try:
            print("REPLY", get(new_counter(path).add.remote(1), timeout=200))
        except ray.exceptions.RayActorError as error:
            print("ERROR", str(error).replace("\n", " "))


if __name__ == "__main__":
    scene, *arguments = sys.argv[1:]
    start = time.monotonic()
    {"loss": loss, "zombie": zombie, "elsewhere": elsewhere}[scene](*arguments)
    print(f"{scene}: {time.monotonic() - start:.0f} s", file=sys.stderr)
