from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import pytest

IN_CI = os.environ.get("CI", "") not in ("", "0", "false")
"""In CI every test runs: what it needs is installed, or that is an error."""


def pytest_configure(config: pytest.Config) -> None:
    if not IN_CI:
        return
    tools = ["redis-server", "openssl", "cargo"]
    missing = [f"the program {tool}" for tool in tools if shutil.which(tool) is None]
    modules = ["ray", "numpy", "mypy"]
    missing += [f"the module {name}" for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        pytest.exit(f"CI=true, and {', '.join(missing)} cannot be found", returncode=2)


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if IN_CI and reporter is not None and reporter.stats.get("skipped"):
        reporter.write_line("CI=true, and tests were skipped", red=True)
        session.exitstatus = 1


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where a state can be."""
    return str(tmp_path / "state")
