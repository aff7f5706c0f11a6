"""Threads of the engines: each engine's share of the cores, and sleeping instead of spinning.

Three libraries bring thread pools of their own (PyTorch, CTranslate2, ONNX Runtime).
Pools that spin while they wait take the cores from the one that works, which makes
single steps of a small model many times slower on a small machine. Hence two rules:
each engine gets its share, and a waiting thread sleeps.
"""

from __future__ import annotations

import math
import os
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path

from agent.errors import ConfigError

SMALL_MODEL_THREADS = 4
"""Threads beyond which a model of some 100 M parameters becomes slower."""

CALM = {
    "OMP_WAIT_POLICY": "PASSIVE",  # every OpenMP runtime: sleep at barriers
    # GNU's: spin some 50 us before sleeping. A forward pass has hundreds of barriers shorter
    # than that; sleeping at each of them made one step of the default model take 75 ms, not 40.
    "GOMP_SPINCOUNT": "20000",
    "KMP_BLOCKTIME": "0",  # Intel's and LLVM's: sleep 0 ms after the last work
    "TOKENIZERS_PARALLELISM": "false",  # a prompt of one call is too short to be split
}
"""Environment in which idle workers sleep. Runtimes read it once, when they are loaded."""

_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


@dataclass(frozen=True, slots=True)
class ThreadPlan:
    """Threads for each engine.

    Recogniser and responder alternate on one compute thread, so the responder may use every core.
    The recogniser takes half: its decoder loses with more threads what its encoder gains, and the
    reply that follows was measured a third slower beside the larger pool. The synthesiser works
    in its own process, at the same time as both.
    """

    asr: int
    responder: int
    tts: int

    @property
    def peak(self) -> int:
        """The largest number of threads that are busy at the same time."""
        return max(self.asr, self.responder) + self.tts


def calm(env: MutableMapping[str, str] = os.environ) -> None:
    """Make waiting threads sleep, by `CALM`; call it before any engine is imported.

    Variables that the user has set stay as they are.
    """
    for name, value in CALM.items():
        env.setdefault(name, value)


def plan(
    cores: int,
    *,
    asr: int | None = None,
    responder: int | None = None,
    tts: int | None = None,
) -> ThreadPlan:
    """Divide ``cores`` among the engines; a given number of threads is kept as it is.

    Raises:
        ConfigError: a number is below one.
    """
    share = min(max(cores, 1), SMALL_MODEL_THREADS)
    half = max(1, min(cores // 2, SMALL_MODEL_THREADS))
    chosen = {"asr": asr, "responder": responder, "tts": tts}
    for engine, threads in chosen.items():
        if threads is not None and threads < 1:
            raise ConfigError(f"{engine} threads must be at least 1, not {threads}")
    return ThreadPlan(asr=asr or half, responder=responder or share, tts=tts or 1)


def cores() -> int:
    """Cores that this process may really use: its affinity, cut by a container's quota."""
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        allowed = os.cpu_count() or 1
    try:
        quota = parse_quota(_CGROUP_QUOTA.read_text())
    except OSError:  # no control groups here
        quota = None
    return allowed if quota is None else min(allowed, quota)


def parse_quota(text: str) -> int | None:
    """Cores granted by cgroup v2's ``cpu.max`` ("max 100000" or "150000 100000")."""
    quota, period = text.split()
    return None if quota == "max" else max(1, math.ceil(int(quota) / int(period)))
