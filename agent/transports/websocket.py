"""The public protocol over a websocket."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from agent.config import ServerSettings
from agent.notices import Notice, Trouble
from agent.protocol import WIRE_RATE, BadEvent, ClientMessage, EventWriter, parse
from agent.transports.base import Disconnected

MAX_BAD_EVENTS = 100
POLICY_VIOLATION = 1008


class WebsocketTransport:
    """One accepted websocket that speaks docs/protocol.md."""

    rate = WIRE_RATE

    def __init__(self, socket: WebSocket, writer: EventWriter, settings: ServerSettings) -> None:
        self._socket = socket
        self._writer = writer
        self._settings = settings
        self._bad_events = 0

    async def open(self) -> None:
        """Greet the client."""
        await self._send_event(self._writer.created())

    async def receive(self) -> AsyncIterator[ClientMessage | Trouble]:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            for item in self._read(message.get("text"), message.get("bytes")):
                yield item
            if self._bad_events > MAX_BAD_EVENTS:
                await self.close(POLICY_VIOLATION, "too many events that could not be read")
                return

    def _read(self, text: str | None, data: bytes | None) -> list[ClientMessage | Trouble]:
        try:
            if text is None:
                size = len(data or b"")
                raise BadEvent(
                    Trouble(
                        "invalid_message",
                        f"a binary message of {size} bytes; events are JSON text, "
                        "audio goes base64 into input_audio_buffer.append",
                    )
                )
            if len(text) > self._settings.max_message_bytes:
                raise BadEvent(
                    Trouble(
                        "message_too_large",
                        f"the event has {len(text)} characters; "
                        f"{self._settings.max_message_bytes} are allowed, so cut the audio",
                    )
                )
            return list(parse(text))
        except BadEvent as error:
            self._bad_events += 1
            return [error.trouble]

    async def send(self, notice: Notice) -> None:
        for event in self._writer.write(notice):
            await self._send_event(event)

    async def _send_event(self, event: dict[str, object]) -> None:
        try:
            await self._socket.send_text(json.dumps(event, ensure_ascii=False))
        except (WebSocketDisconnect, RuntimeError) as error:
            # Starlette raises RuntimeError for a send after the close was seen.
            raise Disconnected from error

    async def close(self, code: int, reason: str) -> None:
        if self._socket.application_state is WebSocketState.CONNECTED:
            try:
                await self._socket.close(code, reason[:120])
            except (WebSocketDisconnect, RuntimeError):
                return  # the client was faster
