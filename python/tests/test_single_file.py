"""A state in an existing file: the prototype's demo makes one with `NamedTemporaryFile`."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
import pytest
from test_safe_state import VICTIM, Counter

from persistent_actor import ActorState, Fenced, NotAStateError, NotFoundError


@pytest.fixture
def file(tmp_path: Path) -> Iterator[str]:
    """An existing empty file in a directory of its own."""
    with NamedTemporaryFile(dir=tmp_path) as empty:
        yield empty.name


def test_an_empty_file_becomes_a_state(file: str) -> None:
    for n in range(3):
        counter = Counter(file)
        assert counter.counter == n
        counter.add(1)
    assert os.listdir(os.path.dirname(file)) == [os.path.basename(file)]


def test_nothing_is_left_when_the_file_is_deleted(tmp_path: Path) -> None:
    with NamedTemporaryFile(dir=tmp_path) as empty:
        counter = Counter(empty.name)
        counter.add(1)
        assert Path(empty.name).stat().st_size > 0
    assert os.listdir(tmp_path) == []
    with pytest.raises(Fenced):
        counter.add(1)


def test_a_second_state_on_the_same_file_works_while_the_first_lives(file: str) -> None:
    older = Counter(file)
    older.add(1)
    newer = Counter(file)
    newer.add(1)
    with pytest.raises(Fenced):
        older.add(100)
    assert Counter(file).counter == 2


def test_an_empty_file_that_must_hold_a_state_stays_empty(file: str) -> None:
    with pytest.raises(NotFoundError):
        ActorState(file, require_existing=True)
    assert os.path.getsize(file) == 0


def test_a_file_of_something_else_is_refused(file: str) -> None:
    Path(file).write_bytes(b"SQLite format 3\0")
    with pytest.raises(NotAStateError, match="SQLite"):
        ActorState(file)
    assert Path(file).read_bytes() == b"SQLite format 3\0"


def test_large_arrays_survive_in_a_file(file: str) -> None:
    state = ActorState(file)
    array = state.get("array", np.arange(1_000_000))
    for n in range(20):
        array[n] = -1
        state.update([("array", array)])
    assert np.array_equal(ActorState(file).get("array", None), array)


def test_killed_between_commit_and_reply_a_state_in_a_file_counts_each_call_once(
    file: str,
) -> None:
    here = os.path.dirname(__file__)
    for n in range(5):
        killed = subprocess.run([sys.executable, "-c", VICTIM, file, str(n), "kill"], cwd=here)
        assert killed.returncode == -signal.SIGKILL
    counter = Counter(file)
    for n in range(5):
        assert counter.add(1, call_id=str(n)) == n + 1  # type: ignore[call-arg]
    assert counter.counter == 5


WRITER = """
import sys
import numpy as np
from persistent_actor import ActorState

state = ActorState(sys.argv[1], durability="process")
n = state.get("n", 0)
array = state.get("array", np.zeros(300_000, np.uint8))
assert (array == n % 251).all()
while True:
    n += 1
    array[:] = n % 251
    state.update([("n", n), ("array", array)])
    print(n, flush=True)
"""


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_killed_at_any_instant_no_answered_commit_is_lost(kind: str, tmp_path: Path) -> None:
    seed = int(os.environ.get("SEED", random.randrange(2**32)))
    print(f"SEED={seed}")
    chance = random.Random(seed)
    path = tmp_path / "state"
    if kind == "file":
        path.touch(mode=0o600)
    answered = 0
    for _ in range(12):
        command = [sys.executable, "-c", WRITER, str(path)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        # The kill lands somewhere in the commit that follows a random one.
        for _ in range(chance.randrange(1, 60)):
            answered = int(writer.stdout.readline())
        writer.kill()
        rest = writer.stdout.read().split("\n")
        answered = max([answered, *(int(line) for line in rest[:-1])])
        writer.wait()
        data = ActorState(path, durability="process").data
        assert answered <= data["n"] <= answered + 1
        assert (data["array"] == data["n"] % 251).all()
