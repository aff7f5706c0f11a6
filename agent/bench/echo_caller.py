"""A caller on a loudspeaker: the microphone gets the agent's sound as well."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import numpy as np

from agent.audio.samples import Samples
from agent.bench.echo_path import EchoPath, EchoRoom
from agent.latency.call_audio import CallAudio
from agent.latency.caller import FRAMES_PER_SECOND
from agent.latency.connection import (
    AgentConnection,
    AroundConnection,
    ReceivedAudio,
    ReceivedClear,
    ReceivedEvent,
    ReceivedReplyEnd,
    ReceivedTranscript,
)

ROOM_DBFS: Final = -60.0
"""Level of the noise of the room."""


class LoudspeakerConnection(AroundConnection):
    """A connection whose caller has no headphones.

    Args:
        connection: connection to the agent.
        room: where the caller is; None: on headphones.

    Attributes:
        cuts: replies that the agent has broken off.
        transcripts: turns that the agent has understood.
        spoken: seconds of sound that the agent has sent.
    """

    def __init__(self, connection: AgentConnection, room: EchoRoom | None) -> None:
        super().__init__(connection)
        rate = connection.rate
        self._path = None if room is None else EchoPath(room, rate, rate // FRAMES_PER_SECOND)
        self._noise = np.random.default_rng(1)
        self._played = CallAudio(rate)
        self._began = 0.0
        self._sent = 0
        self.cuts = 0
        self.transcripts: list[str] = []
        self.spoken = 0.0

    async def connect(self) -> None:
        await super().connect()
        self._began = asyncio.get_running_loop().time()

    async def send(self, frame: Samples) -> None:
        noise = self._noise.normal(0, 10 ** (ROOM_DBFS / 20), len(frame))
        microphone = frame + noise.astype(np.float32)
        if self._path is not None:
            microphone = microphone + self._path.returned(self._next_played(len(frame)))
        self._sent += len(frame)
        await self._connection.send(np.clip(microphone, -1.0, 1.0))

    async def receive(self) -> AsyncIterator[ReceivedEvent]:
        async for received in self._connection.receive():
            self._note(received, asyncio.get_running_loop().time() - self._began)
            yield received

    def _note(self, received: ReceivedEvent, now: float) -> None:
        match received:
            case ReceivedAudio(samples):
                self._played.play(samples, now)
                self.spoken += len(samples) / self.rate
            case ReceivedClear():
                self._played.stop(now)
            case ReceivedTranscript(text):
                self.transcripts.append(text)
            case ReceivedReplyEnd(cut=cut):
                self.cuts += cut

    def _next_played(self, size: int) -> Samples:
        """What was played while the frame that is sent next was spoken."""
        played = self._played.ear[self._sent : self._sent + size]
        return np.pad(played, (0, size - len(played)))
