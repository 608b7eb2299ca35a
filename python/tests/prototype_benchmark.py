"""The prototype's workload in the prototype's way of writing it: a generic abstract base class,
`safe_state` on a private method, one path per actor in a temporary directory, actors that end
themselves, and a cluster of a head and one node."""

from __future__ import annotations

import abc
import argparse
import os
import time
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any, Generic, TypeVar

import numpy as np
import ray
from ray.cluster_utils import Cluster

from persistent_actor import ActorState, safe_state

T = TypeVar("T")
LARGE = 10 * 1024 * 1024


class Member(abc.ABC, Generic[T]):
    def __init__(self, _path: str, can_die: bool = False) -> None:
        self.can_die = can_die

    def enable_die(self) -> None:
        self.can_die = True

    def die(self) -> None:
        if self.can_die:
            self.can_die = False
            os._exit(0)

    @abc.abstractmethod
    def get_data(self) -> T: ...

    @abc.abstractmethod
    def _process(self, arg: T) -> T: ...

    def process(self, delay_ms: float, arg: T) -> T:
        time.sleep(delay_ms / 1000)
        return self._process(arg)


@ray.remote(max_restarts=-1, max_task_retries=-1)
class Small(Member[int]):
    def __init__(self, path: str, can_die: bool = False) -> None:
        Member.__init__(self, path, can_die)
        self.state: ActorState = ActorState(path)
        self.counter: int = self.state.get("counter", 1)

    def get_data(self) -> int:
        return self.counter

    @safe_state("counter")
    def _process(self, arg: int) -> int:
        self.counter += arg
        return self.counter


@ray.remote(max_restarts=-1, max_task_retries=-1)
class Large(Member[np.ndarray]):
    def __init__(self, path: str, can_die: bool = False) -> None:
        Member.__init__(self, path, can_die)
        self.state: ActorState = ActorState(path)
        self.array: np.ndarray = self.state.get("array", np.ones(LARGE, dtype=np.uint8))

    def get_data(self) -> np.ndarray:
        return self.array

    @safe_state("array")
    def _process(self, arg: np.ndarray) -> np.ndarray:
        self.array += arg
        return self.array


def run(actors: list[Any], rounds: int, delay_ms: int) -> None:
    for turn in range(rounds):
        current = ray.get(actors[0 if turn % 2 else -1].get_data.remote())
        for actor in actors[1:] if turn % 2 == 0 else actors[-2::-1]:
            current = ray.get(actor.process.remote(delay_ms, current))


def kill(actors: list[Any], count: int) -> None:
    for number in range(count):
        actor = actors[(number + 1) * len(actors) // (count + 1)]
        ray.get(actor.enable_die.remote())
        ray.get(actor.die.remote())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay-ms", type=int, required=True)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--num-actors", type=int, default=20)
    parser.add_argument("--num-rounds", type=int, default=20)
    parser.add_argument("--num-actors-kill", type=int, default=3)
    args = parser.parse_args()
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 4, "include_dashboard": False}
    )
    cluster.add_node()
    ray.init(address=cluster.address, log_to_driver=False)
    with TemporaryDirectory() as directory:
        kind = Large if args.large else Small
        actors = [kind.remote(f"{directory}{os.path.sep}{n}") for n in range(args.num_actors)]
        ray.get([actor.enable_die.remote() for actor in actors])
        rounds = Thread(target=run, args=(actors, args.num_rounds, args.delay_ms))
        rounds.start()
        kill(actors, args.num_actors_kill)
        rounds.join()
        for actor in actors:
            data = ray.get(actor.get_data.remote())
            print("FINAL", *(np.unique(data) if args.large else [data]))
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()
