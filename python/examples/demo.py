"""Three actors, one after the other, count on in one file, as long as it is there."""

from tempfile import NamedTemporaryFile

import ray
from persistent_actor import ActorState, safe_state


@ray.remote(max_restarts=-1, max_task_retries=-1)
class Counter:
    def __init__(self, path: str) -> None:
        self._memory = ActorState(path)
        self.counter: int = self.state.get("counter", 0)

    @property
    def state(self) -> ActorState:
        return self._memory

    @safe_state("counter")
    def increment(self) -> int:
        self.counter += 1
        return self.counter


def main() -> None:
    ray.init()
    with NamedTemporaryFile(mode="w+b") as file:
        for _ in range(3):
            counter = Counter.remote(file.name)
            print(ray.get(counter.increment.remote()))
    ray.shutdown()


if __name__ == "__main__":
    main()
