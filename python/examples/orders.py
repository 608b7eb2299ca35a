"""Two persistent actors, of which one calls the other, and a caller that asks what became of its
calls. Each order is shipped once, whatever dies meanwhile.

    python orders.py DIRECTORY
"""

import os
import sys

import ray
from persistent_actor import ActorState, call_id_of, child_call_id, safe_state


@ray.remote(max_restarts=-1, max_task_retries=-1)
class Warehouse:
    def __init__(self, path: str) -> None:
        self.state = ActorState(path)
        self.stock: dict[str, int] = self.state.get("stock", {"apple": 10, "pear": 10})

    @safe_state("stock")
    def ship(self, item: str) -> int:
        self.stock[item] -= 1
        return self.stock[item]


@ray.remote(max_restarts=-1, max_task_retries=-1)
class Shop:
    def __init__(self, path: str, warehouse: object) -> None:
        self.state = ActorState(path)
        self.orders: list[str] = self.state.get("orders", [])
        self.warehouse = warehouse

    @safe_state("orders")
    def order(self, item: str, dies: bool = False) -> str:
        # The warehouse recognises this call when the shop is restarted and makes it again.
        left = ray.get(self.warehouse.ship.remote(item, call_id=child_call_id()))
        if dies and not os.path.exists(f"{self.state.path}/../died"):
            open(f"{self.state.path}/../died", "w").close()
            os.abort()
        self.orders.append(item)
        return f"{item} is order {len(self.orders)}, {left} left"

    def outcome(self, call_id: str) -> tuple[str, object]:
        return self.state.outcome(call_id)


ray.init(address="local")
directory = sys.argv[1]
warehouse = Warehouse.remote(f"{directory}/warehouse")
shop = Shop.remote(f"{directory}/shop", warehouse)

ref = shop.order.remote("apple", dies=True)  # the shop's process ends in the middle of it
print(ray.get(ref))
print(ray.get(shop.outcome.remote(call_id_of(ref))))

# An id of our own, kept in a database for example, works across tasks and programs.
print(ray.get(shop.order.remote("pear", call_id="order-17")))
print(ray.get(shop.order.remote("pear", call_id="order-17")))
print(ray.get(shop.outcome.remote("order-17")))
print(ray.get(shop.outcome.remote("order-18")))
