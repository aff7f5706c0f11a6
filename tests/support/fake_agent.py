"""An agent that answers after exactly known times, on a wire in memory.

What it is asked ends with one loud sample, so it knows the end of speech to the sample.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

import numpy as np

from agent.audio.samples import Samples
from agent.errors import CallError
from agent.latency.connection import (
    ReceivedAudio,
    ReceivedClear,
    ReceivedEvent,
    ReceivedReplyEnd,
    ReceivedReplyStart,
    ReceivedSpeechStart,
    ReceivedSpeechStop,
    ReceivedTranscript,
)
from agent.latency.question import SpokenQuestion
from agent.protocol import WIRE_RATE

RATE = WIRE_RATE
LAST = 0.9
"""Level of the last sample of every question."""


def steady(seconds: float, level: float = 0.3) -> Samples:
    """Sound that is never silent."""
    sound = np.full(round(seconds * RATE), level, np.float32)
    sound[1::2] *= -1
    return sound


def question(seconds: float = 0.4, name: str = "question") -> SpokenQuestion:
    """Speech of ``seconds``; of whole frames, it can be answered without a delay."""
    samples = steady(seconds)
    samples[-1] = LAST
    return SpokenQuestion(name, samples, text="hello there")


@dataclass
class Manner:
    """How an agent behaves; all times in seconds."""

    delay: Callable[[int], float] = lambda turn: 0.0
    """From the end of speech to the first audible sample of the reply to a turn (from 0)."""
    leading: float = 0.0
    """Silence that the sound of a reply begins with; it lies within the delay."""
    reply: float = 0.3
    paced: float | None = None
    """Sound is sent in pieces of this length as they are due; None: all at once."""
    late_piece: float = 0.0
    """How late the third piece comes."""
    stalls: Sequence[tuple[float, float]] = ()
    """From when to when, by the loop's clock, nothing leaves."""
    yields: float | None = None
    """From the beginning of an interruption until the agent is silent; None: never."""
    drops_after: int | None = None
    """The line is lost in the turn of this number (from 0)."""
    refuses: bool = False
    tells: bool = True
    text: str = "Paris."


class FakeConnection:
    """One call to the agent."""

    rate = RATE
    resends = True

    def __init__(self, manner: Manner, turns: list[int] | None = None) -> None:
        self.reports_replies = manner.tells
        self._manner = manner
        self._turns = [0] if turns is None else turns
        """Counted over all calls that share it."""
        self._came: asyncio.Queue[ReceivedEvent | CallError] = asyncio.Queue()
        self._speaking: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._heard = 0
        self._began = math.inf

    async def connect(self) -> None:
        if self._manner.refuses:
            raise CallError("nobody answers there")

    async def send(self, frame: Samples) -> None:
        # A frame comes when its last sample was spoken, or later: the earliest shows the clock.
        spoken = (self._heard + len(frame)) / RATE
        self._began = min(self._began, asyncio.get_running_loop().time() - spoken)
        loud = np.flatnonzero(np.abs(frame) > 0.1)
        if len(loud) and self._speaking and not self._speaking.done():
            await self._interrupted(self._heard + int(loud[0]))
        ends = np.flatnonzero(frame > 0.8)
        if len(ends):
            self._end_of_turn(self._began + (self._heard + int(ends[-1]) + 1) / RATE)
        self._heard += len(frame)

    async def receive(self) -> AsyncIterator[ReceivedEvent]:
        while True:
            arrival = await self._came.get()
            if isinstance(arrival, CallError):
                raise arrival
            yield arrival

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _end_of_turn(self, at: float) -> None:
        turn = self._turns[0]
        self._turns[0] += 1
        if turn == self._manner.drops_after:
            self._came.put_nowait(CallError("the connection was lost"))
            return
        self._speaking = self._start(self._reply(at + self._manner.delay(turn)))

    def _start(self, work) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _at(self, when: float) -> None:
        for start, end in self._manner.stalls:
            when = end if start <= when < end else when
        await asyncio.sleep(max(0.0, when - asyncio.get_running_loop().time()))

    async def _reply(self, audible: float) -> None:
        manner = self._manner
        begins = audible - manner.leading
        sound = np.concatenate([np.zeros(round(manner.leading * RATE)), steady(manner.reply)])
        size = len(sound) if manner.paced is None else round(manner.paced * RATE)
        await self._at(begins)
        self._tell(ReceivedSpeechStop(), ReceivedTranscript("hello there"), ReceivedReplyStart())
        for place, start in enumerate(range(0, len(sound), size)):
            late = manner.late_piece if place == 2 else 0.0
            await self._at(begins + start / RATE + late)
            self._came.put_nowait(ReceivedAudio(sound[start : start + size].astype(np.float32)))
        self._tell(ReceivedReplyEnd(manner.text))

    async def _interrupted(self, onset: int) -> None:
        assert self._speaking is not None
        speaking, self._speaking = self._speaking, None
        if self._manner.yields is not None:
            self._start(self._yield(speaking, self._began + onset / RATE + self._manner.yields))

    async def _yield(self, speaking: asyncio.Task[None], at: float) -> None:
        await self._at(at)
        speaking.cancel()
        self._tell(ReceivedSpeechStart(), ReceivedClear(), ReceivedReplyEnd("", cut=True))

    def _tell(self, *news: ReceivedEvent) -> None:
        for item in news:
            if self._manner.tells or isinstance(item, ReceivedClear):
                self._came.put_nowait(item)
