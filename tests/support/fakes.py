"""Virtual time and scripted parts, for tests that wait for nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from agent.audio.samples import AudioChunk, Samples
from agent.bench.virtual_time import in_virtual_time as in_virtual_time
from agent.compute import Compute, Urgency
from agent.protocol import AppendedAudio, ClientMessage
from agent.session.commands import Command
from agent.session.events import AudioFrame, Input
from agent.session.notices import Notice
from agent.session.session import Session
from agent.transports.base import Disconnected

T = TypeVar("T")
RATE = 16_000
FRAME = 512
FRAME_SECONDS = FRAME / RATE


class VirtualCompute(Compute):
    """Work costs virtual seconds by its urgency and none in reality; one piece at a time."""

    def __init__(self, costs: dict[Urgency, float] | None = None) -> None:
        self.costs = costs or {}
        self.log: list[tuple[float, Urgency]] = []
        self._free = asyncio.Lock()

    async def run(self, urgency: Urgency, work: Callable[[], T]) -> T:
        async with self._free:
            self.log.append((asyncio.get_running_loop().time(), urgency))
            await asyncio.sleep(self.costs.get(urgency, 0.0))
            return work()

    def close(self) -> None:
        pass


class InlineExecutor(Executor):
    """Runs what is submitted at once."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # the future carries it to the waiter
            future.set_exception(error)
        return future


class LoudIsSpeech:
    """A gate that takes every loud frame for speech."""

    frame_samples = FRAME

    def probability(self, frame: Samples) -> float:
        return 1.0 if float(np.abs(frame).max()) > 0.1 else 0.0

    def reset(self) -> None:
        pass


def speech(seconds: float, rate: int = RATE) -> Samples:
    """A loud tone, which ``LoudIsSpeech`` takes for speech."""
    time = np.arange(int(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * 220 * time)).astype(np.float32)


def silence(seconds: float, rate: int = RATE) -> Samples:
    return np.zeros(int(seconds * rate), np.float32)


@dataclass
class Desk:
    """Drives a session frame by frame, as a call would, and keeps what it commands."""

    session: Session
    now: float = 0.0
    position: int = 0
    commands: list[Command] = field(default_factory=list)

    def tell(self, event: Input) -> list[Command]:
        new = self.session.handle(event, self.now)
        self.commands += new
        return new

    def hear(self, seconds: float, probability: float) -> list[Command]:
        """Sound of ``seconds``, frame by frame, in real time."""
        new: list[Command] = []
        for _ in range(round(seconds / FRAME_SECONDS)):
            self.now += FRAME_SECONDS
            samples = np.full(FRAME, probability, np.float32)
            chunk = AudioChunk(samples, RATE, self.position, self.now)
            self.position += FRAME
            new += self.tell(AudioFrame(chunk, probability))
        return new

    def all(self, kind: type[T]) -> list[T]:
        return [command for command in self.commands if isinstance(command, kind)]

    def last(self, kind: type[T]) -> T:
        return self.all(kind)[-1]


@dataclass
class ScriptedTransport:
    """A client by script: (seconds, message) pairs in; notices are kept with their times."""

    script: Iterable[tuple[float, ClientMessage]]
    hang_up_at: float
    rate: int = RATE
    takes: bool = True
    """False: a client that stopped reading."""
    sent: list[tuple[float, Notice]] = field(default_factory=list)
    closed: tuple[int, str] | None = None

    async def receive(self) -> AsyncIterator[ClientMessage]:
        loop = asyncio.get_running_loop()
        for when, message in self.script:
            await asyncio.sleep(max(0.0, when - loop.time()))
            yield message
        await asyncio.sleep(max(0.0, self.hang_up_at - loop.time()))

    async def send(self, notice: Notice) -> None:
        if self.closed:
            raise Disconnected
        if not self.takes:
            await asyncio.Event().wait()
        self.sent.append((asyncio.get_running_loop().time(), notice))

    async def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)

    def all(self, kind: type[T]) -> list[tuple[float, T]]:
        return [(when, notice) for when, notice in self.sent if isinstance(notice, kind)]


def spoken_script(*pieces: Samples, rate: int = RATE) -> list[tuple[float, ClientMessage]]:
    """The pieces in real time, in messages of 20 ms."""
    sound = np.concatenate(pieces)
    size = rate // 50
    starts = range(0, len(sound), size)
    return [((at + size) / rate, AppendedAudio(sound[at : at + size])) for at in starts]
