"""Exactly once for ordinary calls on a real Ray, with real kills."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install 'ray>=2.40'")

from ray_cluster import get, private_ray  # noqa: E402
from redis_server import RedisServer, is_installed  # noqa: E402

import ray  # noqa: E402
from persistent_actor import Fenced, call_id_of  # noqa: E402
from ray.exceptions import RayActorError  # noqa: E402

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[str]:
    with private_ray() as directory:
        yield directory


def new_counter(path: object, **options: Any) -> Any:
    from ray_actors import Counter

    return Counter.options(**options).remote(str(path))


def test_the_demo_three_new_actors_on_one_file_count_to_three() -> None:
    with NamedTemporaryFile() as file:
        assert [get(new_counter(file.name).increment.remote()) for _ in range(3)] == [1, 2, 3]


def test_killed_between_commit_and_reply_ten_times_counts_ten(tmp_path: Path) -> None:
    counter = new_counter(tmp_path / "state")
    replies = [
        get(counter.increment.remote(after=str(tmp_path / f"killed-{n}"))) for n in range(10)
    ]
    assert len(list(tmp_path.glob("killed-*"))) == 10, "or nothing was killed"
    assert replies == list(range(1, 11))
    assert get(counter.value.remote()) == 10


def test_killed_before_the_commit_ten_times_counts_ten(tmp_path: Path) -> None:
    counter = new_counter(tmp_path / "state")
    replies = [
        get(counter.increment.remote(before=str(tmp_path / f"killed-{n}"))) for n in range(10)
    ]
    assert len(list(tmp_path.glob("killed-*"))) == 10, "or nothing was killed"
    assert replies == list(range(1, 11))


def test_a_large_reply_is_answered_from_the_ledger(tmp_path: Path) -> None:
    counter = new_counter(tmp_path / "state")
    for n in range(3):
        reply = get(counter.whole.remote(after=str(tmp_path / f"killed-{n}")))
        assert (reply == n + 1).all()


def test_two_safe_methods_in_one_task_run_once_each(tmp_path: Path) -> None:
    counter = new_counter(tmp_path / "state")
    assert get(counter.two_in_one.remote(str(tmp_path / "killed"))) == (1, 11)
    assert (tmp_path / "killed").exists()
    assert get(counter.value.remote()) == 11
    assert get(counter.two_in_one.remote(None)) == (12, 22), "the next task is another call"


def test_a_call_inside_a_retried_call_runs_once(tmp_path: Path) -> None:
    from ray_actors import Parent

    child = new_counter(tmp_path / "child")
    parent = Parent.remote(str(tmp_path / "parent"), child)
    assert get(parent.call_child.remote(str(tmp_path / "killed"))) == 1
    assert (tmp_path / "killed").exists()
    assert get(child.value.remote()) == 1
    assert get(parent.call_child.remote(str(tmp_path / "killed"))) == 2


def test_an_explicit_call_id_is_one_call_across_tasks(tmp_path: Path) -> None:
    counter = new_counter(tmp_path / "state")
    assert [get(counter.add.remote(5, call_id="order-17")) for _ in range(3)] == [5, 5, 5]
    assert get(counter.value.remote()) == 5


def test_an_exception_saves_nothing(tmp_path: Path) -> None:
    counter = new_counter(tmp_path / "state")
    get(counter.add.remote(5))
    with pytest.raises(ValueError, match="on purpose"):
        get(counter.fail.remote())
    assert get(counter.value.remote()) == 5
    assert get(counter.add.remote(1)) == 6


def test_the_outcome_of_a_call_can_be_asked_by_its_reference(tmp_path: Path) -> None:
    from persistent_actor import ActorState

    counter = new_counter(tmp_path / "state")
    ref = counter.add.remote(5)
    get(ref)
    ray.kill(counter)
    state = ActorState(tmp_path / "state")
    assert state.outcome(call_id_of(ref)) == ("committed", 5)


def test_a_thread_of_the_actors_own_has_no_call_id(tmp_path: Path) -> None:
    assert get(new_counter(tmp_path / "state").in_a_thread.remote()) == ["None"]


def test_a_threaded_actor_loses_and_doubles_nothing(tmp_path: Path) -> None:
    counter = new_counter(tmp_path / "state", max_concurrency=4)
    replies = get([counter.add.remote(1) for _ in range(200)])
    assert sorted(replies) == list(range(1, 201))


def test_a_thousand_pipelined_calls_with_kills_run_once_each(tmp_path: Path) -> None:
    seed = int(os.environ.get("SEED", random.randrange(2**32)))
    print(f"SEED={seed}")
    chance = random.Random(seed)
    counter = new_counter(tmp_path / "state")
    get(counter.value.remote())
    refs = []
    for n in range(1000):
        kill = chance.random() < 0.006
        when = chance.choice(["before", "after"])
        refs.append(counter.increment.remote(**{when: str(tmp_path / f"k-{n}")} if kill else {}))
    replies = get(refs, timeout=300)
    assert list(tmp_path.glob("k-*")), "or nothing was killed"
    assert sorted(replies) == list(range(1, 1001)), "each call has run once, each reply its own"
    assert get(counter.value.remote()) == 1000


def test_a_zombie_that_goes_on_after_a_failover_changes_nothing(tmp_path: Path) -> None:
    zombie = new_counter(tmp_path / "state")
    get([zombie.add.remote(1) for _ in range(5)])
    pid = get(zombie.pid.remote())
    os.kill(pid, signal.SIGSTOP)
    try:
        waiting = zombie.add.remote(100)
        successor = new_counter(tmp_path / "state")
        assert get([successor.add.remote(1) for _ in range(5)])[-1] == 10
    finally:
        os.kill(pid, signal.SIGCONT)
    with pytest.raises(Fenced):
        get(waiting)
    assert get(successor.add.remote(1)) == 11


def test_an_actor_that_is_killed_by_ray_goes_on_where_it_was(tmp_path: Path) -> None:
    counter = new_counter(tmp_path / "state")
    for n in range(3):
        assert get(counter.add.remote(1)) == n + 1
        ray.kill(counter, no_restart=False)


def test_the_benchmarks_chain_ends_in_the_golden_states_while_actors_are_killed(
    tmp_path: Path,
) -> None:
    from ray_actors import Member

    chance = random.Random(7)
    members = [Member.remote(str(tmp_path / str(n))) for n in range(7)]
    for turn in range(5):
        order = members[1:] if turn % 2 == 0 else members[-2::-1]
        current = get(members[-1 if turn % 2 == 0 else 0].get_data.remote())
        for member in order:
            reply = member.process.remote(5, current)
            if chance.random() < 0.15:
                ray.kill(member, no_restart=False)
            current = get(reply)
    states = [get(member.get_data.remote()) for member in members]
    assert states == [339, 406, 695, 937, 1116, 1220, 1309]


def test_async_methods_are_refused_where_they_are_written() -> None:
    from persistent_actor import safe_state

    with pytest.raises(TypeError, match="async method"):

        @ray.remote
        class Wrong:
            @safe_state("counter")
            async def increment(self) -> None: ...


def remove_and_kill(actor: Any, path: Path) -> None:
    """Removes the state and ends the process, without a moment in which it could still answer."""
    pid = get(actor.pid.remote())
    os.kill(pid, signal.SIGSTOP)
    shutil.rmtree(path)
    os.kill(pid, signal.SIGKILL)


def test_an_actor_whose_state_was_removed_is_not_restarted_anew_in_silence(tmp_path: Path) -> None:
    from ray_actors import Existing

    actor = Existing.remote(str(tmp_path / "state"))
    assert get(actor.add.remote(5)) == 5
    remove_and_kill(actor, tmp_path / "state")
    with pytest.raises(RayActorError, match="removed since.*require_existing=False"):
        get(actor.add.remote(5))
    assert not (tmp_path / "state").exists(), "nothing was made"
    assert get(Existing.remote(str(tmp_path / "state")).add.remote(5)) == 5, "a new actor may"


def test_an_actor_may_ask_for_a_new_state_after_a_restart(tmp_path: Path) -> None:
    from ray_actors import Existing

    actor = Existing.remote(str(tmp_path / "state"), False)
    assert get(actor.add.remote(5)) == 5
    remove_and_kill(actor, tmp_path / "state")
    assert get(actor.add.remote(5)) == 5


@pytest.mark.skipif(not is_installed(), reason="redis-server is not installed")
def test_redis_killed_and_restarted_under_the_load_of_an_actor_loses_nothing(
    tmp_path: Path,
) -> None:
    seed = int(os.environ.get("SEED", random.randrange(2**32)))
    print(f"SEED={seed}")
    chance = random.Random(seed)
    server = RedisServer(tmp_path)
    try:
        counter = new_counter(server.url("x"), max_concurrency=4)
        get(counter.value.remote())
        refs = [counter.add.remote(1) for _ in range(1000)]
        for answered in sorted(chance.sample(range(1, 900), 4)):
            ray.wait(refs, num_returns=answered, timeout=120)
            server.kill()
            server.start()
        assert sorted(get(refs)) == list(range(1, 1001))
        assert get(counter.value.remote()) == 1000
    finally:
        server.kill()
