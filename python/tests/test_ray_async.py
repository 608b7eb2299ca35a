"""Actors with async methods: their plain safe-state methods run once, too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install 'ray>=2.40'")

from ray_cluster import get, private_ray  # noqa: E402

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[str]:
    with private_ray() as directory:
        yield directory


def test_plain_methods_of_an_actor_with_async_methods_run_once(tmp_path: Path) -> None:
    from ray_actors import Async

    actor = Async.remote(str(tmp_path / "state"))
    replies = get([actor.add.remote(1) for _ in range(100)])
    assert sorted(replies) == list(range(1, 101))


def test_async_methods_that_take_turns_number_their_own_calls(tmp_path: Path) -> None:
    from ray_actors import Async

    actor = Async.remote(str(tmp_path / "state"))
    get([actor.add_thrice.remote() for _ in range(50)])
    assert get(actor.value.remote()) == 150


def test_an_async_method_that_is_retried_after_a_kill_adds_once(tmp_path: Path) -> None:
    from ray_actors import Async

    actor = Async.remote(str(tmp_path / "state"))
    marker = str(tmp_path / "killed")
    get([actor.add_thrice.remote(marker if n == 5 else None) for n in range(10)])
    assert (tmp_path / "killed").exists(), "or nothing was killed"
    assert get(actor.value.remote()) == 30


def test_calls_of_one_task_that_cannot_be_told_apart_are_an_error(tmp_path: Path) -> None:
    from ray_actors import Async

    actor = Async.remote(str(tmp_path / "state"))
    with pytest.raises(RuntimeError, match="give each call a call_id"):
        get(actor.add_at_once.remote())
    assert get(actor.value.remote()) == 1
    with pytest.raises(RuntimeError, match=r"pass child_call_id\(\) a label"):
        get(actor.child_without_label.remote())


def test_labelled_calls_to_another_actor_run_once_in_an_async_method(tmp_path: Path) -> None:
    from ray_actors import Async, Counter

    child = Counter.remote(str(tmp_path / "child"))
    actor = Async.remote(str(tmp_path / "state"), child)
    assert get(actor.call_children.remote(str(tmp_path / "killed"))) == [1, 2, 3]
    assert (tmp_path / "killed").exists(), "or nothing was killed"
    assert get(child.value.remote()) == 3
