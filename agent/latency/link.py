"""A simulated network between the caller and any wire: delay, jitter, loss."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass

import numpy as np

from agent.audio.samples import Samples
from agent.errors import CallError, ConfigError
from agent.latency.wire import Arrival, Sound, Wire

RETRANSMISSION_SECONDS = 0.2
"""How long TCP waits, at least, before it sends again what was lost (Linux's TCP_RTO_MIN)."""
MAX_ON_THE_WAY = 10_000
"""Frames and events that may be under way in one direction."""


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """Each way of the link."""

    delay: float = 0.0
    """Seconds that everything takes."""
    jitter: float = 0.0
    """At most so many seconds more, uniformly distributed."""
    loss: float = 0.0
    """Share of the packets that are lost, between 0 and 1."""

    @classmethod
    def parse(cls, text: str) -> LinkSettings:
        """Read ``delay=50,jitter=20,loss=1``: milliseconds each way, and percent.

        Raises:
            ConfigError: it is something else.
        """
        values: dict[str, float] = {}
        for part in text.split(","):
            name, _, value = part.strip().partition("=")
            if name not in ("delay", "jitter", "loss"):
                raise ConfigError(f"--link: {part!r}; write delay=50,jitter=20,loss=1")
            try:
                values[name] = float(value)
            except ValueError:
                raise ConfigError(f"--link: {name} is a number, not {value!r}") from None
        delay, jitter, loss = (values.get(name, 0.0) for name in ("delay", "jitter", "loss"))
        if not (0 <= delay <= 10_000 and 0 <= jitter <= 10_000 and 0 <= loss < 100):
            raise ConfigError("--link: delay and jitter go from 0 to 10000 ms, loss below 100 %")
        return cls(delay / 1000, jitter / 1000, loss / 100)


class Direction:
    """When what enters one direction of a link comes out. Pure, and the same for a seed.

    Args:
        resends: what is lost is sent again, and everything behind it waits, as over TCP;
            otherwise it never comes, as over RTP.
    """

    def __init__(self, settings: LinkSettings, resends: bool, seed: str) -> None:
        self._settings = settings
        self._resends = resends
        self._random = random.Random(seed)
        self._last_out = 0.0

    def out(self, now: float) -> tuple[float, bool]:
        """Second at which what enters ``now`` comes out, and whether it is whole.

        Nothing overtakes what entered before it.
        """
        settings = self._settings
        at = now + settings.delay + self._random.uniform(0.0, settings.jitter)
        lost = self._random.random() < settings.loss
        whole = self._resends or not lost
        while lost and self._resends:
            at += max(RETRANSMISSION_SECONDS, 2 * settings.delay)
            lost = self._random.random() < settings.loss
        self._last_out = max(self._last_out, at)
        return self._last_out, whole


class LinkedWire:
    """A wire behind a simulated link.

    What takes time is sound and events; dialling and hanging up do not. Sound that is lost
    is silence at the other end; events are never lost.
    """

    def __init__(self, wire: Wire, settings: LinkSettings, seed: str) -> None:
        self._wire = wire
        self._up = Direction(settings, wire.resends, f"{seed} up")
        self._down = Direction(settings, wire.resends, f"{seed} down")
        self._sent: asyncio.Queue[tuple[float, Samples]] = asyncio.Queue(MAX_ON_THE_WAY)
        self._came: asyncio.Queue[tuple[float, Arrival | CallError]] = asyncio.Queue(MAX_ON_THE_WAY)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def rate(self) -> int:
        return self._wire.rate

    @property
    def tells_replies(self) -> bool:
        return self._wire.tells_replies

    @property
    def resends(self) -> bool:
        return self._wire.resends

    async def dial(self) -> None:
        await self._wire.dial()
        self._tasks = [asyncio.create_task(self._carry_up()), asyncio.create_task(self._collect())]

    async def send(self, frame: Samples) -> None:
        out, whole = self._up.out(_now())
        await self._sent.put((out, frame if whole else np.zeros_like(frame)))

    async def receive(self) -> AsyncIterator[Arrival]:
        while True:
            out, arrival = await self._came.get()
            await asyncio.sleep(max(0.0, out - _now()))
            if isinstance(arrival, CallError):
                raise arrival
            yield arrival

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._wire.close()

    async def _carry_up(self) -> None:
        while True:
            out, frame = await self._sent.get()
            await asyncio.sleep(max(0.0, out - _now()))
            # What breaks the line is told by the receiving side.
            with contextlib.suppress(CallError):
                await self._wire.send(frame)

    async def _collect(self) -> None:
        try:
            async for arrival in self._wire.receive():
                out, whole = self._down.out(_now())
                if isinstance(arrival, Sound) and not whole:
                    arrival = Sound(np.zeros_like(arrival.samples))
                await self._came.put((out, arrival))
        except CallError as error:
            await self._came.put((self._down.out(_now())[0], error))


def _now() -> float:
    return asyncio.get_running_loop().time()
