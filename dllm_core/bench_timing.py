"""How a measurement is taken and what it is written into."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter, process_time
from typing import Any

Row = dict[str, Any]

CACHED = 200
"""Tokens in the cache before a measured step: a prompt and some turns."""


def timed(action: Callable[[], object], repeats: int = 7) -> tuple[float, float]:
    """Median wall and CPU milliseconds of `action`, after one run that does not count."""
    action()
    wall, cpu = [], []
    for _ in range(repeats):
        begin, begin_cpu = perf_counter(), process_time()
        action()
        wall.append((perf_counter() - begin) * 1e3)
        cpu.append((process_time() - begin_cpu) * 1e3)
    return median(wall), median(cpu)
