"""States in a Redis server: the same promises, over a network that breaks."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from redis_server import PASSWORD, RedisServer, is_installed
from test_safe_state import VICTIM, Counter
from test_state import in_child, uses

from persistent_actor import (
    ActorState,
    Fenced,
    LedgerExpired,
    NotAStateError,
    NotFoundError,
    OpenError,
    Poisoned,
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


def test_a_fenced_state_in_redis_does_not_say_what_it_does_not_know(server: RedisServer) -> None:
    older, newer = Counter(server.url("x")), Counter(server.url("x"))
    newer.add(1, call_id="a")  # type: ignore[call-arg]
    assert newer.state.outcome("b") == ("unknown", None)
    with pytest.raises(Fenced):
        older.state.outcome("a")


def test_a_forked_child_cannot_use_its_parents_state_in_redis(server: RedisServer) -> None:
    states = [ActorState(server.url("x"))]
    states[0].update([("n", 1)])
    for use in uses(states[0]):
        assert in_child(use).startswith("RuntimeError: this ActorState was opened in another")
    assert in_child(lambda: states[0].close()) == in_child(states.clear) == "None"
    states[0].update([("n", states[0].data["n"] + 1)])
    assert ActorState(server.url("x")).data == {"n": 2}


def test_a_child_that_is_forked_during_a_commit_to_redis_waits_for_nothing(
    server: RedisServer,
) -> None:
    states = [ActorState(server.url("x"))]
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    waiting = threading.Thread(target=states[0].update, args=([("n", 1)],))
    waiting.start()
    time.sleep(0.2)
    try:
        # The thread in the commit holds all locks; in the child nobody gives them back.
        for use in uses(states[0]):
            assert in_child(use).startswith("RuntimeError: this ActorState was opened in another")
        assert in_child(lambda: states[0].close()) == in_child(states.clear) == "None"
        assert waiting.is_alive()
    finally:
        server.process.send_signal(signal.SIGCONT)
        waiting.join(timeout=60)
    assert states[0].data == {"n": 1}


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


@pytest.mark.parametrize("durability", ["power", "process"])
@pytest.mark.parametrize("password", ["", ":wr0ng@", "someone:wr0ng@"])
def test_a_wrong_or_missing_password_is_told_as_that_and_not_shown(
    server: RedisServer, password: str, durability: str
) -> None:
    with pytest.raises(UnreadableError, match="the server wants another user or password") as raised:
        ActorState(
            f"redis://{password}127.0.0.1:{server.port}/0?name=x", durability=durability
        )
    assert "wr0ng" not in "".join(traceback.format_exception(raised.value))
    assert "PERSISTENT_ACTOR_REDIS_PASSWORD" in str(raised.value)


def test_a_server_that_is_not_there_is_told_after_the_timeout(server: RedisServer) -> None:
    server.kill()
    with pytest.raises(UnreadableError, match="could not be reached for 1 s .*refused") as raised:
        ActorState(server.url("x") + "&timeout=1")
    assert PASSWORD not in str(raised.value)
    with pytest.raises(UnreadableError, match="could not be reached for 0 s .*lookup"):
        ActorState("redis://no-such-host.invalid?name=x&timeout=0")


def test_a_commit_that_does_not_reach_the_server_is_an_error_and_no_reply(
    server: RedisServer,
) -> None:
    counter = Counter(server.url("x") + "&timeout=1")
    assert counter.add(1, call_id="a") == 1  # type: ignore[call-arg]
    server.kill()
    with pytest.raises(StoreIOError, match="could not be reached for 1 s"):
        counter.add(1, call_id="b")  # type: ignore[call-arg]
    server.start()
    with pytest.raises(Poisoned):
        counter.add(1, call_id="b")  # type: ignore[call-arg]
    with pytest.raises(Poisoned, match="could not be reached"):
        counter.state.outcome("b")
    assert counter.state.outcome("a") == ("committed", 1)
    again = Counter(server.url("x"))
    assert again.counter == 1 and again.state.outcome("b").status == "unknown"
    assert again.add(1, call_id="b") == 2  # type: ignore[call-arg]


def test_other_threads_run_while_a_commit_waits_for_the_server(server: RedisServer) -> None:
    state = ActorState(server.url("x"))
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    waiting = threading.Thread(target=lambda: state.update([("n", 1)]))
    waiting.start()
    # If the commit held the interpreter, this thread would stop here until the commit fails.
    waiting.join(timeout=0.2)
    assert waiting.is_alive()
    server.process.send_signal(signal.SIGCONT)
    waiting.join(timeout=60)
    assert state.data == {"n": 1}


def test_a_path_with_another_scheme_is_refused_and_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OpenError, match="unknown scheme 'reddis'") as raised:
        ActorState(f"reddis://:{PASSWORD}@host?name=x")
    assert PASSWORD not in str(raised.value)
    assert os.listdir(tmp_path) == []


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server with a certificate of an authority that nobody knows."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: apt-get install openssl")
    authority, server = tmp_path / "ca", tmp_path / "server"
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)

    openssl("req", "-x509", *new_key, "-keyout", f"{authority}.key", "-out", f"{authority}.crt",
            "-days", "2", "-subj", "/CN=an authority")  # fmt: skip
    openssl("req", *new_key, "-keyout", f"{server}.key", "-out", f"{server}.csr",
            "-subj", "/CN=localhost")  # fmt: skip
    (tmp_path / "extensions").write_text("subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE")
    openssl("x509", "-req", "-in", f"{server}.csr", "-CA", f"{authority}.crt",
            "-CAkey", f"{authority}.key", "-CAcreateserial", "-out", f"{server}.crt", "-days", "2",
            "-extfile", str(tmp_path / "extensions"))  # fmt: skip
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        tls_port = str(probe.getsockname()[1])
    settings = {"tls-port": tls_port, "tls-auth-clients": "no"}
    settings |= {"tls-cert-file": f"{server}.crt", "tls-key-file": f"{server}.key"}
    running = RedisServer(tmp_path, **settings, **{"tls-ca-cert-file": f"{authority}.crt"})
    yield running
    running.kill()


def test_tls_is_used_and_the_servers_certificate_checked(tls_server: RedisServer) -> None:
    port = tls_server.settings["tls-port"]
    url = f"rediss://:{PASSWORD}@localhost:{port}/0?name=x&timeout=1"
    with pytest.raises(UnreadableError, match="could not be reached .*UnknownIssuer"):
        ActorState(url)
    # A process of its own: the authorities that are trusted are read once.
    program = "import sys; from persistent_actor import ActorState; "
    program += "print(ActorState(sys.argv[1]).get('n', 7))"
    env = os.environ | {"SSL_CERT_FILE": str(tls_server.directory / "ca.crt")}
    opened = subprocess.run(
        [sys.executable, "-c", program, url], env=env, capture_output=True, text=True
    )
    assert opened.stdout == "7\n", opened.stderr
