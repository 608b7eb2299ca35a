"""What is stored comes back equal, of the same type, and as a new object."""

from __future__ import annotations

import fractions
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from persistent_actor import ActorState, DecodeError, ValueTypeError

SIZES = [0, 1, 63, 64, 65, 127, 128, 1000, 100_000]
INTEGERS = [sign * (2**size + extra) for size in SIZES for sign in (1, -1) for extra in (-1, 0, 1)]


def stored(path: str, value: Any, **options: Any) -> Any:
    """`value` after it was committed and loaded by another opener."""
    ActorState(path, durability="process", **options).update([("value", value)])
    return ActorState(path, durability="process", **options).data["value"]


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0.0,
        -0.5,
        1e300,
        math.inf,
        "",
        "grün \U0001f600",
        "x" * 100_000,
        b"",
        b"\x00\xff",
        bytes(100_000),
        bytearray(b"abc"),
        bytearray(100_000),
        [],
        [1, [2, [3]], None],
        (),
        (1, (2, "three")),
        {},
        {"a": 1, 2: [b"c"], (1, 2): {"nested": None}},
    ],
    ids=lambda value: f"{type(value).__name__}-{str(value)[:20]}",
)
def test_a_plain_value_comes_back_equal_and_of_the_same_type(path: str, value: Any) -> None:
    found = stored(path, value)
    assert found == value
    assert type(found) is type(value)


def test_integers_of_every_size_come_back(path: str) -> None:
    assert stored(path, INTEGERS) == INTEGERS


def test_true_and_1_stay_different(path: str) -> None:
    assert [type(item) for item in stored(path, [True, 1, 1.0])] == [bool, int, float]


def test_nan_comes_back(path: str) -> None:
    assert math.isnan(stored(path, math.nan))


def test_dictionaries_keep_their_order(path: str) -> None:
    assert list(stored(path, {"z": 1, "a": 2, "m": 3})) == ["z", "a", "m"]


ARRAYS = {
    "large": np.arange(1_000_000, dtype=np.uint8),
    "two dimensions": np.arange(12, dtype=np.float64).reshape(3, 4),
    "fortran order": np.asfortranarray(np.arange(12, dtype=np.int32).reshape(3, 4)),
    "large fortran order": np.asfortranarray(np.arange(90_000).reshape(300, 300)),
    "slice with steps": np.arange(100, dtype=np.int16)[::3],
    "reversed": np.arange(100)[::-1],
    "transposed": np.arange(24).reshape(2, 3, 4).transpose(1, 2, 0),
    "broadcast": np.broadcast_to(np.arange(3), (4, 3)),
    "big-endian": np.arange(5, dtype=">f4"),
    "half": np.arange(5, dtype=np.float16),
    "long double": np.arange(5, dtype=np.longdouble),
    "complex": np.arange(5, dtype=np.complex128) * 1j,
    "bool": np.array([True, False]),
    "dates": np.array(["2026-11-22", "NaT"], dtype="datetime64[D]"),
    "durations": np.array([1, 2], dtype="timedelta64[ns]"),
    "text": np.array(["a", "grün"]),
    "byte strings": np.array([b"a", b"bcd"]),
    "records": np.array([(1, 2.5, "x")], dtype=[("a", "<i4"), ("b", ">f8"), ("c", "<U3")]),
    "records with arrays": np.zeros(2, dtype=[("grid", "<f4", (2, 3)), ("id", "<u8")]),
    "records in records": np.zeros(2, dtype=[("in", [("a", "<i4"), ("b", "<i8")]), ("c", "|u1")]),
    "aligned records": np.zeros(2, dtype=np.dtype([("a", "u1"), ("b", "f8")], align=True)),
    "no dimensions": np.array(7),
    "empty": np.zeros((3, 0, 2)),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_of_any_dtype_and_layout_comes_back(path: str, name: str) -> None:
    array = ARRAYS[name]
    found = stored(path, array)
    assert type(found) is np.ndarray
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    assert found.tobytes() == np.ascontiguousarray(array).tobytes()
    assert found.flags.writeable and found.flags.owndata


def test_a_read_only_array_comes_back_writable(path: str) -> None:
    array = np.arange(100_000)
    array.flags.writeable = False
    found = stored(path, array)
    found[0] = 5
    assert found[0] == 5


def test_the_order_of_an_array_in_fortrans_layout_is_kept(path: str) -> None:
    found = stored(path, ARRAYS["fortran order"])
    assert found.flags.f_contiguous and not found.flags.c_contiguous


@pytest.mark.parametrize(
    "scalar",
    [np.float32(1.5), np.int64(-7), np.bool_(True), np.datetime64("2026-11-22"), np.str_("x")],
    ids=lambda scalar: type(scalar).__name__,
)
def test_a_numpy_scalar_keeps_its_type(path: str, scalar: Any) -> None:
    found = stored(path, scalar)
    assert found == scalar
    assert type(found) is type(scalar)


class Celsius(int):
    """A subclass: storing it as a plain integer would lose its type."""


UNSUPPORTED = {
    "object": object(),
    "fraction": fractions.Fraction(1, 3),
    "set": {1, 2},
    "subclass of int": Celsius(3),
    "objects in an array": np.array([object()]),
    "objects in records": np.array([(1, "a")], dtype=[("a", "i4"), ("b", object)]),
    "masked array": np.ma.masked_array([1, 2], mask=[True, False]),
    "deep inside": [{"a": (1, {2})}],
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_anything_else_is_a_type_error_that_says_so(path: str, name: str) -> None:
    state = ActorState(path, durability="process")
    state.get("value", 1)
    with pytest.raises(TypeError, match="allow_pickle") as raised:
        state.update([("value", UNSUPPORTED[name])])
    assert isinstance(raised.value, ValueTypeError)
    assert raised.value.__notes__ == ['in attribute "value"']
    assert state.data == {"value": 1}


def test_with_allow_pickle_anything_else_comes_back(path: str) -> None:
    value = {"a": fractions.Fraction(1, 3), "b": {1, 2}, "c": Celsius(3)}
    found = stored(path, value, allow_pickle=True)
    assert found == value and type(found["c"]) is Celsius


EXPLODED: list[str] = []


def explode() -> None:
    EXPLODED.append("bang")


class Explosive:
    """A pickle that runs code when it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (explode, ())


def test_loading_never_runs_code_unless_it_is_allowed(path: str) -> None:
    ActorState(path, durability="process", allow_pickle=True).update([("value", Explosive())])
    with pytest.raises(DecodeError, match="allow_pickle=True"):
        ActorState(path, durability="process").get("value", None)
    assert EXPLODED == []
    ActorState(path, durability="process", allow_pickle=True).get("value", None)
    assert EXPLODED == ["bang"]


class Meddler:
    """A value that does something while it is saved."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.work = work

    def __reduce__(self) -> tuple[Any, ...]:
        self.work()
        return (int, ())


def shrink_list() -> Any:
    value: list[Any] = []
    value += [Meddler(value.clear), 1, 2]
    return value


def grow_list() -> Any:
    value: list[Any] = []
    value += [Meddler(lambda: value.append(3)), 1, 2]
    return value


def shrink_dict() -> Any:
    value: dict[Any, Any] = {}
    value |= {"a": Meddler(value.clear), "b": 1}
    return value


def grow_dict() -> Any:
    value: dict[Any, Any] = {}
    value |= {"a": Meddler(lambda: value.update(c=3)), "b": 1}
    return value


@pytest.mark.parametrize("make", [shrink_list, grow_list, shrink_dict, grow_dict])
@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: (1, v)], ids=["bare", "inside"])
def test_what_changes_while_it_is_saved_is_an_error_and_nothing_is_saved(
    path: str, make: Callable[[], Any], wrap: Callable[[Any], Any]
) -> None:
    state = ActorState(path, durability="process", allow_pickle=True)
    state.update([("value", 1)])
    with pytest.raises(RuntimeError, match="changed while it was saved") as raised:
        state.update([("value", wrap(make())), ("other", 2)])
    assert raised.value.__notes__ == ['in attribute "value"']
    assert state.data == {"value": 1}
    state.update([("value", 2)])
    assert ActorState(path, durability="process").data == {"value": 2}


def test_a_dictionary_whose_keys_change_while_it_is_saved_is_saved_as_it_was(path: str) -> None:
    value: dict[Any, Any] = {}

    def replace() -> None:
        value["c"] = value.pop("b")

    value |= {"a": Meddler(replace), "b": 1}
    assert stored(path, value, allow_pickle=True) == {"a": 0, "b": 1}


def test_a_buffer_that_takes_the_place_of_another_in_memory_is_saved_as_itself(path: str) -> None:
    # Between two others, so that the memory of the one in the middle fits what comes next.
    before, first, behind = (bytearray(100_000) for _ in range(3))
    first[:] = b"a" * 100_000
    later: list[Any] = []
    refused: list[BufferError] = []

    def replace() -> None:
        try:
            first.extend(bytes(10_000_000))
        except BufferError as error:
            refused.append(error)
        later.extend(bytearray(100_000) for _ in range(20))

    found = stored(path, [first, Meddler(replace), later], allow_pickle=True)
    assert found[2] == [bytes(100_000)] * 20
    assert found[0] == b"a" * 100_000
    assert refused, "what is being saved keeps its memory"
    first.clear()
    assert before == behind


def test_a_value_that_contains_itself_is_refused(path: str) -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ValueTypeError, match="nests deeper"):
        ActorState(path, durability="process").update([("value", loop)])


@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: (v,), lambda v: {"k": v}])
def test_what_nests_as_deep_as_is_accepted_can_be_loaded(path: str, wrap: Any) -> None:
    state = ActorState(path, durability="process")
    depth, value = 0, np.zeros(100_000, np.uint8)
    while True:
        try:
            state.update([("value", wrap(value))])
        except ValueTypeError:
            break
        depth, value = depth + 1, wrap(value)
    assert depth >= 50
    assert pickle.dumps(state.data["value"]) == pickle.dumps(value)
