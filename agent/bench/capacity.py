"""``onebreath bench capacity``: how many calls at once this machine answers in time.

Callers play spoken questions in real time to a real server and wait for each reply, as people do.
The number of calls is doubled until the latency is over its limit, then halved in between. The
callers run on the same machine; each row tells what they took of it.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from agent.bench.figures import Progress
from agent.bench.questions import bundled
from agent.bench.server_process import cpu_seconds, proportional, running_server
from agent.errors import CallError
from agent.latency.connection import AgentConnection
from agent.latency.connection_factory import ConnectionFactory
from agent.latency.estimate import quantile
from agent.latency.load import LoadTest
from agent.latency.plan import LoadPlan
from agent.latency.question import SpokenQuestion
from agent.latency.realtime import RealtimeConnection
from agent.latency.results import TurnResult
from agent.latency.summary import BUSY_MS
from agent.runtime.threads import cores

MAX_TURNS = 10_000
"""Turns of a call: none hangs up before the end."""
SETTLE_SECONDS = 3.0
"""Pause after each number of calls; the work of calls that were given up is over then."""
WARM_SECONDS = 10.0
"""Seconds before each measurement, for the first turn of each call, which does not count."""
MEMORY_AT = 0.8
"""Share of a measurement after which memory is read, once: it takes time itself."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What a number of calls at once was answered with.

    Attributes:
        calls: calls at once.
        turns: their measured turns, without warm-up.
        server_cpu: CPU time of the server, in shares of the whole machine (0 to 1); None where it
            is not ours.
        callers_cpu: the same of the callers.
        memory: memory of all processes of the server in gigabytes, shared pages divided among
            those that share them (PSS); None where the system does not tell.
        failure: why the calls could not be held at all, or no turn of them counts; empty if they
            were.
    """

    calls: int
    turns: Sequence[TurnResult]
    server_cpu: float | None = 0.0
    callers_cpu: float = 0.0
    memory: float | None = None
    failure: str = ""

    @property
    def errors(self) -> int:
        """Turns without a complete reply; one more where nothing was measured."""
        return sum(turn.error is not None for turn in self.turns) + bool(self.failure)

    @property
    def first_error(self) -> str | None:
        """The first of them as text; None where there is none."""
        told = [turn.error for turn in self.turns if turn.error is not None]
        return next(iter(told), self.failure or None)

    @property
    def callers_late(self) -> bool:
        """Whether the callers were too busy to speak in time, so that they bound the figure."""
        late = [turn.frame_late_ms for turn in self.turns]
        return bool(late) and _percentile(late, 0.95) > BUSY_MS

    def latency(self, share: float) -> float | None:
        """A percentile of voice to voice in milliseconds; None without any answer."""
        heard = [turn.voice_to_voice_ms for turn in self.turns]
        known = [ms for ms in heard if ms is not None]
        return _percentile(known, share) if known else None

    def met(self, limit_ms: float) -> bool:
        """Whether all turns were answered, and 95 % of them within ``limit_ms``."""
        p95 = self.latency(0.95)
        return self.errors == 0 and p95 is not None and p95 <= limit_ms

    def row(self, workers: int | None, limit_ms: float) -> dict[str, Any]:
        """The figures as a JSON row."""
        p50, p95 = self.latency(0.5), self.latency(0.95)
        return {
            "what": "trial",
            "workers": workers,
            "calls": self.calls,
            "turns": len(self.turns),
            "v2v_p50_ms": None if p50 is None else round(p50, 1),
            "v2v_p95_ms": None if p95 is None else round(p95, 1),
            "errors": self.errors,
            "first_error": self.first_error,
            "server_cpu": None if self.server_cpu is None else round(self.server_cpu, 3),
            "callers_cpu": round(self.callers_cpu, 3),
            "pss_gb": None if self.memory is None else round(self.memory, 3),
            "callers_late": self.callers_late,
            "met": self.met(limit_ms),
        }


def _percentile(values: Sequence[float], share: float) -> float:
    return float(quantile(np.asarray(values, np.float64), share))


def most_that_pass(passes: Callable[[int], bool], most: int) -> int:
    """The largest number up to ``most`` that passes, if all below a number that passes do, too.

    Numbers are doubled from 1 on until one fails, then the gap is halved; none is tried twice.

    Returns:
        0 if not even 1 passes.
    """
    good, bad = 0, most + 1
    while good < most and bad > most:
        number = min(most, max(1, 2 * good))
        if passes(number):
            good = number
        else:
            bad = number
    while bad - good > 1 and bad <= most:
        middle = (good + bad) // 2
        if passes(middle):
            good = middle
        else:
            bad = middle
    return good


@dataclass(frozen=True, slots=True)
class Search:
    """What is searched for, and how long.

    Attributes:
        limit_ms: voice to voice in milliseconds that 95 % of the turns must not exceed.
        most: largest number of calls that is tried.
        seconds: duration of the measurement at each number.
    """

    limit_ms: float
    most: int
    seconds: float


Take = Callable[[dict[str, Any]], None]
"""Takes a row as soon as it is there."""


def run_capacity_bench(
    workers: Sequence[int],
    search: Search,
    config: Path | None,
    take: Take,
    progress: Progress,
) -> None:
    """Find the capacity of a server with each number of worker processes.

    Args:
        workers: numbers of processes, one server after the other.
        config: settings file of the server.
        take: takes a row for each number that is tried, and one for each number of processes.
        progress: called with a description of each step.

    Raises:
        CallError: the server does not start, or answers not even one call.
    """
    questions = bundled()
    for count in workers:
        variables = {
            "ONEBREATH_SERVER__WORKERS": str(count),
            "ONEBREATH_SERVER__MAX_CALLS": str(max(search.most, count)),
            # Each caller has an address of its own, as behind a proxy on this machine.
            "ONEBREATH_SERVER__TRUSTED_PROXIES": '["127.0.0.1"]',
            "ONEBREATH_LOG_LEVEL": "error",
        }
        server = running_server(progress, config=config, variables=variables)
        with server as (port, process):
            progress(f"{count} processes: the first calls, which do not count")
            url = f"ws://127.0.0.1:{port}/v1/realtime"
            callers = Callers(connections(url), process, questions, search.seconds)
            callers.warm_up(count)
            find_capacity(callers.hold, count, search, take, progress)


def run_capacity_bench_of(
    agent: ConnectionFactory, search: Search, take: Take, progress: Progress
) -> None:
    """Find the capacity of an agent that runs already, here or elsewhere.

    Raises:
        CallError: it answers not even one call.
    """
    callers = Callers(agent.new_connection, None, bundled(), search.seconds)
    callers.warm_up(1)
    find_capacity(callers.hold, None, search, take, progress)


def find_capacity(
    hold: Callable[[int], Trial],
    workers: int | None,
    search: Search,
    take: Take,
    progress: Progress,
) -> None:
    """Try numbers of calls with ``hold``; the last row holds what was found.

    Args:
        workers: number of processes of the server; None where it is not ours.
    """
    tried: list[Trial] = []
    where = "" if workers is None else f"{workers} processes, "

    def passes(calls: int) -> bool:
        before = f", {tried[-1].calls} had p95 {_shown(tried[-1])}" if tried else ""
        progress(f"{where}{calls} calls at once{before}")
        tried.append(trial := hold(calls))
        take(trial.row(workers, search.limit_ms))
        return trial.met(search.limit_ms)

    calls = most_that_pass(passes, search.most)
    found = {"what": "capacity", "workers": workers, "calls": calls}
    take({**found, "limit_ms": search.limit_ms, "bounded": calls == search.most})


def _shown(trial: Trial) -> str:
    p95 = trial.latency(0.95)
    return "no answer" if p95 is None else f"{p95:.0f} ms"


@dataclass(frozen=True, slots=True)
class Callers:
    """Holds calls with one server.

    Attributes:
        new_connection: makes the connection of one more call.
        process: the server, or the parent of its workers; None where it is not ours.
        questions: recordings to play.
        seconds: duration of the measurement; a turn that began in it is ended.
    """

    new_connection: Callable[[], AgentConnection]
    process: psutil.Process | None
    questions: Sequence[SpokenQuestion]
    seconds: float

    def warm_up(self, calls: int) -> None:
        """Ask one question in each of so many calls.

        Raises:
            CallError: no call is answered.
        """
        plan = LoadPlan(turns=calls, callers=calls, warmup=0)
        turns: list[TurnResult] = []
        asyncio.run(self._load(plan, turns).run())

    def hold(self, calls: int) -> Trial:
        """Hold so many calls at once.

        Raises:
            CallError: a single call is not answered.
        """
        try:
            trial = asyncio.run(self.measure(calls))
        except CallError as error:
            if calls == 1:
                raise
            trial = Trial(calls, (), failure=str(error))
        time.sleep(SETTLE_SECONDS)
        return trial

    async def measure(self, calls: int) -> Trial:
        """Hold so many calls at once, in the running loop.

        Raises:
            CallError: the first call is not answered.
        """
        turns: list[TurnResult] = []
        duration = WARM_SECONDS + self.seconds
        plan = LoadPlan(None, duration, calls, warmup=1, turns_per_call=MAX_TURNS)
        own = psutil.Process()
        began, ours, theirs = time.monotonic(), _cpu(own), self._server_cpu()
        reading = asyncio.create_task(self._memory())
        try:
            await self._load(plan, turns).run()
        finally:
            memory = reading.result() if reading.done() else None
            reading.cancel()
        machine = (time.monotonic() - began) * cores()
        counted = [turn for turn in turns if not turn.warmup]
        return Trial(
            calls,
            counted,
            _share(theirs, self._server_cpu(), machine),
            (_cpu(own) - ours) / machine,
            memory,
            "" if counted else "no call came to its second turn",
        )

    def _load(self, plan: LoadPlan, turns: list[TurnResult]) -> LoadTest:
        return LoadTest(plan, self.questions, self.new_connection, turns.append)

    def _server_cpu(self) -> float | None:
        return None if self.process is None else cpu_seconds(self.process)

    async def _memory(self) -> float | None:
        if self.process is None:
            return None
        await asyncio.sleep(WARM_SECONDS + MEMORY_AT * self.seconds)
        return await read_memory(self.process)


async def read_memory(process: psutil.Process) -> float | None:
    """`proportional`, in a thread: it takes milliseconds for each process."""
    with suppress(psutil.Error):
        return await asyncio.to_thread(proportional, process)
    return None


def connections(url: str) -> Callable[[], AgentConnection]:
    """Make connections to a server, each from an address of its own by what the server is told."""
    numbers = itertools.count()

    def new_connection() -> AgentConnection:
        return RealtimeConnection(url, address=f"192.0.2.{1 + next(numbers) % 254}")

    return new_connection


def _share(before: float | None, after: float | None, machine: float) -> float | None:
    return None if before is None or after is None else (after - before) / machine


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
