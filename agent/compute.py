"""The compute thread: heavy work of all calls, one piece at a time, the most urgent first.

Engines that compute side by side on a small machine slow each other down many times
over. Replies are run step by step, so a more urgent piece waits for one step at most.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, TypeVar

T = TypeVar("T")

_log = logging.getLogger("onebreath.compute")

MAX_WAITING = 1024
"""Pieces of work that may wait; a call has only a few at a time."""


class Urgency(IntEnum):
    """The urgency of a piece of work; the lowest number is run first."""

    FINAL = 0
    """The transcript of a turn whose caller waits for a reply."""
    REPLY = 1
    """A step of a reply."""
    PREPARE = 2
    """Filling the prompt cache ahead of time."""
    PARTIAL = 3
    """A partial transcript of a turn that goes on."""
    STOP = 4
    """The end of the thread."""
    IDLE = 5
    """Work that nobody waits for; the end of the thread drops it."""


@dataclass(order=True, slots=True)
class _Piece:
    urgency: Urgency
    number: int
    work: Callable[[], Any] = field(compare=False)
    done: Future[Any] = field(compare=False)


_END = object()


def _log_failure(done: Future[None]) -> None:
    if not done.cancelled() and (error := done.exception()):
        _log.warning("work in the background failed: %s", error, exc_info=error)


class Compute:
    """The thread on which the heavy engines are loaded and run.

    OpenMP keeps a pool for every thread that computes. An engine that was warmed up on another
    thread leaves a second pool behind; with more threads than cores libgomp stops spinning at
    barriers, which was measured to double the time of a step.

    Work that is given to it after `close` is cancelled.
    """

    def __init__(self) -> None:
        self._waiting: queue.PriorityQueue[_Piece] = queue.PriorityQueue(MAX_WAITING)
        self._numbers = itertools.count()
        self._taking = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="compute", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Pieces of work that wait."""
        return self._waiting.qsize()

    def do(self, work: Callable[[], T]) -> T:
        """Run ``work`` on the compute thread and wait for its result (blocking).

        Raises:
            queue.Full: more than ``MAX_WAITING`` pieces wait already.
        """
        return self._submit(Urgency.FINAL, work).result()

    async def run(self, urgency: Urgency, work: Callable[[], T]) -> T:
        """Run ``work`` on the compute thread; cancelling before it starts skips it.

        Raises:
            queue.Full: more than ``MAX_WAITING`` pieces wait already.
        """
        return await asyncio.wrap_future(self._submit(urgency, work))

    def when_idle(self, pieces: Iterator[object]) -> None:
        """Advance ``pieces`` to their end, by one whenever nothing else waits; returns at once.

        `close` drops what is left of them. An error ends them and is logged.
        """

        def advance() -> None:
            if next(pieces, _END) is not _END:
                self.when_idle(pieces)

        self._submit(Urgency.IDLE, advance).add_done_callback(_log_failure)

    def _submit(self, urgency: Urgency, work: Callable[[], T]) -> Future[T]:
        done: Future[T] = Future()
        with self._taking:
            if self._closed:
                done.cancel()
            else:
                self._waiting.put_nowait(_Piece(urgency, next(self._numbers), work, done))
        return done

    async def iterate(self, urgency: Urgency, pieces: Iterator[T]) -> AsyncGenerator[T, None]:
        """Advance ``pieces`` on the compute thread; more urgent work runs between two of them.

        Leaving the loop early closes a generator on the compute thread.
        """
        try:
            while True:
                piece = await self.run(urgency, lambda: next(pieces, _END))
                if piece is _END:
                    return
                yield piece  # type: ignore[misc]
        finally:
            close = getattr(pieces, "close", None)
            if close is not None:
                await asyncio.shield(self.run(urgency, close))

    def _serve(self) -> None:
        while (piece := self._waiting.get()).urgency is not Urgency.STOP:
            if not piece.done.set_running_or_notify_cancel():
                continue
            try:
                piece.done.set_result(piece.work())
            except BaseException as caught:  # every exception goes to the waiting code
                piece.done.set_exception(caught)

    def close(self) -> None:
        """Finish the waiting pieces, then stop the thread (blocking)."""
        with self._taking:
            self._closed = True
        self._waiting.put(_Piece(Urgency.STOP, next(self._numbers), lambda: None, Future()))
        self._thread.join()
        while not self._waiting.empty():  # idle work
            self._waiting.get().done.cancel()
