"""Ray's own fault injection: requests and replies that are dropped, and calls that Ray takes for
failed while they still run. The caller asks again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install 'ray>=2.40'")

pytestmark = pytest.mark.ray

# A process of its own: Ray reads the rules once.
DRIVER = """
import sys
from ray_cluster import get, private_ray

path, log, seconds, threads, calls = sys.argv[1:]
with private_ray():
    from ray_actors import Counter

    counter = Counter.options(max_concurrency=int(threads)).remote(path)
    replies = [get(counter.noted_add.remote(log, float(seconds))) for _ in range(int(calls))]
    print("REPLIES", replies, get(counter.value.remote()), flush=True)
"""


def attempts(tmp_path: Path, fault: str, *, seconds: float, threads: int, calls: int) -> list[str]:
    """Makes calls of which some suffer the fault, checks that each ran once, and gives the
    attempts at them."""
    rule = {"num_failures": 3, fault: 100}
    failures = json.dumps({"CoreWorkerService.grpc_client.PushTask": rule})
    log = tmp_path / "attempts"
    arguments = [tmp_path / "state", log, seconds, threads, calls]
    driver = subprocess.run(
        [sys.executable, "-c", DRIVER, *map(str, arguments)],
        cwd=os.path.dirname(__file__),
        env=os.environ | {"RAY_testing_rpc_failure": failures},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert driver.returncode == 0, driver.stderr
    assert f"REPLIES {list(range(1, calls + 1))} {calls}\n" in driver.stdout, driver.stdout
    noted = log.read_text().splitlines()
    assert noted.count("run") == calls, "one run of each call"
    return [line for line in noted if line != "run"]


def test_calls_whose_replies_are_dropped_run_once(tmp_path: Path) -> None:
    found = attempts(tmp_path, "resp_failure_prob", seconds=0, threads=1, calls=10)
    assert len(found) > 10 and "attempt 1" in found, "or no reply was dropped"


@pytest.mark.parametrize("threads", [1, 4])
def test_a_retry_that_comes_while_the_first_attempt_runs_gets_its_reply(
    tmp_path: Path, threads: int
) -> None:
    # A second is longer than Ray takes to ask again after a request that it takes for failed.
    found = attempts(tmp_path, "in_flight_failure_prob", seconds=1, threads=threads, calls=3)
    assert len(found) > 3 and "attempt 1" in found, "or Ray did not ask again"
