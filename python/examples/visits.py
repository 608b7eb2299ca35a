import sys

import ray
from persistent_actor import ActorState, safe_state


@ray.remote(max_restarts=-1, max_task_retries=-1)
class Visits:
    def __init__(self, path):
        self.state = ActorState(path)
        self.count = self.state.get("count", 0)

    @safe_state("count")
    def hit(self):
        self.count += 1
        return self.count


ray.init(address=sys.argv[2] if len(sys.argv) > 2 else "local")
visits = Visits.remote(sys.argv[1])
print([ray.get(visits.hit.remote()) for _ in range(3)])
ray.kill(visits, no_restart=False)  # the process dies; Ray starts it anew
print(ray.get(visits.hit.remote()))
