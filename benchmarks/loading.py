"""Time and memory of loading a model: packed for the first time, then from its kept file.

    python benchmarks/loading.py MODEL.gguf... [--json]

``python -m dllm_core.bench.geometry`` writes files of published sizes. Each load is a process of
its own, with an empty directory for packed weights: ``first`` packs and keeps them, ``second`` maps
them. ``cpu_s`` and ``wall_s`` are those of ``Engine.load``; ``peak_mb`` is the most memory of the
process above what it had before, pages of mapped files included; ``weights_mb`` are the weights in
the form in which they are used. ``read_twice`` is the time to read the file twice when it is in the
system's cache.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))


def _memory(field: str) -> int:
    found = re.search(rf"{field}:\s*(\d+) kB", Path("/proc/self/status").read_text())
    return 0 if found is None else int(found[1]) * 1024


def load(path: str, packed: str) -> dict[str, Any]:
    """Load a model in this process."""
    import torch

    from dllm_core import Engine
    from dllm_core.model import packed_weights  # noqa: F401 (what it imports is not measured)

    torch.set_num_threads(1)
    before, cpu, wall = _memory("VmRSS"), process_time(), perf_counter()
    engine = Engine.load(path, device="cpu", packed=packed)
    cpu, wall = process_time() - cpu, perf_counter() - wall
    model = engine.model
    embedding = getattr(model.embedding, "raw", torch.empty(0))
    held = sum(t.nbytes for t in (*model.parameters(), *model.buffers(), embedding))
    peak = _memory("VmHWM") - before
    times = {"cpu_s": round(cpu, 2), "wall_s": round(wall, 2)}
    return {**times, "peak_mb": round(peak / 1e6), "weights_mb": round(held / 1e6)}


def read_twice(path: Path) -> dict[str, Any]:
    """Read a file that is in the system's cache."""
    path.read_bytes()
    cpu, wall = process_time(), perf_counter()
    for _ in range(2):
        path.read_bytes()
    return {"cpu_s": round(process_time() - cpu, 2), "wall_s": round(perf_counter() - wall, 2)}


def _in_a_process(path: Path, packed: str) -> dict[str, Any]:
    command = [sys.executable, __file__, str(path), "--packed", packed]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--packed", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    given = parser.parse_args()
    if given.packed is not None:
        print(json.dumps(load(str(given.models[0]), given.packed)))
        return
    for path in given.models:
        with TemporaryDirectory() as packed:
            rows = {"read_twice": read_twice(path)}
            rows |= {what: _in_a_process(path, packed) for what in ("first", "second")}
        for what, row in rows.items():
            found = {"model": path.stem, "what": what, **row}
            line = "  ".join(f"{name} {value}" for name, value in found.items())
            print(json.dumps(found) if given.json else line, flush=True)


if __name__ == "__main__":
    main()
