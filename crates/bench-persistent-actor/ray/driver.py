"""Runs the benchmark's workload on Ray, started by `bench-persistent-actor --engine ray`.

Each module beside this one has one task: `channel` (the lines to the benchmark), `members` and
`*_actors` (the actors), `rounds` (who is called when), `kills` (faults). What is right and what
is wrong is decided by the benchmark alone.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import threading
import time
import traceback
from typing import Any

MIN_PYTHON = (3, 11)

PACKAGES = {
    "default": ("numpy", "ray"),
    "safe_actor": ("numpy", "ray", "persistent_actor"),
    "prototype": ("numpy", "ray", "sqlitedict"),
}


def missing(system: str) -> list[str]:
    """The packages that the system needs and that are not there."""
    from importlib.util import find_spec

    return [package for package in PACKAGES[system] if find_spec(package) is None]


def check_address(address: str) -> None:
    """Whether somebody listens there: Ray itself would try for minutes."""
    import socket

    if address != "auto":
        host, _, port = address.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def connect(run: dict[str, Any]) -> None:
    """Starts a private cluster, or joins the one that is named."""
    import ray

    if run["address"] is not None:
        check_address(run["address"])
        ray.init(address=run["address"], log_to_driver=False)
        return
    # A token of this cluster alone: Ray would make one in the home directory.
    token = os.path.join(run["temp_dir"], "token")
    with open(os.open(token, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
        file.write(secrets.token_hex(32))
    os.environ["RAY_AUTH_TOKEN_PATH"] = token
    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=False,
        _temp_dir=run["temp_dir"],
    )


def execute(run: dict[str, Any], channel: Any) -> None:
    """The whole run, from the actors' start to their final states."""
    import ray
    from kills import Kills
    from members import start
    from rounds import Log, chain, parallel

    channel.send("cluster", ray=ray.__version__, python=sys.version.split()[0])
    begin_ns = time.monotonic_ns()
    members = start(run)
    ready_ns = time.monotonic_ns()
    pids = [member.pid for member in members]
    channel.send("started", begin_ns=begin_ns, ready_ns=ready_ns, pids=pids)
    log = Log(channel)
    kills = Kills(run, members, log)
    workload = chain if run["workload"] == "chain" else parallel
    duration_ns = workload(run, members, log, kills)
    log.tell()
    states = [member.examine() for member in members]
    restarts = 0
    for member in members:
        pid = member.ask_pid()
        restarts += member.restarts + (pid != member.pid)
        member.pid = pid
    pids = [member.pid for member in members]
    channel.send("done", duration_ns=duration_ns, states=states, pids=pids, restarts=restarts)


def end_with_the_benchmark(run: dict[str, Any], channel: Any, over: threading.Event) -> None:
    """The benchmark is gone or wants no more: before the end of the run, nothing is waited for."""
    from orphans import end_all

    channel.wait_for_end()
    if not over.is_set():
        if run["address"] is None:
            end_all()
            shutil.rmtree(run["temp_dir"], ignore_errors=True)
        os._exit(1)


def main() -> None:
    if sys.version_info < MIN_PYTHON:
        # The other modules may not even be readable for this Python.
        print('{"type":"error","reason":"python","message":"%d.%d"}' % sys.version_info[:2])
        return
    from channel import Channel

    channel = Channel()
    sys.set_int_max_str_digits(0)
    run = channel.receive()
    packages = missing(run["system"])
    if packages:
        channel.fail("missing", " ".join(packages))
        return
    import ray

    done = threading.Event()
    watcher = threading.Thread(
        target=end_with_the_benchmark, args=(run, channel, done), daemon=True
    )
    watcher.start()
    try:
        try:
            connect(run)
        except Exception as error:
            channel.fail("connect", f"{type(error).__name__}: {error}")
            return
        try:
            execute(run, channel)
        except Exception as error:
            traceback.print_exc()
            channel.fail("failed", f"{type(error).__name__}: {error}")
            return
        # The benchmark looks at the actors' processes, then it closes the pipe.
        done.set()
        watcher.join()
    finally:
        done.set()
        ray.shutdown()
        if run["address"] is None:
            shutil.rmtree(run["temp_dir"], ignore_errors=True)


if __name__ == "__main__":
    main()
