"""Playout of a telephone provider: plays the agent's audio in order and returns its marks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from agent.errors import CallError

MAX_MARKS = 1000
"""Marks that may wait at the same time."""


class Playout:
    """Clock of a provider's playout buffer; the audio itself is kept by ``CallAudio``.

    Args:
        reached: called with the name of a mark when the audio before it has been played, or at
            once when that audio is cleared.
    """

    def __init__(self, reached: Callable[[str], Awaitable[None]]) -> None:
        self._reached = reached
        self._until = 0.0
        self._waiting: dict[str, asyncio.Task[None]] = {}
        self._telling: set[asyncio.Task[None]] = set()

    def play(self, seconds: float) -> None:
        """Append ``seconds`` of audio to the buffer."""
        self._until = max(_now(), self._until) + seconds

    def mark(self, name: str) -> None:
        """Add a mark after the buffered audio; it is dropped when ``MAX_MARKS`` are waiting."""
        if len(self._waiting) < MAX_MARKS:
            self._waiting[name] = self._start(self._reach(name, self._until))

    def clear(self) -> None:
        """Drop the audio that was not played and report its marks now."""
        self._until = _now()
        for name, waiting in self._waiting.items():
            waiting.cancel()
            self._start(self._tell(name))
        self._waiting.clear()

    def stop(self) -> None:
        """Stop reporting marks."""
        for task in self._telling:
            task.cancel()

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)
        return task

    async def _reach(self, name: str, at: float) -> None:
        await asyncio.sleep(max(0.0, at - _now()))
        self._waiting.pop(name, None)
        await self._tell(name)

    async def _tell(self, name: str) -> None:
        # The receiving side reports a lost connection.
        with contextlib.suppress(CallError):
            await self._reached(name)


def _now() -> float:
    return asyncio.get_running_loop().time()
