"""Passes of the default model over few rows: what a row more costs, by the clock.

    python benchmarks/narrow_passes.py [MODEL.gguf] [--rows 1 2 3 4 6 8] [--cached 100 300]
                                       [--threads 1 2] [--repeats 60] [--json]

Passes of all numbers of rows take turns, so that a busy moment of the machine falls on all of them.
``ms`` is the median, ``least`` the shortest, ``to_one_row`` and ``least_to_one_row`` are their
ratios to one row. A pass ends with the likeliest token of every row. The model is the default one
unless a GGUF file is named.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter

import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from agent.models import store  # noqa: E402
from dllm_core import Engine  # noqa: E402
from dllm_core.bench.timing import Row  # noqa: E402
from dllm_core.decode.calibrate import step_over  # noqa: E402

MODEL = "smollm2-135m-instruct"


def passes(engine: Engine, rows: Sequence[int], cached: int, repeats: int) -> Iterator[Row]:
    """A row for each number of rows, with torch's number of threads."""
    actions = [step_over(engine.model, count, cached + count, engine.context) for count in rows]
    times: list[list[float]] = [[] for _ in rows]
    for action in actions:
        action()
    for _ in range(repeats):
        for action, own in zip(actions, times, strict=True):
            begin = perf_counter()
            action()
            own.append((perf_counter() - begin) * 1e3)
    for count, own in zip(rows, times, strict=True):
        yield {
            "threads": torch.get_num_threads(),
            "cached": cached,
            "rows": count,
            "ms": round(median(own), 2),
            "least": round(min(own), 2),
            "to_one_row": round(median(own) / median(times[0]), 2),
            "least_to_one_row": round(min(own) / min(times[0]), 2),
        }


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, nargs="?", help="a GGUF file")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 2, 3, 4, 6, 8])
    parser.add_argument("--cached", type=int, nargs="+", default=[100, 300])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    given = parser.parse_args()
    path = given.model or store.locate(MODEL)
    engine = Engine.load(path, dtype="int4", device="cpu", threads=max(given.threads))
    for threads in given.threads:
        torch.set_num_threads(threads)
        for cached in given.cached:
            for row in passes(engine, given.rows, cached, given.repeats):
                line = "  ".join(f"{name} {value}" for name, value in row.items())
                print(json.dumps(row) if given.json else line, flush=True)


if __name__ == "__main__":
    main()
