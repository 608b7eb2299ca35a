#!/usr/bin/env python3
"""What a durable call costs on Ray, beside Ray's own call and the prototype's method.

    scripts/python-env.sh && target/python-env/bin/python -m pip install './python[benchmark]'
    target/python-env/bin/python python/benchmarks/call_cost.py

Starts a private Ray with one actor of each system (`systems.py`). All systems take turns in one
run, in an order that is shuffled for each turn, so that what changes on the machine hits all of
them. One caller, one call after the other. Prints the median of all calls in microseconds, and
the median over the turns of the ratio to Ray's own call in the same turn.
"""

from __future__ import annotations

import argparse
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

from ray_cluster import private_ray  # noqa: E402

Times = dict[str, list[float]]


def measure(actors: dict[str, Any], call: Callable[[Any], Any], turns: int, calls: int) -> Times:
    """The median time of a call in each turn, per system. Microseconds."""
    import ray

    medians: Times = {name: [] for name in actors}
    for turn in range(turns + 1):
        for name in random.sample(list(actors), len(actors)):
            actor, times = actors[name], []
            for _ in range(calls):
                start = time.perf_counter()
                ray.get(call(actor))
                times.append((time.perf_counter() - start) * 1e6)
            if turn > 0:  # the first one warms up
                medians[name].append(statistics.median(times))
    return medians


def show(title: str, medians: Times, base: str) -> None:
    print(f"\n{title}")
    print(f"{'system':<18}{'median us':>12}{'ratio to ' + base:>24}{'range over turns':>22}")
    for name, times in medians.items():
        ratios = [mine / theirs for mine, theirs in zip(times, medians[base], strict=True)]
        low, high = min(ratios), max(ratios)
        spread = f"{low:.2f} to {high:.2f}"
        middle = statistics.median(ratios)
        print(f"{name:<18}{statistics.median(times):>12.0f}{middle:>24.3f}{spread:>22}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--turns", type=int, default=15, help="turns of each system (15)")
    parser.add_argument("--calls", type=int, default=200, help="small calls a turn (200)")
    parser.add_argument("--large-calls", type=int, default=10, help="large calls a turn (10)")
    parser.add_argument("--only", choices=["small", "large"], help="one part alone")
    parser.add_argument("--dir", help="where the states are (default: /var/tmp)", default="/var/tmp")
    args = parser.parse_args()
    with private_ray(str(HERE)), tempfile.TemporaryDirectory(dir=args.dir) as directory:
        import numpy as np
        import ray
        from systems import LARGE, start

        print(f"Ray {ray.__version__}, Python {platform.python_version()}, {platform.machine()}")
        actors = start(Path(directory))
        if args.only != "large":
            result = measure(actors, lambda actor: actor.small.remote(), args.turns, args.calls)
            show("small call: add 1 to an integer", result, "ray")
        if args.only != "small":
            del actors["ray + fdatasync"]
            turns, calls = args.turns, args.large_calls
            result = measure(actors, lambda actor: actor.large.remote(1), turns, calls)
            show("10 MiB update: all bytes change, a small reply", result, "prototype")
            ones = ray.put(np.ones(LARGE, np.uint8))
            result = measure(actors, lambda actor: actor.large_array.remote(ones), turns, calls)
            show("10 MiB update: an array in, all bytes change, the array out", result, "prototype")


if __name__ == "__main__":
    main()
