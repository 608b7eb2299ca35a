"""A private Ray for a test module: its own temporary directory, no telemetry, and nothing left
of it afterwards."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Read by Ray when it is imported and inherited by all its processes.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"

HERE = str(Path(__file__).parent)


TOKEN = "RAY_AUTH_TOKEN_PATH"
_SECRET = secrets.token_hex(32)


def cluster_token(directory: str) -> None:
    """A token for the clusters of this process alone: without it Ray would make one in the home
    directory. One for all of them, because Ray reads it once."""
    token = Path(directory) / "token"
    token.touch(mode=0o600)
    token.write_text(_SECRET)
    os.environ[TOKEN] = str(token)


@contextmanager
def private_ray(*paths: str, **env: str) -> Iterator[str]:
    """Starts Ray with these environment variables; its actors find modules in `paths`. Gives its
    temporary directory."""
    # Sockets lie in it, and their paths may not be longer than 107 bytes.
    directory = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    before = {name: os.environ.get(name) for name in (TOKEN, *env)}
    os.environ.update(env)
    cluster_token(directory)
    import ray

    try:
        ray.init(
            address="local",
            num_cpus=4,
            include_dashboard=False,
            log_to_driver=False,
            _temp_dir=directory,
            runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join([HERE, *paths])}},
            object_store_memory=256 * 1024 * 1024,
        )
        yield directory
    finally:
        ray.shutdown()
        shutil.rmtree(directory, ignore_errors=True)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def get(refs: Any, timeout: float = 120) -> Any:
    """`ray.get` that gives up instead of hanging."""
    import ray

    return ray.get(refs, timeout=timeout)
