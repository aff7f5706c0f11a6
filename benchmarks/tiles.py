"""Passes of few rows with tiles (AMX) and with vectors, in turn: the milliseconds of each.

    python benchmarks/tiles.py [MODEL.gguf] [--rows 1 2 4 8] [--cached 300] [--threads 1] [--json]

The model is the default one unless a GGUF file is named. ``"what": "pass"`` is a whole pass behind
cached positions with the likeliest token of every row; ``products`` are all its matrices but the
head with attention, ``head`` is the vocabulary; the rest is Python's and torch's. One thread is
measured by its CPU time, several by the wall clock. ``to_one_row`` is the time over that of one
row. Fewer than three rows run in vectors either way.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from agent.models import store  # noqa: E402
from dllm_core import Engine  # noqa: E402
from dllm_core.bench.timing import Row  # noqa: E402
from dllm_core.cpu import jit, product, team  # noqa: E402
from dllm_core.decode.calibrate import step_over  # noqa: E402
from dllm_core.model.packed_transformer import PackedTransformer  # noqa: E402

MODEL = "smollm2-135m-instruct"
KINDS = {"vectors": 1 << 30, "tiles": product._TILED}
"""Least rows that are multiplied by tiles."""


class Clock:
    """Milliseconds of whole passes and, of them, of the programs and of single kernels."""

    def __init__(self, threads: int) -> None:
        self._now = process_time if threads == 1 else perf_counter
        self.spent = {"ms": 0.0, "products": 0.0, "head": 0.0}

    def around(self, part: str, work: Callable[..., object]) -> Callable[..., None]:
        """The same work, whose time is added to a part."""

        def timed(*arguments: object) -> None:
            begin = self._now()
            work(*arguments)
            self.spent[part] += (self._now() - begin) * 1e3

        return timed

    def take(self) -> dict[str, float]:
        """The times since the last call."""
        found, self.spent = self.spent, dict.fromkeys(self.spent, 0.0)
        return found


def passes(
    engine: Engine, rows: list[int], cached: int, clock: Clock, repeats: int
) -> Iterator[Row]:
    """A row for each number of rows and kind of product."""
    model = engine.model
    if not isinstance(model, PackedTransformer):
        raise SystemExit("this model has no layers that the kernels multiply")
    found: dict[tuple[int, str], list[dict[str, float]]] = {}
    actions = {}
    for count in rows:
        for kind, least in KINDS.items():
            product._TILED = least
            model._begin()  # a program keeps the kernels that it was made with
            action = step_over(model, count, cached + count, engine.context)
            action()
            actions[count, kind] = (least, action, model._passes, model._tables)
    clock.take()
    for _ in range(repeats):
        for key, (product._TILED, action, model._passes, model._tables) in actions.items():
            clock.around("ms", action)()
            found.setdefault(key, []).append(clock.take())
    base = median(times["ms"] for times in found[rows[0], "vectors"])
    for (count, kind), times in found.items():
        parts = {name: round(median(each[name] for each in times), 2) for name in times[0]}
        ratio = round(parts["ms"] / base, 2)
        label: Row = {"what": "pass", "rows": count, "cached": cached, "kind": kind}
        yield label | parts | {"to_one_row": ratio}


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, nargs="?", help="a GGUF file")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--cached", type=int, default=300)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    given = parser.parse_args()
    if not jit.tiles():
        raise SystemExit("this processor multiplies no tiles, or the system does not permit it")
    path = given.model or store.locate(MODEL)
    engine = Engine.load(path, dtype="int4", device="cpu", threads=given.threads)
    clock = Clock(given.threads)
    team.Program.run = clock.around("products", team.Program.run)  # type: ignore[method-assign]
    team.run = clock.around("head", team.run)
    for row in passes(engine, given.rows, given.cached, clock, given.repeats):
        line = "  ".join(f"{name} {value}" for name, value in row.items())
        print(json.dumps(row) if given.json else line, flush=True)


if __name__ == "__main__":
    main()
