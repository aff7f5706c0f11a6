"""The media connection of a telephony peer: whole messages, with bounds in size and time."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from agent.close_codes import HANG_UPS
from agent.telephony.dialects.audiosocket import FrameReader
from agent.telephony.dialects.base import DialectError, WireMessage
from agent.telephony.dialects.json_fields import MAX_MESSAGE
from agent.transports.base import Disconnected, lost

SEND_SECONDS = 2.0
"""Seconds for one send; a peer that takes longer is gone."""

READ_BYTES = 4096


class HungUp(Disconnected):
    """The peer closed the connection in good order: at most providers that is its hang-up."""


class MediaConnection(Protocol):
    """The connection to one peer."""

    async def receive(self) -> WireMessage:
        """The next message.

        Raises:
            HungUp: the peer closed the connection.
            Disconnected: the connection was lost.
            DialectError: the message is too long.
        """

    async def send(self, message: WireMessage) -> None:
        """Write one message.

        Raises:
            Disconnected: the peer is gone, or did not take the message in ``SEND_SECONDS``.
        """

    async def close(self, code: int, reason: str) -> None:
        """Close the socket; closing twice is harmless."""


class WebsocketConnection:
    """An accepted websocket."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket

    async def receive(self) -> WireMessage:
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            if message.get("code") in HANG_UPS:
                raise HungUp
            raise lost(message.get("code"))
        text: str | None = message.get("text")
        wire: WireMessage = (message.get("bytes") or b"") if text is None else text
        if len(wire) > MAX_MESSAGE:
            raise DialectError(f"a message of {len(wire)} bytes; {MAX_MESSAGE} are allowed")
        return wire

    async def send(self, message: WireMessage) -> None:
        try:
            async with asyncio.timeout(SEND_SECONDS):
                if isinstance(message, str):
                    await self._socket.send_text(message)
                else:
                    await self._socket.send_bytes(message)
        except (WebSocketDisconnect, RuntimeError, TimeoutError) as error:
            # Starlette raises RuntimeError for a send after the close was seen.
            raise Disconnected from error

    async def close(self, code: int, reason: str) -> None:
        if self._socket.application_state is WebSocketState.CONNECTED:
            try:
                await self._socket.close(code, close_reason(reason))
            except (WebSocketDisconnect, RuntimeError):
                return  # the peer closed first


def close_reason(text: str) -> str:
    """``text`` in the 123 bytes that a close frame has for it (RFC 6455, section 5.5)."""
    return text.encode(errors="replace")[:123].decode(errors="ignore")


class AudioSocketConnection:
    """A TCP connection of Asterisk's AudioSocket; a message is a frame with its head."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._frames = FrameReader()
        self._ready: deque[bytes] = deque()

    async def receive(self) -> WireMessage:
        while not self._ready:
            try:
                data = await self._reader.read(READ_BYTES)
            except OSError as error:
                raise Disconnected("the connection was lost") from error
            if not data:
                raise HungUp
            self._ready.extend(self._frames.push(data))
        return self._ready.popleft()

    async def send(self, message: WireMessage) -> None:
        assert isinstance(message, bytes)  # the dialect has no text
        try:
            self._writer.write(message)
            async with asyncio.timeout(SEND_SECONDS):
                await self._writer.drain()
        except (OSError, TimeoutError) as error:
            raise Disconnected from error

    async def close(self, code: int, reason: str) -> None:
        self._writer.close()
        # The transport closes once the peer has read everything; a peer may never read.
        asyncio.get_running_loop().call_later(SEND_SECONDS, self._writer.transport.abort)
