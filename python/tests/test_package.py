"""The package as it is installed: types, wheel, errors, and the state doctor's view of its states."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import persistent_actor
from persistent_actor import ActorState, _errors, as_call_id, safe_state

ROOT = Path(__file__).parent.parent.parent


def check(tmp_path: Path, *arguments: str) -> None:
    """Runs a checker where only the installed package can be found."""
    command = [sys.executable, "-m", *arguments]
    checked = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_types_of_the_package_are_complete_and_right(tmp_path: Path) -> None:
    check(tmp_path, "mypy", "--strict", "-p", "persistent_actor")


def test_the_stub_of_the_native_module_says_what_the_module_has(tmp_path: Path) -> None:
    check(tmp_path, "mypy.stubtest", "persistent_actor._native")


USER = """
from typing import assert_type
from persistent_actor import ActorState, CallId, Outcome, call_id_of, child_call_id, safe_state


class Counter:
    def __init__(self, path: str) -> None:
        self.state = ActorState(path, durability="process", require_existing=True)
        self.counter: int = self.state.get("counter", 0)

    @safe_state("counter")
    def add(self, by: int) -> int:
        self.counter += by
        return self.counter


with ActorState("x") as state:
    state.update([("a", 1)])
    state.update((name, n) for n, name in enumerate("ab"))
    assert_type(state.outcome("a"), Outcome)
    assert_type(state.outcome(child_call_id("x")), Outcome)
assert_type(Counter("x").add(1), int)
Counter("x").add("1")  # type: ignore[arg-type]
ActorState("x").get("a")  # type: ignore[call-arg]
"""


def test_programs_that_use_the_package_are_checked(tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(USER)
    check(tmp_path, "mypy", "--strict", "--warn-unused-ignores", "user.py")


def test_one_wheel_serves_every_python_from_3_11_on() -> None:
    wheel = importlib.metadata.distribution("persistent-actor").read_text("WHEEL")
    assert wheel is not None and re.search(r"^Tag: cp311-abi3-", wheel, re.MULTILINE), wheel


def test_the_native_module_is_private() -> None:
    assert "_native" not in persistent_actor.__all__
    public = [getattr(persistent_actor, name) for name in persistent_actor.__all__]
    assert all("_native" not in str(item.__module__) for item in public)
    assert all(item.__doc__ for item in public), "what is public is documented"


def test_each_error_of_the_core_has_an_exception() -> None:
    core = (ROOT / "crates/persistent-actor/src/error.rs").read_text()
    mapping = (ROOT / "python/src/errors.rs").read_text()
    # Of Rust structs, which have no counterpart here; or carried by another error.
    absent = {"Value", "Reserved", "ReservedAttribute", "Unloadable"}
    variants = set(re.findall(r"^    ([A-Z]\w+) \{$", core, re.MULTILINE)) - absent
    assert {"NotFound", "Fenced", "Poisoned"} <= variants
    for variant in variants:
        found = re.search(rf'::{variant} {{ \.\. }} => "(\w+)"', mapping)
        assert found is not None, f"{variant} has no exception"
        error = getattr(persistent_actor, found[1])
        assert issubclass(error, persistent_actor.PersistentActorError)


def test_the_exceptions_are_a_tree() -> None:
    def tree(error: type[BaseException]) -> dict[str, Any]:
        return {sub.__name__: tree(sub) for sub in error.__subclasses__()}

    assert tree(_errors.PersistentActorError) == {
        "OpenError": {
            "NotFoundError": {},
            "UnreadableError": {},
            "DamagedError": {},
            "GroupJournalMissingError": {},
            "NewerVersionError": {},
            "NotPrivateError": {},
            "NotAStateError": {},
        },
        "StoreError": {"Fenced": {}, "StoreIOError": {}, "Poisoned": {}, "TooLargeError": {}},
        "ValueTypeError": {},
        "DecodeError": {},
        "CallError": {"LedgerExpired": {}, "IdReused": {}},
    }
    for name, base in [
        ("NotFoundError", FileNotFoundError),
        ("UnreadableError", OSError),
        ("NotPrivateError", PermissionError),
        ("StoreIOError", OSError),
        ("TooLargeError", ValueError),
        ("ValueTypeError", TypeError),
        ("DecodeError", ValueError),
    ]:
        assert issubclass(getattr(_errors, name), base)


@pytest.fixture(scope="module")
def actor_state() -> str:
    """The state doctor's executable, built from this source."""
    if shutil.which("cargo") is None:
        pytest.skip("cargo is not installed, so actor-state cannot be built")
    command = ["cargo", "build", "--locked", "--package=actor-state", "--message-format=json"]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    messages = [json.loads(line) for line in built.stdout.splitlines()]
    (executable,) = {message["executable"] for message in messages if message.get("executable")}
    return str(executable)


class Counter:
    def __init__(self, path: str) -> None:
        self.state = ActorState(path, durability="process")
        self.counter: int = self.state.get("counter", 0)
        self.array = self.state.get("array", np.arange(100_000, dtype=np.float64))
        self.pair = self.state.get("pair", (1, "two"))

    @safe_state("counter", "array")
    def add(self, by: int) -> int:
        self.counter += by
        self.array[by] = -1
        return self.counter


@pytest.mark.parametrize("kind", ["directory", "file"])
def test_the_state_doctor_reads_these_states(actor_state: str, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "state"
    if kind == "file":
        path.touch(mode=0o600)
    counter = Counter(str(path))
    counter.add(5, call_id="order-17")  # type: ignore[call-arg]

    def doctor(*arguments: str, code: int = 0) -> str:
        ran = subprocess.run([actor_state, *arguments], capture_output=True, text=True)
        assert ran.returncode == code, ran.stdout + ran.stderr
        return ran.stdout

    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    shown = json.loads(doctor("show", "--json", str(path)))
    types = {attribute["name"]: attribute["type"] for attribute in shown["attributes"]}
    assert types == {"counter": "integer", "array": "NumPy array", "pair": "tuple of 2"}
    assert doctor("get", str(path), "counter").strip() == "5"
    assert "two" in doctor("get", str(path), "pair")
    doctor("get", str(path), "array")
    doctor("verify", str(path))
    call = as_call_id("order-17").ledger_id
    assert call in doctor("calls", str(path))
    outcome = json.loads(doctor("outcome", "--json", str(path), call))
    assert (outcome["outcome"], outcome["reply"]) == ("committed", 5)
    doctor("outcome", str(path), as_call_id("order-18").ledger_id, code=1)
    assert before == {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    assert counter.add(1) == 6, "it was not disturbed"


def test_the_state_doctor_says_what_it_can_do_about_redis(actor_state: str) -> None:
    for command in (["show"], ["verify"], ["list"]):
        url = "redis://:s3cret@127.0.0.1:1/0?name=x"
        ran = subprocess.run([actor_state, *command, url], capture_output=True, text=True)
        assert ran.returncode == 2, ran.stdout + ran.stderr
        assert "Redis" in ran.stderr and "s3cret" not in ran.stderr, ran.stderr
    assert not os.path.exists("redis:")
