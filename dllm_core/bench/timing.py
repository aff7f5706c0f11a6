"""How a measurement is taken and what it is written into."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from time import perf_counter, process_time
from typing import Any, NamedTuple

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


class Time(NamedTuple):
    """What one run took, in milliseconds."""

    wall: float
    cpu: float


def in_turn(actions: Sequence[Callable[[], object]], repeats: int = 7) -> list[list[Time]]:
    """Times of every action, after one run each that does not count.

    Each round runs all of them: a machine whose speed varies is as fast for one as for another.
    """
    for action in actions:
        action()
    found: list[list[Time]] = [[] for _ in actions]
    for _ in range(repeats):
        for times, action in zip(found, actions, strict=True):
            begin, begin_cpu = perf_counter(), process_time()
            action()
            times.append(Time((perf_counter() - begin) * 1e3, (process_time() - begin_cpu) * 1e3))
    return found
