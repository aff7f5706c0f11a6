"""The Realtime protocol over a websocket."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from agent.close_codes import POLICY_VIOLATION
from agent.config.settings import ServerSettings
from agent.protocol import WIRE_RATE, ClientMessage, EventWriter, Pinged, Reading
from agent.session.notices import Notice, Trouble
from agent.transports.base import Disconnected
from agent.transports.reading import EventReader


class WebsocketTransport:
    """One accepted websocket that speaks docs/protocol.md.

    Args:
        reading: the state of the session that the meaning of events depends on.
    """

    rate = WIRE_RATE

    def __init__(
        self,
        socket: WebSocket,
        writer: EventWriter,
        settings: ServerSettings,
        reading: Reading | None = None,
    ) -> None:
        self._socket = socket
        self._writer = writer
        self.reader = EventReader(settings.max_message_bytes, reading)

    async def open(self) -> None:
        """Send ``session.created``.

        Raises:
            Disconnected: the client is gone.
        """
        await self._send_event(self._writer.created())

    async def receive(self) -> AsyncIterator[ClientMessage | Trouble]:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            for item in self.reader.read(message["bytes"] if text is None else text):
                if isinstance(item, Pinged):
                    await self._send_event(self._writer.pong(item, time.monotonic()))
                else:
                    yield item
            if self.reader.exhausted:
                await self.close(POLICY_VIOLATION, "too many events that could not be read")
                return

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
                return  # the client closed first
