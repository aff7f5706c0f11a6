"""What the wires of telephone providers share: mu-law at 8 kHz, played where it arrives.

A provider buffers the agent's sound and plays it in order; a mark comes back when it is
reached, or at once when the buffer is cleared.
"""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from agent.audio.samples import Samples
from agent.latency.playout import Playout
from agent.latency.realtime import hung_up, lost, open_socket
from agent.latency.wire import Arrival, Hush, Sound
from agent.telephony.dialects.g711 import decode_mulaw

RATE = 8000
Message = str | bytes


class PhoneWire(ABC):
    """One call.

    Args:
        url: where the agent takes media sockets.
        headers: of the opening request.
        sock: a connected socket to use; by default one is made.
    """

    rate = RATE
    tells_replies = False
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
        self._connection: ClientConnection | None = None
        self._playout = Playout(self._reached)

    async def dial(self) -> None:
        self._connection = await open_socket(self._url, self._headers, self._sock)
        for message in self._opening():
            await self._tell(message)

    async def send(self, frame: Samples) -> None:
        await self._tell(self._said(frame))

    async def receive(self) -> AsyncIterator[Arrival]:
        assert self._connection is not None, "dial first"
        try:
            async for message in self._connection:
                for arrival in self._read(message):
                    yield arrival
        except ConnectionClosed as error:
            raise lost(error) from None
        raise hung_up(self._connection.close_reason)

    async def close(self) -> None:
        self._playout.stop()
        if self._connection is not None:
            await self._connection.close()

    def _plays(self, codes: bytes) -> Sound:
        self._playout.play(len(codes) / RATE)
        return Sound(decode_mulaw(codes))

    def _clears(self) -> Hush:
        self._playout.clear()
        return Hush()

    async def _reached(self, name: str) -> None:
        await self._tell(self._played(name))

    async def _tell(self, message: Message) -> None:
        assert self._connection is not None, "dial first"
        try:
            await self._connection.send(message)
        except ConnectionClosed as error:
            raise lost(error) from None

    @abstractmethod
    def _opening(self) -> Iterable[Message]:
        """What names the call."""

    @abstractmethod
    def _said(self, frame: Samples) -> Message:
        """20 ms of the caller."""

    @abstractmethod
    def _played(self, mark: str) -> Message:
        """The mark was reached."""

    @abstractmethod
    def _read(self, message: Message) -> Iterator[Arrival]:
        """What a message of the agent means; sound is given to ``_plays``."""
