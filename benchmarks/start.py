"""Time from the command ``onebreath serve`` to its first line with an address.

    python benchmarks/start.py [TREE...] [--runs 5] [--json]

Several trees, such as a work tree of an older commit, take turns, so that a busy moment does not
fall on one of them alone. ``ready_s`` is the wall clock; ``cpu_s`` the processor's time of the
server and of its voice's process, the end included. Every tree is started once before, which
compiles its Python files and packs its weights.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
from pathlib import Path
from time import perf_counter

ROOT = Path(__file__).parents[1]


def start(tree: Path) -> dict[str, object]:
    """Start a server, stop it as soon as it listens; raises RuntimeError if it does not."""
    unset = ("PYTHONDONTWRITEBYTECODE",)
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    before, begin = _children(), perf_counter()
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "onebreath", "serve", "--port", "0"],
        cwd=tree,
        env={**kept, "PYTHONPATH": str(tree)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as server:
        assert server.stdout is not None
        said = []
        for line in server.stdout:
            said.append(line)
            if "http://" in line:
                break
        ready = perf_counter() - begin
        server.send_signal(signal.SIGINT)
        server.communicate()
    if "http://" not in said[-1]:
        raise RuntimeError("".join(said))
    cpu = _children() - before
    load = round(os.getloadavg()[0], 1)
    return {"tree": str(tree), "ready_s": round(ready, 2), "cpu_s": round(cpu, 2), "load": load}


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Print a row for each start, or the medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("trees", type=Path, nargs="*", default=[ROOT])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print a JSON line for each start")
    given = parser.parse_args()
    trees = [tree.resolve() for tree in given.trees]
    for tree in trees:
        start(tree)
    rows = [start(tree) for _ in range(given.runs) for tree in trees]
    if given.json:
        print("\n".join(json.dumps(row) for row in rows))
        return
    for tree in trees:
        own = [row for row in rows if row["tree"] == str(tree)]
        ready, cpu = (statistics.median(float(str(row[key])) for row in own) for key in KEYS)
        print(f"{tree}: ready after {ready:.2f} s, {cpu:.2f} s of the processor ({len(own)} runs)")


KEYS = ("ready_s", "cpu_s")

if __name__ == "__main__":
    main()
