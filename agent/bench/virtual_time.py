"""Virtual time: real engines on a clock that counts their CPU time instead of the wall's.

A machine that does other things, too, stretches a call in real time beyond recognition. Here a
piece of work takes the virtual seconds of its CPU time, as on a core of its own, and waiting takes
none in reality.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import selectors
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any, TypeVar

from agent.compute import Compute, Urgency

T = TypeVar("T")


class _JumpingSelector(selectors.SelectSelector):
    """Instead of waiting, moves the loop's clock on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("everything waits and no timer is set: deadlock")
        if not ready and timeout:
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in which a minute passes in no time."""

    def __init__(self) -> None:
        self._clock = _JumpingSelector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


def in_virtual_time(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` to its end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


class UrgentFirst(Compute):
    """One piece of work at a time on a virtual clock, the most urgent first."""

    def __init__(self) -> None:
        self._queue: list[tuple[Urgency, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._busy = False

    async def _admitted(self, urgency: Urgency) -> None:
        if not self._busy:
            self._busy = True
            return
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self._queue, (urgency, next(self._order), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._next()
            raise

    def _next(self) -> None:
        while self._queue:
            _, _, turn = heapq.heappop(self._queue)
            if not turn.done():
                turn.set_result(None)
                return
        self._busy = False


class MeasuredCompute(UrgentFirst):
    """One piece of work at a time, the most urgent first; each takes its CPU time.

    The work is done at once on the compute thread, where the engines were loaded, while the virtual
    clock stands; its result is delivered when the clock has passed its CPU time.

    Args:
        thread: the compute thread.
        clock: seconds of CPU time of this process.

    Attributes:
        thread: the compute thread.
    """

    def __init__(self, thread: Compute, clock: Callable[[], float] = time.process_time) -> None:
        super().__init__()
        self.thread = thread
        self._cpu = clock

    async def run(self, urgency: Urgency, work: Callable[[], T]) -> T:
        await self._admitted(urgency)
        began = self._cpu()
        try:
            return self.thread.do(work)
        finally:
            seconds = self._cpu() - began
            asyncio.get_running_loop().call_later(seconds, self._next)
            await asyncio.sleep(seconds)

    def close(self) -> None:
        self.thread.close()


class MeasuredVoices(Executor):
    """The voice's process as one line of work; each chunk takes the process's CPU time.

    Args:
        clock: seconds of CPU time of the process.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._cpu = clock
        self._read = clock()
        self._free_at = 0.0
        self._speaking: object = None

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        chunks = args[0] if args else None
        goes_on, self._speaking = chunks is self._speaking, chunks
        if not goes_on:
            self._read = self._cpu()
        try:
            value = fn(*args, **kwargs)
        except Exception as error:  # the future carries it to the waiter
            self._deliver(partial(future.set_exception, error), goes_on)
        else:
            self._deliver(partial(future.set_result, value), goes_on)
        return future

    def _deliver(self, finish: Callable[[], None], goes_on: bool) -> None:
        """Deliver a result when its work is done; later chunks are made ahead of their request."""
        read, loop = self._cpu(), asyncio.get_running_loop()
        begins = self._free_at if goes_on else max(self._free_at, loop.time())
        self._free_at, self._read = begins + read - self._read, read
        loop.call_at(max(self._free_at, loop.time()), finish)


class CpuClock:
    """A clock of the CPU time of other processes, in seconds, which goes on when they change.

    Linux only.

    Args:
        processes: tells the numbers of the processes, when one of those before has ended.
    """

    def __init__(self, processes: Callable[[], Sequence[int]]) -> None:
        self._processes = processes
        self._clocks: list[int] = []
        self._last = self._before = 0.0
        self._watch()

    def __call__(self) -> float:
        if not self._clocks:
            self._watch()
        try:
            self._last = self._before + self._sum()
        except OSError:  # one has ended, and another may have taken its place
            self._watch()
        return self._last

    def _watch(self) -> None:
        # The kernel's number for the scheduler's clock of a process (clock_getcpuclockid).
        self._clocks = [(~pid << 3) | 2 for pid in self._processes()]
        try:
            self._before = self._last - self._sum()
        except OSError:
            self._clocks, self._before = [], self._last

    def _sum(self) -> float:
        return sum(time.clock_gettime(clock) for clock in self._clocks)
