"""Median times of work on a device, and its energy in joules."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from time import perf_counter

import torch

from agent.bench.energy import NvmlMeter

Work = Callable[[], object]

WARM_UPS = 2


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def device_ms(work: Work, device: torch.device, repeats: int) -> float:
    """Median of CUDA events around `work`, which only queues; wall time on a CPU."""
    for _ in range(WARM_UPS):
        work()
    synchronize(device)
    return statistics.median(_once(work, device) for _ in range(repeats))


def _once(work: Work, device: torch.device) -> float:
    if device.type != "cuda":
        begin = perf_counter()
        work()
        return (perf_counter() - begin) * 1e3
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    work()
    last.record()
    last.synchronize()
    return float(first.elapsed_time(last))


def wall_ms(work: Work, device: torch.device, repeats: int) -> float:
    """Median wall time of `work`, host and device together."""
    for _ in range(WARM_UPS):
        work()
    times = []
    for _ in range(repeats):
        synchronize(device)
        begin = perf_counter()
        work()
        synchronize(device)
        times.append((perf_counter() - begin) * 1e3)
    return statistics.median(times)


def joules_per_token(work: Work, tokens: int, device: torch.device, seconds: float) -> float | None:
    """Joules per token of all GPUs together, idle power included, while `work` runs repeatedly.

    Returns None without an NVML counter.
    """
    meter = NvmlMeter.find() if device.type == "cuda" else None
    if meter is None:
        return None
    synchronize(device)
    runs, begin, before = 0, perf_counter(), meter.joules()
    while perf_counter() - begin < seconds:
        work()
        synchronize(device)
        runs += 1
    return (meter.joules() - before) / (runs * tokens)
