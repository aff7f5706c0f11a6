"""WebRTC, as a browser would call: Opus both ways, events on a data channel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from agent.audio.samples import Samples
from agent.errors import CallError
from agent.latency.realtime import arrivals
from agent.latency.rtc_caller import RtcCaller
from agent.latency.wire import Arrival, Sound
from agent.transports.opus import RATE

MAX_UNREAD = 10_000
"""Pieces of sound and events that may wait to be read."""


class WebRtcWire:
    """One call. Packets of silence arrive, too, when the agent says nothing.

    Args:
        url: ``http://host:port`` of a server with ``/v1/realtime/calls``.
        hosts: own addresses to be reached at; all but loopback where none is given.
    """

    rate = RATE
    tells_replies = True
    resends = False

    def __init__(self, url: str, hosts: Sequence[str] = ()) -> None:
        self._came: asyncio.Queue[Arrival | CallError] = asyncio.Queue(MAX_UNREAD)
        self._caller = RtcCaller(url, hosts, self._hear)
        self._tasks: list[asyncio.Task[None]] = []

    async def dial(self) -> None:
        await self._caller.connect()
        self._tasks = [
            asyncio.create_task(self._read_events()),
            asyncio.create_task(self._await_end()),
        ]

    async def send(self, frame: Samples) -> None:
        self._caller.say(frame)

    async def receive(self) -> AsyncIterator[Arrival]:
        while True:
            arrival = await self._came.get()
            if isinstance(arrival, CallError):
                raise arrival
            yield arrival

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._caller.close()

    def _hear(self, samples: Samples, at: float) -> None:
        self._came.put_nowait(Sound(samples))

    async def _read_events(self) -> None:
        while True:
            for arrival in arrivals(await self._caller.events.get()):
                await self._came.put(arrival)

    async def _await_end(self) -> None:
        await self._caller.hung_up()
        await self._came.put(CallError("the agent hung up"))
