"""The examples, what the guide shows of them, and programs in the prototype's conventions."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install 'ray>=2.40'")

import ray_cluster  # noqa: E402

pytestmark = pytest.mark.ray

PYTHON = Path(__file__).parent.parent
GUIDES = [PYTHON.parent / "docs" / "ray.md", PYTHON / "README.md"]

SMALL = """
4376166261294246568712 4345204390228476225542 4311857260632557534559 4248003253420391355625
4154094142911473688466 4030794346678718780874 3878976224719109738752 3699713907408214891594
3494275695906480953106 3264115088785277874071 3010860498360320309532 2736303729490559231279
2442387302356334786891 2131190708909560431022 1804915700233101331425 1465870708902939509358
1116454516566673930980 759139282292086260473 396453051762129634088 368095497964275528657
"""
LARGE = "8 6 95 233 146 202 0 74 18 151 28 47 75 174 225 110 228 249 40 209"


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """An environment in which programs start a Ray of their own, of which nothing stays."""
    directory = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    monkeypatch.setenv(ray_cluster.TOKEN, "")
    ray_cluster.cluster_token(directory)
    # The programs' own temporary files, too: to see that none is left.
    os.mkdir(f"{directory}/tmp")
    yield os.environ | {"RAY_TMPDIR": directory, "TMPDIR": f"{directory}/tmp"}
    shutil.rmtree(directory, ignore_errors=True)


def run(env: dict[str, str], program: Path, *arguments: str) -> list[str]:
    """The lines that a program prints."""
    command = [sys.executable, str(program), *arguments]
    ran = subprocess.run(command, env=env, capture_output=True, text=True, timeout=400)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return [line for line in ran.stdout.splitlines() if "(raylet)" not in line]


def test_the_demo_counts_on_in_one_file_and_leaves_nothing(env: dict[str, str]) -> None:
    assert run(env, PYTHON / "examples" / "demo.py") == ["1", "2", "3"]
    assert os.listdir(env["TMPDIR"]) == []


def test_the_guides_example_prints_what_the_guide_says(env: dict[str, str], path: str) -> None:
    example = PYTHON / "examples" / "visits.py"
    assert run(env, example, path) == ["[1, 2, 3]", "4"]
    assert run(env, example, path) == ["[5, 6, 7]", "8"]


def test_the_example_of_calls_between_actors_ships_each_order_once(
    env: dict[str, str], tmp_path: Path
) -> None:
    assert run(env, PYTHON / "examples" / "orders.py", str(tmp_path)) == [
        "apple is order 1, 9 left",
        "Outcome(status='committed', reply='apple is order 1, 9 left')",
        "pear is order 2, 9 left",
        "pear is order 2, 9 left",
        "Outcome(status='committed', reply='pear is order 2, 9 left')",
        "Outcome(status='unknown', reply=None)",
    ]
    assert (tmp_path / "died").exists(), "or nothing died"


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_the_guides_show_code_that_is_python_and_examples_as_they_are(guide: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", guide.read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        compile(block, guide.name, "exec")
    whole = [block for block in blocks if "ray.init(" in block]
    examples = [file.read_text() for file in (PYTHON / "examples").glob("*.py")]
    assert all(block in examples for block in whole), "a program that no test runs"


def test_the_prototypes_benchmark_ends_in_the_golden_states(env: dict[str, str]) -> None:
    printed = run(env, PYTHON / "tests" / "prototype_benchmark.py", "--delay-ms=10")
    final = [line.removeprefix("FINAL ") for line in printed if line.startswith("FINAL ")]
    assert final == SMALL.split()


def test_the_prototypes_large_benchmark_ends_in_the_golden_states(env: dict[str, str]) -> None:
    printed = run(env, PYTHON / "tests" / "prototype_benchmark.py", "--delay-ms=10", "--large")
    final = [line.removeprefix("FINAL ") for line in printed if line.startswith("FINAL ")]
    assert final == LARGE.split()
    assert os.listdir(env["TMPDIR"]) == [], "nothing is left"
