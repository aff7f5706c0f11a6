"""Base of the telephony connections: mu-law at 8 kHz with a playout buffer at the provider.

A provider buffers the agent's audio and plays it in order; it returns a mark when the mark is
reached, or at once when the buffer is cleared.
"""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from agent.audio.g711 import decode_mulaw
from agent.audio.samples import Samples
from agent.latency.connection import ReceivedAudio, ReceivedClear, ReceivedEvent
from agent.latency.playout import Playout
from agent.latency.realtime import hung_up, lost, open_socket

RATE = 8000
Message = str | bytes


class TelephonyConnection(ABC):
    """One telephone call from the provider's end.

    Args:
        url: address of the agent's media socket.
        headers: headers of the opening request.
        sock: connected socket to use; None: a new one is opened.
    """

    rate = RATE
    reports_replies = False
    resends = False

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        sock: socket.socket | None = None,
    ) -> None:
        self._url = url
        self._headers = headers
        self._sock = sock
        self._websocket: ClientConnection | None = None
        self._playout = Playout(self._reached)

    async def connect(self) -> None:
        self._websocket = await open_socket(self._url, self._headers, self._sock)
        for message in self._opening():
            await self._tell(message)

    async def send(self, frame: Samples) -> None:
        await self._tell(self._said(frame))

    async def receive(self) -> AsyncIterator[ReceivedEvent]:
        assert self._websocket is not None, "connect first"
        try:
            async for message in self._websocket:
                for received in self._read(message):
                    yield received
        except ConnectionClosed as error:
            raise lost(error) from None
        raise hung_up(self._websocket.close_reason)

    async def close(self) -> None:
        self._playout.stop()
        if self._websocket is not None:
            await self._websocket.close()

    def _plays(self, codes: bytes) -> ReceivedAudio:
        self._playout.play(len(codes) / RATE)
        return ReceivedAudio(decode_mulaw(codes))

    def _clears(self) -> ReceivedClear:
        self._playout.clear()
        return ReceivedClear()

    async def _reached(self, name: str) -> None:
        await self._tell(self._played(name))

    async def _tell(self, message: Message) -> None:
        assert self._websocket is not None, "connect first"
        try:
            await self._websocket.send(message)
        except ConnectionClosed as error:
            raise lost(error) from None

    @abstractmethod
    def _opening(self) -> Iterable[Message]:
        """Messages that open the call."""

    @abstractmethod
    def _said(self, frame: Samples) -> Message:
        """Message with 20 ms of the caller's audio, float32 mono at 8 kHz."""

    @abstractmethod
    def _played(self, mark: str) -> Message:
        """Message that reports that playback has reached ``mark``."""

    @abstractmethod
    def _read(self, message: Message) -> Iterator[ReceivedEvent]:
        """Events in a message of the agent; its audio goes through ``_plays``."""
