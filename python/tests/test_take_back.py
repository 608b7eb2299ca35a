"""What a safe call that fails takes back of attributes that were never committed."""

from __future__ import annotations

from typing import Any

import pytest

from persistent_actor import ActorState, safe_state


class Plain:
    """An actor that does not ask its state for first values."""

    counter = 0

    def __init__(self, path: str) -> None:
        self.state = ActorState(path, durability="process")
        self.items: list[int] = []

    @safe_state("items", "counter")
    def add(self, item: int, fail: bool = False) -> list[int]:
        self.counter += 1
        self.items.append(item)
        if fail:
            raise KeyError("on purpose")
        return self.items

    @safe_state("counter")
    def add_inside(self, item: int, fail: str) -> list[int]:
        self.items.append(-item)
        if fail == "before":
            raise KeyError("on purpose")
        return self.add(item, fail == "inside")

    @safe_state("log")
    def write(self, entry: str, fail: bool = False) -> list[str]:
        self.log: list[str] = [*getattr(self, "log", []), entry]
        if fail:
            raise KeyError("on purpose")
        return self.log


def test_an_attribute_that_was_never_committed_is_taken_back(path: str) -> None:
    actor = Plain(path)
    with pytest.raises(KeyError):
        actor.add(7, fail=True)
    assert (actor.items, actor.counter) == ([], 0)
    assert actor.add(7) == [7]
    assert ActorState(path).data == {"items": [7], "counter": 1}


@pytest.mark.parametrize("fail", ["before", "inside"])
def test_an_attribute_that_only_an_inner_method_names_is_taken_back(path: str, fail: str) -> None:
    actor = Plain(path)
    with pytest.raises(KeyError):
        actor.add_inside(7, fail)
    assert (actor.items, actor.counter) == ([], 0)
    assert actor.add_inside(7, "") == [-7, 7]
    assert ActorState(path).data == {"items": [-7, 7], "counter": 1}


def test_an_attribute_that_a_failed_method_has_made_is_removed_again(path: str) -> None:
    actor = Plain(path)
    with pytest.raises(KeyError):
        actor.write("a", fail=True)
    assert not hasattr(actor, "log")
    assert actor.write("a") == ["a"]
    with pytest.raises(KeyError):
        actor.write("b", fail=True)
    assert actor.log == ["a"] == ActorState(path).data["log"]


@safe_state("extra", "made")
def append(actor: Any, fail: bool) -> list[int]:
    actor.extra.append(1)
    actor.made = True
    if fail:
        raise KeyError("on purpose")
    result: list[int] = actor.extra
    return result


def test_what_a_safe_function_outside_the_class_changes_is_taken_back(path: str) -> None:
    class Caller(Plain):
        def __init__(self, path: str) -> None:
            super().__init__(path)
            self.extra: list[int] = []

        @safe_state("counter")
        def call(self, fail: bool) -> list[int]:
            return append(self, fail)

    actor = Caller(path)
    with pytest.raises(KeyError):
        actor.call(True)
    assert actor.extra == [] and not hasattr(actor, "made")
    assert "extra" not in actor.state.data, "nothing is committed in the middle of a call"
    assert actor.call(False) == [1] == ActorState(path).data["extra"]


def test_what_the_state_lacks_is_committed_once_and_not_by_replays(path: str) -> None:
    def actor(*names: str) -> Any:
        class Actor(Plain):
            @safe_state(*names)
            def bump(self) -> int:
                self.counter += 1
                return self.counter

        return Actor(path)

    def commits(actor: Any, call_id: str) -> int:
        before: int = actor.state._native.sequence
        actor.bump(call_id=call_id)
        return int(actor.state._native.sequence - before)

    first = actor("counter")
    assert [commits(first, "a"), commits(first, "b"), commits(first, "a")] == [2, 1, 0]
    second = actor("counter", "state_of_the_art")
    second.state_of_the_art = 2026
    assert [commits(second, "b"), commits(second, "c"), commits(second, "d")] == [0, 2, 1]


class Model:
    """An actor with something in it that cannot be saved, until a method replaces it."""

    def __init__(self, path: str) -> None:
        self.state = ActorState(path, durability="process")
        self.count = 0
        self.placeholder = object()
        self.model: Any = self.placeholder

    @safe_state("count")
    def add(self) -> int:
        self.count += 1
        return self.count

    @safe_state("count", "model")
    def train(self, model: Any, fail: bool = False) -> None:
        self.count += 1
        self.model = model
        if fail:
            raise KeyError("on purpose")


def test_a_first_value_that_cannot_be_saved_stands_until_it_is_replaced(path: str) -> None:
    actor = Model(path)
    assert actor.add() == 1
    with pytest.raises(KeyError):
        actor.train(b"x", fail=True)
    assert (actor.count, actor.model) == (1, actor.placeholder)
    actor.train(b"x")
    assert actor.state.data == {"count": 2, "model": b"x"}
    with pytest.raises(KeyError):
        actor.train(b"y", fail=True)
    assert (actor.count, actor.model) == (2, b"x")


def test_what_still_cannot_be_saved_when_the_method_returns_is_an_error(path: str) -> None:
    actor = Model(path)
    with pytest.raises(TypeError, match="allow_pickle") as raised:
        actor.train(object())
    assert raised.value.__notes__ == ['in attribute "model"']
    assert (actor.count, actor.model) == (0, actor.placeholder)
    assert actor.state.data == {"count": 0}


def test_an_attribute_that_a_failed_method_has_removed_comes_back(path: str) -> None:
    class Careless(Model):
        @safe_state("count")
        def forget(self) -> None:
            del self.count
            raise KeyError("on purpose")

    actor = Careless(path)
    actor.add()
    with pytest.raises(KeyError):
        actor.forget()
    assert actor.add() == 2
