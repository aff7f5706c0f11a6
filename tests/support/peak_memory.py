"""Loads a checkpoint and prints the highest memory this process ever had, as JSON, in bytes.

python peak_memory.py SOURCE DTYPE
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import torch

from dllm_core import Engine


def peak() -> int:
    """Of this program alone; the usage that the kernel counts begins with the parent's."""
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def held(module: torch.nn.Module) -> int:
    """Bytes of all weights in the form in which they are used."""
    embedding = getattr(module.embedding, "raw", torch.empty(0))
    return sum(t.nbytes for t in (*module.parameters(), *module.buffers(), embedding))


if __name__ == "__main__":
    torch.set_num_threads(1)
    engine = Engine.load(sys.argv[1], dtype=sys.argv[2])  # type: ignore[arg-type]
    print(json.dumps({"peak": peak(), "weights": held(engine.model)}))
