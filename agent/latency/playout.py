"""What a telephone provider does with an agent's sound: plays it in order and tells its marks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from agent.errors import CallError

MAX_MARKS = 1000


class Playout:
    """The buffer before the ear, as a clock: sound itself is kept by the caller's line.

    Args:
        reached: told the name of a mark when what came before it was played, or at once when
            that was cleared.
    """

    def __init__(self, reached: Callable[[str], Awaitable[None]]) -> None:
        self._reached = reached
        self._until = 0.0
        self._waiting: dict[str, asyncio.Task[None]] = {}
        self._telling: set[asyncio.Task[None]] = set()

    def play(self, seconds: float) -> None:
        """So much more sound came."""
        self._until = max(_now(), self._until) + seconds

    def mark(self, name: str) -> None:
        """A mark came; beyond ``MAX_MARKS`` that wait it is dropped."""
        if len(self._waiting) < MAX_MARKS:
            self._waiting[name] = self._start(self._reach(name, self._until))

    def clear(self) -> None:
        """Drop what was not played; its marks are told now."""
        self._until = _now()
        for name, waiting in self._waiting.items():
            waiting.cancel()
            self._start(self._tell(name))
        self._waiting.clear()

    def stop(self) -> None:
        """Tell nothing more."""
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
        # That the line broke is told where it is read.
        with contextlib.suppress(CallError):
            await self._reached(name)


def _now() -> float:
    return asyncio.get_running_loop().time()
