"""States in a Redis server: the same promises, over a network that breaks."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from redis_server import PASSWORD, RedisServer, is_installed
from test_safe_state import VICTIM, Counter

from persistent_actor import (
    ActorState,
    Fenced,
    LedgerExpired,
    NotAStateError,
    NotFoundError,
    OpenError,
    StoreIOError,
    UnreadableError,
)

if not is_installed():
    warnings.warn("redis-server is not installed: apt-get install redis-server", stacklevel=1)
    pytest.skip("redis-server is not installed", allow_module_level=True)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    yield server
    server.kill()


def test_a_state_in_redis_outlives_its_writers(server: RedisServer) -> None:
    url = server.url("visits")
    for n in range(3):
        state = ActorState(url)
        assert state.get("n", 0) == n
        array = state.get("array", np.zeros(300_000, np.uint8))
        array[n] = 1
        state.update([("n", n + 1), ("array", array)])
    data = ActorState(url).data
    assert data["n"] == 3 and data["array"].sum() == 3


def test_states_with_different_names_are_different(server: RedisServer) -> None:
    ActorState(server.url("a")).update([("n", 1)])
    assert ActorState(server.url("b")).data == {}


def test_the_newest_opener_of_a_state_in_redis_wins(server: RedisServer) -> None:
    older = ActorState(server.url("x"))
    older.update([("n", 1)])
    newer = ActorState(server.url("x"))
    with pytest.raises(Fenced):
        older.update([("n", 100)])
    newer.update([("m", 2)])
    assert ActorState(server.url("x")).data == {"n": 1, "m": 2}


def test_a_call_in_redis_runs_once(server: RedisServer) -> None:
    counter = Counter(server.url("x"))
    assert counter.add(5, call_id="a") == 5  # type: ignore[call-arg]
    again = Counter(server.url("x"))
    assert again.add(5, call_id="a") == 5  # type: ignore[call-arg]
    assert (again.counter, again.hits) == (5, 0)


def test_killed_between_commit_and_reply_a_call_in_redis_runs_once(server: RedisServer) -> None:
    here = os.path.dirname(__file__)
    for n in range(5):
        command = [sys.executable, "-c", VICTIM, server.url("x"), str(n), "kill"]
        assert subprocess.run(command, cwd=here).returncode == -signal.SIGKILL
    counter = Counter(server.url("x"))
    assert [counter.add(1, call_id=str(n)) for n in range(5)] == [1, 2, 3, 4, 5]  # type: ignore[call-arg]
    assert counter.counter == 5


def test_killed_and_restarted_under_load_nothing_is_lost_or_doubled(server: RedisServer) -> None:
    seed = int(os.environ.get("SEED", random.randrange(2**32)))
    print(f"SEED={seed}")
    chance = random.Random(seed)
    counter = Counter(server.url("x"))
    done = threading.Event()
    replies: list[int] = []

    def work() -> None:
        for n in range(2000):
            replies.append(counter.add(1, call_id=str(n)))  # type: ignore[call-arg]
        done.set()

    worker = threading.Thread(target=work)
    worker.start()
    kills = 0
    for seen in sorted(chance.sample(range(1, 1900), 5)):
        while len(replies) < seen and worker.is_alive():
            time.sleep(0.001)
        server.kill()
        server.start()
        kills += 1
    worker.join()
    assert done.is_set() and kills == 5
    assert replies == list(range(1, 2001))
    assert Counter(server.url("x")).counter == 2000


def test_forgotten_calls_leave_the_server_and_stay_loud(server: RedisServer) -> None:
    counter = Counter(server.url("x"), max_calls=10)
    for n in range(600):
        counter.add(1, call_id=str(n))  # type: ignore[call-arg]
    for reopened in (counter, Counter(server.url("x"), max_calls=10)):
        with pytest.raises(LedgerExpired):
            reopened.add(1, call_id="3")  # type: ignore[call-arg]
        assert reopened.add(1, call_id="599") == 600  # type: ignore[call-arg]


def test_a_state_that_must_exist_in_redis_and_does_not_is_an_error(server: RedisServer) -> None:
    with pytest.raises(NotFoundError):
        ActorState(server.url("x"), require_existing=True)
    ActorState(server.url("x"))
    assert ActorState(server.url("x"), require_existing=True).data == {}


def test_a_server_that_does_not_sync_is_refused_unless_that_is_asked_for(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, appendfsync="everysec")
    try:
        with pytest.raises(UnreadableError, match="appendfsync is everysec, not always"):
            ActorState(server.url("x"))
        ActorState(server.url("x"), durability="process").update([("n", 1)])
    finally:
        server.kill()


def test_a_server_that_lost_the_state_is_an_error_not_a_fresh_start(server: RedisServer) -> None:
    state = ActorState(server.url("x"))
    state.update([("n", 1)])
    server.kill()
    for file in server.directory.glob("appendonlydir/*"):
        file.unlink()
    server.start()
    with pytest.raises(StoreIOError, match="does not have the state any more"):
        state.update([("n", 2)])
    with pytest.raises(NotFoundError):
        ActorState(server.url("x"), require_existing=True)


def test_keys_of_something_else_are_refused_and_left_alone(server: RedisServer) -> None:
    import socket

    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(f"AUTH {PASSWORD}\r\nHSET persistent-actor:{{x}}:calls a b\r\n".encode())
        connection.settimeout(10)
        answer = b""
        while b":1\r\n" not in answer:
            answer += connection.recv(100)
    with pytest.raises(NotAStateError):
        ActorState(server.url("x"))


@pytest.mark.parametrize(
    "wrong", ["?name=x", "redis://:PASS@127.0.0.1:PORT", "redis://:PASS@127.0.0.1:PORT?nam=x"]
)
def test_a_wrong_address_is_refused_without_its_password(server: RedisServer, wrong: str) -> None:
    url = wrong.replace("PORT", str(server.port)).replace("PASS", PASSWORD)
    if not url.startswith("redis"):
        url = f"redis://:{PASSWORD}@/{url}#"
    with pytest.raises(OpenError) as raised:
        ActorState(url)
    assert PASSWORD not in str(raised.value)


def test_passwords_are_never_shown(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    state = ActorState(server.url("x"))
    assert PASSWORD not in repr(state) and PASSWORD not in state.path
    ActorState(server.url("x"))
    with pytest.raises(Fenced) as fenced:
        state.update([("n", 1)])
    assert PASSWORD not in str(fenced.value)
    assert str(server.port) in str(fenced.value)
    with pytest.raises(UnreadableError) as wrong:
        ActorState(server.url("x").replace(PASSWORD, "wr0ng"))
    assert "wr0ng" not in str(wrong.value)
    monkeypatch.setenv("PERSISTENT_ACTOR_REDIS_PASSWORD", PASSWORD)
    assert ActorState(f"redis://127.0.0.1:{server.port}/0?name=x").data == {}
