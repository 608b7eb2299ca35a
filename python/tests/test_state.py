"""`ActorState`: the prototype's conventions, and who may write."""

from __future__ import annotations

import functools
import os
import pickle
import signal
import stat
import threading
from collections.abc import Callable
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
    safe_state,
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


def test_a_reserved_name_is_refused_and_nothing_is_saved(path: str) -> None:
    state = ActorState(path)
    message = r'attribute "\\0x": expected a name that does not begin with a NUL character'
    with pytest.raises(ValueError, match=message):
        state.update([("n", 1), ("\0x", 1)])
    with pytest.raises(ValueError, match=message):
        state.get("\0x", 1)
    assert state.data == {} == ActorState(path).data


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


def in_child(work: Callable[[], object]) -> str:
    """What `work` returns in a forked child, as text; the child is gone then."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        try:
            answer = repr(work())
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        os.write(writing, answer.encode())
        os._exit(0)
    os.close(writing)
    with open(reading) as pipe:
        answer = pipe.read()
    assert os.waitpid(child, 0)[1] == 0, "it did not hang"
    return answer


def uses(state: ActorState) -> list[Callable[[], object]]:
    """All that can be done with a state."""
    native = state._native
    return [
        lambda: state.get("n", 0),
        lambda: state.update([("n", 100)]),
        lambda: state.data,
        lambda: state.outcome("a"),
        lambda: state._call(None, ("n",), None, print, (), {}),
        lambda: native.load("n"),
        lambda: native.commit([("n", 100)]),
        lambda: native.outcome(bytes(10)),
    ]


def test_a_forked_child_cannot_use_the_state_of_its_parent(path: str) -> None:
    state = ActorState(path)
    state.update([("n", 1)])
    refused = f"RuntimeError: this ActorState was opened in another process (pid {os.getpid()})"
    for use in uses(state):
        assert in_child(use) == f"{refused}: open the state again here"
    state.update([("n", state.data["n"] + 1), ("m", 1)])
    assert ActorState(path).data == {"n": 2, "m": 1}


def test_a_forked_child_is_refused_before_it_waits_for_a_lock(path: str) -> None:
    state = ActorState(path)
    with state._lock:
        # The lock belongs to this thread, which is not there in the other one's child.
        answers: list[str] = []
        fork = lambda: answers.extend(in_child(use) for use in uses(state))  # noqa: E731
        thread = threading.Thread(target=fork)
        thread.start()
        thread.join()
    assert len(answers) == len(uses(state))
    assert all(answer.startswith("RuntimeError: this ActorState") for answer in answers)


def test_what_a_forked_child_gives_back_stays_with_its_parent(path: str) -> None:
    states = [ActorState(path)]
    states[0].update([("array", np.zeros(100_000, np.uint8))])

    def keeps_files(work: Callable[[], None]) -> bool:
        before = os.listdir("/proc/self/fd")
        work()
        return before == os.listdir("/proc/self/fd")

    files = {file: file.read_bytes() for file in Path(path).iterdir()}
    for work in (lambda: states[0].close(), states.clear):
        assert in_child(functools.partial(keeps_files, work)) == "True", "nothing was closed"
    assert files == {file: file.read_bytes() for file in Path(path).iterdir()}
    states[0].update([("n", 1)])
    assert ActorState(path).data["n"] == 1


@pytest.mark.parametrize("leave, code", [("exit", 3), ("return", 4)])
def test_a_child_that_is_forked_in_a_safe_method_saves_nothing(
    path: str, leave: str, code: int
) -> None:
    class Forks:
        def __init__(self) -> None:
            self.state = ActorState(path)
            self.n: int = self.state.get("n", 0)

        @safe_state("n")
        def fork(self) -> int:
            self.n += 1
            child = os.fork()
            if child != 0:
                return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            signal.alarm(30)
            self.n += 100
            if leave == "exit":
                raise SystemExit(3)
            return 0

    parent, actor = os.getpid(), Forks()
    try:
        assert actor.fork() == code
    except BaseException as error:
        if os.getpid() == parent:
            raise
        # The child's own exception, or that it cannot commit.
        os._exit({SystemExit: 3, RuntimeError: 4}.get(type(error), 5))
    finally:
        if os.getpid() != parent:
            os._exit(6)
    assert actor.n == 1 == ActorState(path).data["n"]


def test_a_forked_child_may_open_the_state_again_and_is_its_writer_then(path: str) -> None:
    state = ActorState(path)
    state.update([("n", 1)])
    assert in_child(lambda: ActorState(path).update([("n", 2)])) == "None"
    with pytest.raises(Fenced):
        state.update([("n", 3)])
    assert ActorState(path).data == {"n": 2}


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
