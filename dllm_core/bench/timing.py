"""Timing of actions, and the rows of a result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from time import perf_counter, process_time
from typing import Any, NamedTuple

Row = dict[str, Any]

CACHED = 200
"""Tokens in the cache before a measured step, as many as a prompt and some turns have."""


def timed(action: Callable[[], object], repeats: int = 7) -> tuple[float, float]:
    """(median wall milliseconds, median CPU milliseconds) of `action`, after a warm-up run."""
    action()
    wall, cpu = [], []
    for _ in range(repeats):
        begin, begin_cpu = perf_counter(), process_time()
        action()
        wall.append((perf_counter() - begin) * 1e3)
        cpu.append((process_time() - begin_cpu) * 1e3)
    return median(wall), median(cpu)


class Time(NamedTuple):
    """Wall and CPU milliseconds of one run."""

    wall: float
    cpu: float


def in_turn(actions: Sequence[Callable[[], object]], repeats: int = 7) -> list[list[Time]]:
    """Times of every action over `repeats` rounds, after a warm-up run of each.

    Each round runs all actions, so that a machine whose speed varies treats them alike.
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
