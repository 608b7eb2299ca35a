"""A whole node is lost with its actor, or hangs and goes on later; the state is in Redis."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install 'ray>=2.40'")

from redis_server import RedisServer, is_installed  # noqa: E402

from persistent_actor import ActorState  # noqa: E402

pytestmark = pytest.mark.ray
needs_redis = pytest.mark.skipif(not is_installed(), reason="redis-server is not installed")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    yield server
    server.kill()


def play(scene: str, *arguments: str) -> list[str]:
    """What a scene printed."""
    script = str(Path(__file__).with_name("node_scenes.py"))
    command = [sys.executable, script, scene, *arguments]
    played = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert played.returncode == 0, played.stdout + played.stderr
    return played.stdout.splitlines()


@needs_redis
def test_when_a_node_is_lost_with_its_actor_nothing_is_lost_or_doubled(server: RedisServer) -> None:
    printed = play("loss", server.url("node-loss"))
    assert "MOVED True" in printed, printed
    assert f"REPLIES {list(range(1, 11))} 10" in printed, printed
    assert "LARGE [[1], [2]]" in printed, "replies that were lost with the node are asked for again"
    assert "ARRAY 3" in printed, "and answered from the ledger: nothing ran twice"


@needs_redis
def test_a_node_that_hangs_and_goes_on_after_the_failover_is_fenced(
    server: RedisServer, tmp_path: Path
) -> None:
    printed = play("zombie", server.url("zombie"), str(tmp_path))
    assert "MOVED True" in printed, printed
    assert "ZOMBIE fenced" in printed, printed
    assert f"REPLIES {list(range(1, 13))} 12" in printed, printed


def test_a_local_state_is_not_begun_anew_on_a_node_that_does_not_have_it(tmp_path: Path) -> None:
    path = str(tmp_path / "state")
    ActorState(f"{path} of an older run").update([("counter", 100)])
    printed = play("elsewhere", path)
    errors = [line for line in printed if line.startswith("ERROR ")]
    assert [line for line in printed if line.startswith("REPLY ")] == ["REPLY 5"], printed
    assert len(errors) == 2, printed
    assert f"there is no state at '{path}': it was last opened on another node (" in errors[0]
    assert f"the state at '{path}' is another one: it was last" in errors[1]
    assert "keep the state in Redis" in errors[0]
