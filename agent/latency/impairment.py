"""Simulated network impairment between the caller and an agent: delay, jitter, loss."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass

import numpy as np

from agent.audio.samples import Samples
from agent.errors import CallError, ConfigError
from agent.latency.connection import AgentConnection, AroundConnection, ReceivedAudio, ReceivedEvent

RETRANSMISSION_SECONDS = 0.2
"""Shortest time until TCP retransmits a lost segment, in seconds (Linux's TCP_RTO_MIN)."""
MAX_IN_FLIGHT = 10_000
"""Frames and events that may be in flight in one direction."""


@dataclass(frozen=True, slots=True)
class NetworkImpairment:
    """Impairment of each direction of the network.

    Attributes:
        delay: constant delay in seconds.
        jitter: upper bound of an additional, uniformly distributed delay in seconds.
        loss: share of the packets that are lost, from 0 to below 1.
    """

    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0

    @classmethod
    def parse(cls, text: str) -> NetworkImpairment:
        """Read ``delay=50,jitter=20,loss=1``: milliseconds each way, and percent.

        Raises:
            ConfigError: a part is malformed or out of range.
        """
        values: dict[str, float] = {}
        for part in text.split(","):
            name, _, value = part.strip().partition("=")
            if name not in ("delay", "jitter", "loss"):
                raise ConfigError(
                    f"--link: {part!r} is not NAME=NUMBER; write delay=50,jitter=20,loss=1"
                )
            try:
                values[name] = float(value)
            except ValueError:
                raise ConfigError(f"--link: {name} must be a number, not {value!r}") from None
        delay, jitter, loss = (values.get(name, 0.0) for name in ("delay", "jitter", "loss"))
        if not (0 <= delay <= 10_000 and 0 <= jitter <= 10_000 and 0 <= loss < 100):
            raise ConfigError(
                "--link: delay and jitter must be from 0 to 10000 ms, loss from 0 to below 100 %"
            )
        return cls(delay / 1000, jitter / 1000, loss / 100)


class ImpairedDirection:
    """Times at which packets leave one direction of an impaired network. Pure.

    Args:
        settings: the impairment.
        resends: whether a lost packet is retransmitted and holds up the packets behind it, as
            over TCP; otherwise it is lost for good, as over RTP.
        seed: seed of the random generator; the same seed gives the same times.
    """

    def __init__(self, settings: NetworkImpairment, resends: bool, seed: str) -> None:
        self._settings = settings
        self._resends = resends
        self._random = random.Random(seed)
        self._last_arrival = 0.0

    def transmit(self, now: float) -> tuple[float, bool]:
        """Return when a packet sent at second ``now`` arrives, and whether it arrives at all.

        Packets arrive in the order in which they were sent.
        """
        settings = self._settings
        arrival = now + settings.delay + self._random.uniform(0.0, settings.jitter)
        lost = self._random.random() < settings.loss
        intact = self._resends or not lost
        while lost and self._resends:
            arrival += max(RETRANSMISSION_SECONDS, 2 * settings.delay)
            lost = self._random.random() < settings.loss
        self._last_arrival = max(self._last_arrival, arrival)
        return self._last_arrival, intact


class ImpairedConnection(AroundConnection):
    """A connection behind a simulated, impaired network.

    Audio and events are delayed; connecting and closing are not. Lost audio is silence at the
    other end; events are never lost.

    Args:
        connection: connection whose traffic is impaired.
        settings: the impairment of each direction.
        seed: seed of the random generator.
    """

    def __init__(self, connection: AgentConnection, settings: NetworkImpairment, seed: str) -> None:
        super().__init__(connection)
        self._up = ImpairedDirection(settings, connection.resends, f"{seed} up")
        self._down = ImpairedDirection(settings, connection.resends, f"{seed} down")
        self._outgoing: asyncio.Queue[tuple[float, Samples]] = asyncio.Queue(MAX_IN_FLIGHT)
        self._incoming: asyncio.Queue[tuple[float, ReceivedEvent | CallError]] = asyncio.Queue(
            MAX_IN_FLIGHT
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def connect(self) -> None:
        await super().connect()
        self._tasks = [
            asyncio.create_task(self._forward_sent()),
            asyncio.create_task(self._collect_received()),
        ]

    async def send(self, frame: Samples) -> None:
        arrives, intact = self._up.transmit(_now())
        await self._outgoing.put((arrives, frame if intact else np.zeros_like(frame)))

    async def receive(self) -> AsyncIterator[ReceivedEvent]:
        while True:
            arrives, received = await self._incoming.get()
            await asyncio.sleep(max(0.0, arrives - _now()))
            if isinstance(received, CallError):
                raise received
            yield received

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await super().close()

    async def _forward_sent(self) -> None:
        while True:
            arrives, frame = await self._outgoing.get()
            await asyncio.sleep(max(0.0, arrives - _now()))
            # The receiving side reports a lost connection.
            with contextlib.suppress(CallError):
                await self._connection.send(frame)

    async def _collect_received(self) -> None:
        try:
            async for received in self._connection.receive():
                arrives, intact = self._down.transmit(_now())
                if isinstance(received, ReceivedAudio) and not intact:
                    received = ReceivedAudio(np.zeros_like(received.samples))
                await self._incoming.put((arrives, received))
        except CallError as error:
            await self._incoming.put((self._down.transmit(_now())[0], error))


def _now() -> float:
    return asyncio.get_running_loop().time()
