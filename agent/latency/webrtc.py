"""A caller's connection over WebRTC: Opus in both directions, events on a data channel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from agent.audio.samples import Samples
from agent.errors import CallError
from agent.latency.connection import ReceivedAudio, ReceivedEvent
from agent.latency.realtime import received_events
from agent.latency.rtc_caller import CODING, MediaRelay, RtcCaller
from agent.transports.opus import RATE
from agent.transports.voice_rate import VoiceCoding

MAX_UNREAD = 10_000
"""Pieces of audio and events that may wait to be read."""


class WebRtcConnection:
    """One WebRTC call. The agent also sends packets while it is silent.

    Args:
        url: ``http://host:port`` of a server with ``/v1/realtime/calls``.
        hosts: local addresses to offer as ICE candidates; empty: all but loopback.
        relay: relay between the caller and the server; None: they talk directly.
        coding: of the caller's voice.
    """

    rate = RATE
    reports_replies = True
    resends = False

    def __init__(
        self,
        url: str,
        hosts: Sequence[str] = (),
        relay: MediaRelay | None = None,
        coding: VoiceCoding = CODING,
    ) -> None:
        self._incoming: asyncio.Queue[ReceivedEvent | CallError] = asyncio.Queue(MAX_UNREAD)
        self._caller = RtcCaller(url, hosts, self._hear, relay=relay, coding=coding)
        self._tasks: list[asyncio.Task[None]] = []

    async def connect(self) -> None:
        await self._caller.connect()
        self._tasks = [
            asyncio.create_task(self._read_events()),
            asyncio.create_task(self._await_end()),
        ]

    async def send(self, frame: Samples) -> None:
        self._caller.say(frame)

    async def receive(self) -> AsyncIterator[ReceivedEvent]:
        while True:
            received = await self._incoming.get()
            if isinstance(received, CallError):
                raise received
            yield received

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._caller.close()

    def _hear(self, samples: Samples, at: float) -> None:
        self._incoming.put_nowait(ReceivedAudio(samples))

    async def _read_events(self) -> None:
        while True:
            for received in received_events(await self._caller.events.get()):
                await self._incoming.put(received)

    async def _await_end(self) -> None:
        await self._caller.hung_up()
        await self._incoming.put(CallError("the agent hung up"))
