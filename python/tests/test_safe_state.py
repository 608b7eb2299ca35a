"""`safe_state` without Ray: what is saved, what is taken back, what is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from persistent_actor import (
    ActorState,
    Fenced,
    IdReused,
    LedgerExpired,
    Poisoned,
    child_call_id,
    current_call_id,
    safe_state,
)


class Counter:
    def __init__(self, path: str, **options: Any) -> None:
        self.state = ActorState(path, durability="process", **options)
        self.counter: int = self.state.get("counter", 0)
        self.array = self.state.get("array", np.zeros(100_000, np.uint8))
        self.hits = 0

    @safe_state("counter", "array")
    def add(self, by: int) -> int:
        """Adds."""
        self.hits += 1
        self.counter += by
        self.array += np.uint8(by)
        return self.counter

    @safe_state("counter", "array")
    def fail(self) -> None:
        self.counter += 1000
        self.array[5] = 200
        raise KeyError("on purpose")

    @safe_state("counter")
    def add_twice(self, by: int) -> int:
        self.counter += by
        return self.add(by)

    @safe_state("counter")
    def answer(self, value: Any) -> Any:
        self.counter += 1
        return value

    @safe_state("counter")
    def log(self, entry: str) -> None:
        self.counter += 1
        self.state.update([("last", entry)])
        if entry == "bad":
            raise ValueError(entry)

    @safe_state("array")
    def whole(self) -> np.ndarray[Any, Any]:
        self.array += np.uint8(1)
        return self.array


def test_a_call_is_saved_when_it_returns(path: str) -> None:
    assert Counter(path).add(5) == 5
    again = Counter(path)
    assert again.counter == 5 and again.array[99_999] == 5


def test_an_exception_saves_nothing_and_takes_memory_back(path: str) -> None:
    counter = Counter(path)
    counter.add(5)
    with pytest.raises(KeyError, match="on purpose"):
        counter.fail()
    assert (counter.counter, counter.array[5], counter.hits) == (5, 5, 1)
    assert counter.state.data["counter"] == 5
    assert counter.add(1) == 6


def test_a_call_with_an_id_runs_once(path: str) -> None:
    counter = Counter(path)
    assert counter.add(5, call_id="order-17") == 5  # type: ignore[call-arg]
    assert counter.add(5, call_id="order-17") == 5  # type: ignore[call-arg]
    assert (counter.counter, counter.hits) == (5, 1)
    restarted = Counter(path)
    assert restarted.add(5, call_id="order-17") == 5  # type: ignore[call-arg]
    assert (restarted.counter, restarted.hits) == (5, 0)


def test_without_an_id_every_call_runs(path: str) -> None:
    counter = Counter(path)
    assert [counter.add(1), counter.add(1)] == [1, 2]


def test_an_id_with_other_arguments_is_refused(path: str) -> None:
    counter = Counter(path)
    counter.add(5, call_id="a")  # type: ignore[call-arg]
    with pytest.raises(IdReused):
        counter.add(6, call_id="a")  # type: ignore[call-arg]
    with pytest.raises(IdReused):
        counter.add_twice(5, call_id="a")  # type: ignore[call-arg]
    assert counter.counter == 5


def test_a_call_that_raised_runs_again(path: str) -> None:
    counter = Counter(path)
    for _ in range(2):
        with pytest.raises(KeyError):
            counter.fail(call_id="a")  # type: ignore[call-arg]
    assert counter.state.outcome("a").status == "unknown"


def test_a_safe_method_inside_another_is_part_of_its_commit(path: str) -> None:
    counter = Counter(path)
    before = counter.state._native.sequence
    assert counter.add_twice(3, call_id="a") == 6  # type: ignore[call-arg]
    assert counter.state._native.sequence == before + 1
    assert Counter(path).array[0] == 3, "the inner method's attributes are saved, too"


def test_update_inside_a_safe_method_is_part_of_its_commit(path: str) -> None:
    counter = Counter(path)
    before = counter.state._native.sequence
    counter.log("good")
    assert counter.state._native.sequence == before + 1
    with pytest.raises(ValueError, match="bad"):
        counter.log("bad")
    assert (counter.counter, counter.state.data["last"]) == (1, "good")


def test_a_reserved_name_inside_a_safe_method_is_refused_and_nothing_is_saved(path: str) -> None:
    class Reserved(Counter):
        @safe_state("counter")
        def bump(self) -> None:
            self.counter += 1
            self.state.update([("\0intents", 5)])

    actor = Reserved(path)
    for options in ({}, {"call_id": "a"}):
        with pytest.raises(ValueError, match=r'attribute "\\0intents": expected a name that'):
            actor.bump(**options)
    assert actor.counter == 0 and sorted(actor.state.data) == ["array", "counter"]
    assert Counter(path).counter == 0, "the state can be opened"


def test_a_reply_that_cannot_be_stored_saves_nothing(path: str) -> None:
    counter = Counter(path)
    with pytest.raises(TypeError, match="allow_pickle") as raised:
        counter.answer(object(), call_id="a")  # type: ignore[call-arg]
    assert raised.value.__notes__ == ["in the method's reply"]
    assert counter.counter == counter.state.data["counter"] == 0


def test_a_reply_that_runs_later_is_refused(path: str) -> None:
    counter = Counter(path)
    with pytest.raises(TypeError, match="runs after the commit"):
        counter.answer(iter([1]))
    assert counter.counter == 0


def test_replies_come_back_as_they_were(path: str) -> None:
    values: list[Any] = [None, (1, [2]), {"a": b"b"}, 2**100]
    counter = Counter(path)
    for n, value in enumerate(values):
        counter.answer(value, call_id=str(n))  # type: ignore[call-arg]
    counter = Counter(path)
    for n, value in enumerate(values):
        again = counter.answer(value, call_id=str(n))  # type: ignore[call-arg]
        assert again == value and type(again) is type(value)
    assert counter.counter == len(values)


def test_a_large_reply_is_that_of_its_call_not_the_newest(path: str) -> None:
    counter = Counter(path)
    for n in range(5):
        counter.whole(call_id=str(n))  # type: ignore[call-arg]
    counter = Counter(path)
    for n in range(5):
        assert counter.whole(call_id=str(n))[0] == n + 1  # type: ignore[call-arg]
    assert counter.array[0] == 5


def test_outcome_tells_what_became_of_a_call(path: str) -> None:
    counter = Counter(path)
    counter.add(5, call_id="a")  # type: ignore[call-arg]
    state = Counter(path).state
    outcome = state.outcome("a")
    assert (outcome.status, outcome.reply) == ("committed", 5)
    assert state.outcome("b") == ("unknown", None)


def test_a_fenced_actor_does_not_say_what_became_of_calls_that_it_does_not_know(path: str) -> None:
    older = Counter(path)
    older.add(1, call_id="known")  # type: ignore[call-arg]
    newer = Counter(path)
    newer.add(5, call_id="a")  # type: ignore[call-arg]
    assert older.state.outcome("known") == ("committed", 1)
    with pytest.raises(Fenced):
        older.state.outcome("a")
    with pytest.raises(Poisoned):
        older.state.outcome("a")
    assert newer.state.outcome("a") == ("committed", 6)


def test_a_forgotten_reply_is_an_error_not_a_second_run(path: str) -> None:
    counter = Counter(path, max_calls=3)
    for n in range(10):
        counter.add(1, call_id=str(n))  # type: ignore[call-arg]
    for reopened in (counter, Counter(path, max_calls=3)):
        with pytest.raises(LedgerExpired):
            reopened.add(1, call_id="0")  # type: ignore[call-arg]
        assert reopened.state.outcome("0") == ("expired", None)
        assert reopened.add(1, call_id="9") == 10  # type: ignore[call-arg]
        assert reopened.counter == 10


def test_a_fenced_actor_saves_nothing(path: str) -> None:
    older, newer = Counter(path), Counter(path)
    newer.add(1)
    with pytest.raises(Fenced):
        older.add(100)
    assert Counter(path).counter == 1


def test_a_retry_waits_for_the_first_attempt_and_gets_its_reply(path: str) -> None:
    began, go_on = threading.Event(), threading.Event()

    class Slow(Counter):
        @safe_state("counter")
        def slow(self) -> int:
            began.set()
            assert go_on.wait(60)
            self.counter += 1
            return self.counter

    actor = Slow(path)
    replies: list[int] = []
    call = lambda: replies.append(actor.slow(call_id="a"))  # type: ignore[call-arg]  # noqa: E731
    first, retry = threading.Thread(target=call), threading.Thread(target=call)
    first.start()
    assert began.wait(60)
    retry.start()
    go_on.set()
    first.join()
    retry.join()
    assert replies == [1, 1] and actor.counter == 1


def test_threads_that_call_one_actor_lose_nothing(path: str) -> None:
    counter = Counter(path)
    threads = [
        threading.Thread(target=lambda: [counter.add(1) for _ in range(50)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.counter == Counter(path).counter == 200


def test_the_state_may_have_any_name_but_must_be_the_only_one(path: str) -> None:
    class Other:
        def __init__(self) -> None:
            self.memory = ActorState(path)
            self.n = self.memory.get("n", 0)

        @safe_state("n")
        def add(self) -> int:
            self.n += 1
            return self.n

    assert Other().add() == 1
    other = Other()
    other.more = ActorState(path + "2")  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="more than one ActorState"):
        other.add()
    del other.more, other.memory  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="has no ActorState"):
        other.add()


def test_what_cannot_be_saved_is_refused_where_it_is_written() -> None:
    async def coroutine(self: Any) -> None: ...

    def generator(self: Any) -> Iterator[int]:
        yield 1

    async def async_generator(self: Any) -> Any:
        yield 1

    def no_self() -> None: ...

    for method, message in [
        (coroutine, "async method"),
        (generator, "generator"),
        (async_generator, "generator"),
        (staticmethod(no_self), "staticmethod"),
        (classmethod(no_self), "classmethod"),
        (property(coroutine), "property"),
        (Counter, "for methods"),
        (no_self, "takes no self"),
    ]:
        with pytest.raises(TypeError, match=message):
            safe_state("a")(method)


def test_wrong_attribute_names_are_refused_where_they_are_written() -> None:
    with pytest.raises(TypeError, match="needs the names"):
        safe_state()
    with pytest.raises(TypeError, match="needs the names"):
        safe_state(lambda self: None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="twice"):
        safe_state("a", "a")
    with pytest.raises(TypeError, match="not the name of an attribute"):
        safe_state("not a name")


def test_an_attribute_that_does_not_exist_saves_nothing(path: str) -> None:
    class Wrong(Counter):
        @safe_state("counter", "missing")
        def bump(self) -> None:
            self.counter += 1

    actor = Wrong(path)
    with pytest.raises(AttributeError, match="missing"):
        actor.bump()
    assert actor.counter == actor.state.data["counter"] == 0


def test_a_method_keeps_its_name_and_documentation() -> None:
    assert Counter.add.__name__ == "add" and Counter.add.__doc__ == "Adds."


def test_child_ids_are_the_same_in_every_attempt(path: str) -> None:
    seen: list[list[str]] = []

    class Parent(Counter):
        @safe_state("counter")
        def call_others(self) -> None:
            seen.append([str(child_call_id()), str(child_call_id()), str(child_call_id("x"))])
            raise RuntimeError("retry me")

    parent = Parent(path)
    for _ in range(2):
        with pytest.raises(RuntimeError):
            parent.call_others(call_id="a")  # type: ignore[call-arg]
        assert current_call_id() is None
    with pytest.raises(RuntimeError, match="retry me"):
        parent.call_others(call_id="b")  # type: ignore[call-arg]
    assert seen[0] == seen[1] == ["given:a/#0", "given:a/#1", "given:a/x"]
    assert seen[2] == ["given:b/#0", "given:b/#1", "given:b/x"]


def test_outside_of_calls_there_is_no_child_id() -> None:
    with pytest.raises(RuntimeError, match="no call to derive an id from"):
        child_call_id()


VICTIM = """
import os, signal, sys
from test_safe_state import Counter

counter = Counter(sys.argv[1])
before = counter.counter
real = counter.state._native

class Killer:
    def __getattr__(self, name):
        return getattr(real, name)
    def commit_call(self, *args):
        real.commit_call(*args)
        os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[3] == "kill":
    counter.state._native = Killer()
print(counter.add(1, call_id=sys.argv[2]))
"""


def test_killed_between_commit_and_reply_ten_times_counts_ten(path: str) -> None:
    def run(call_id: str, how: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", VICTIM, path, call_id, how]
        here = os.path.dirname(__file__)
        return subprocess.run(command, cwd=here, capture_output=True, text=True)

    for n in range(10):
        assert run(str(n), "kill").returncode == -signal.SIGKILL
        retry = run(str(n), "live")
        assert (retry.returncode, retry.stdout) == (0, f"{n + 1}\n"), retry.stderr
    assert Counter(path).counter == 10
