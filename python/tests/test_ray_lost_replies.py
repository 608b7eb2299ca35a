"""Replies that Ray's own fault injection drops: the call was committed, the caller asks again."""

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

with private_ray():
    from ray_actors import Counter

    counter = Counter.remote(sys.argv[1])
    replies = [get(counter.noted_add.remote(sys.argv[2])) for _ in range(10)]
    print("REPLIES", replies, get(counter.value.remote()), flush=True)
"""


def test_calls_whose_replies_are_dropped_run_once(tmp_path: Path) -> None:
    rule = {"num_failures": 3, "resp_failure_prob": 100}
    failures = json.dumps({"CoreWorkerService.grpc_client.PushTask": rule})
    log = tmp_path / "attempts"
    driver = subprocess.run(
        [sys.executable, "-c", DRIVER, str(tmp_path / "state"), str(log)],
        cwd=os.path.dirname(__file__),
        env=os.environ | {"RAY_testing_rpc_failure": failures},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert driver.returncode == 0, driver.stderr
    assert f"REPLIES {list(range(1, 11))} 10\n" in driver.stdout, driver.stdout
    attempts = [int(line) for line in log.read_text().splitlines()]
    assert len(attempts) > 10 and max(attempts) > 0, "or no reply was dropped"
