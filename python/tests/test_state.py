"""`ActorState`: the prototype's conventions, and who may write."""

from __future__ import annotations

import os
import pickle
import stat
import threading
from pathlib import Path

import numpy as np
import pytest

from persistent_actor import (
    ActorState,
    DamagedError,
    Fenced,
    NotAStateError,
    NotFoundError,
    OpenError,
    PersistentActorError,
    Poisoned,
    StoreError,
)


def test_a_default_is_required_stored_and_committed(path: str) -> None:
    state = ActorState(path)
    with pytest.raises(TypeError):
        state.get("counter")  # type: ignore[call-arg]
    assert state.get("counter", 5) == 5
    assert ActorState(path).get("counter", 7) == 5


def test_get_gives_a_new_object_each_time(path: str) -> None:
    state = ActorState(path)
    default = [1]
    first = state.get("list", default)
    first.append(2)
    default.append(3)
    assert state.get("list", None) == [1]
    array = state.get("array", np.zeros(100_000, np.uint8))
    array[0] = 1
    assert state.get("array", None)[0] == 0


def test_a_stored_none_is_not_absent(path: str) -> None:
    state = ActorState(path)
    state.update([("nothing", None)])
    assert state.get("nothing", 1) is None


def test_update_commits_all_pairs_or_none(path: str) -> None:
    state = ActorState(path)
    state.update([("a", 1), ("b", 2)])
    with pytest.raises(TypeError):
        state.update([("a", 10), ("b", object())])
    assert state.data == {"a": 1, "b": 2} == ActorState(path).data


def test_update_takes_pairs_only(path: str) -> None:
    with pytest.raises(TypeError, match="expected pairs"):
        ActorState(path).update(["ab"])  # type: ignore[list-item]


def test_changes_in_place_are_found(path: str) -> None:
    state = ActorState(path)
    array = state.get("array", np.zeros(1_000_000, np.uint8))
    array[777_777] = 9
    state.update([("array", array)])
    assert ActorState(path).get("array", None)[777_777] == 9


def test_the_newest_opener_wins_and_the_older_one_is_fenced(path: str) -> None:
    older = ActorState(path)
    older.update([("n", 1)])
    newer = ActorState(path)
    with pytest.raises(Fenced):
        older.update([("n", 100)])
    assert newer.data == {"n": 1} == ActorState(path).data


def test_after_a_failure_everything_is_refused(path: str) -> None:
    older, newer = ActorState(path), ActorState(path)
    with pytest.raises(Fenced):
        older.update([("n", 1)])
    with pytest.raises(Poisoned):
        older.update([("n", 2)])
    assert newer.data == {}


def test_a_state_that_must_exist_and_does_not_is_an_error(path: str) -> None:
    with pytest.raises(NotFoundError, match="nothing was ever saved"):
        ActorState(path, require_existing=True)
    assert not os.path.exists(path)
    ActorState(path).update([("n", 1)])
    assert ActorState(path, require_existing=True).data == {"n": 1}


def test_a_directory_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(NotAStateError, match="thesis.tex"):
        ActorState(tmp_path)
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_a_damaged_state_is_an_error_not_a_fresh_start(path: str) -> None:
    state = ActorState(path)
    state.update([("text", "x" * 1000)])
    state.close()
    (journal,) = Path(path).glob("journal-*")
    content = bytearray(journal.read_bytes())
    content[content.index(b"xxxx") + 500] ^= 1
    journal.write_bytes(content)
    with pytest.raises(DamagedError, match="journal"):
        ActorState(path)


def test_the_state_is_private(path: str) -> None:
    ActorState(path).update([("n", 1)])
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o700
    for file in Path(path).iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_an_unknown_durability_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="'process' or 'power'"):
        ActorState(path, durability="forever")
    assert not os.path.exists(path)


def test_a_closed_state_says_so(path: str) -> None:
    with ActorState(path) as state:
        state.update([("n", 1)])
    with pytest.raises(ValueError, match="closed"):
        state.update([("n", 2)])


def test_a_state_cannot_be_sent(path: str) -> None:
    with pytest.raises(TypeError, match="where it is used"):
        pickle.dumps(ActorState(path))


def test_threads_may_share_a_state(path: str) -> None:
    state = ActorState(path, durability="process")

    def write(name: str) -> None:
        for n in range(100):
            state.update([(name, n)])

    threads = [threading.Thread(target=write, args=(f"t{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert state.data == {f"t{n}": 99 for n in range(4)}


def test_the_errors_are_a_tree() -> None:
    assert issubclass(Fenced, StoreError) and issubclass(StoreError, PersistentActorError)
    assert issubclass(NotFoundError, OpenError) and issubclass(NotFoundError, FileNotFoundError)


def test_many_commits_keep_the_state_small(path: str) -> None:
    state = ActorState(path, durability="process")
    for n in range(30_000):
        state.update([("n", n)])
    state.close()
    assert sum(file.stat().st_size for file in Path(path).iterdir()) < 8 * 1024 * 1024
    assert ActorState(path).data == {"n": 29_999}
