"""The Realtime protocol over a websocket."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from agent.close_codes import HANG_UPS, POLICY_VIOLATION
from agent.config.settings import ServerSettings
from agent.protocol import WIRE_RATE, ClientMessage, EventWriter, Pinged, Reading
from agent.session.notices import Notice, Trouble
from agent.transports.base import Disconnected, RuleBroken, WayBack, lost
from agent.transports.client_lag import ClientLag
from agent.transports.observers import Observers
from agent.transports.pace import Pace, Paces
from agent.transports.reading import EventReader, begins_turn, read_beside


class WebsocketTransport:
    """One accepted websocket that speaks docs/protocol.md.

    Args:
        reading: the state of the session that the meaning of events depends on.
        pace: how fast the client's events may come; None: as for a client of its own address.

    Attributes:
        released: set once nothing more is to be done with the socket.
        observers: of the events of the call.
    """

    rate = WIRE_RATE

    def __init__(
        self,
        socket: WebSocket,
        writer: EventWriter,
        settings: ServerSettings,
        reading: Reading | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._socket = socket
        self._writer = writer
        self.reader = EventReader(settings.max_message_bytes, reading)
        self._pace = pace or Paces().of("")
        self._lag = ClientLag()
        self.released = asyncio.Event()
        self.observers = Observers()

    async def open(self, way_back: WayBack | None = None) -> None:
        """Send ``session.created``, and how to come back after a lost connection.

        Raises:
            Disconnected: the client is gone.
        """
        await self._send_event(self._writer.created())
        if way_back is not None:
            await self._send_event(self._writer.resumable(*way_back))

    async def receive(self) -> AsyncIterator[ClientMessage | Trouble]:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                if message.get("code") not in HANG_UPS:
                    raise lost(message.get("code"))
                return
            self._pace.begin()
            text = message.get("text")
            wire = message["bytes"] if text is None else text
            for item in self.reader.read(wire):
                self._pace.note(len(wire), begins_turn(item))
                if isinstance(item, Pinged):
                    await self._answer(item)
                else:
                    yield item
            if (remark := self._pace.remark()) is not None:
                yield remark
            if self._pace.exceeded:
                raise RuleBroken(POLICY_VIOLATION, "too much too fast")
            await self._pace.rest()
            if self.reader.exhausted:
                raise RuleBroken(POLICY_VIOLATION, "too many events that could not be read")

    async def _answer(self, ping: Pinged) -> None:
        pong = self._writer.pong(ping, time.monotonic())
        newest = None if ping.server_time_ms is None else ping.server_time_ms / 1000
        # To the same digits as in the pong, by which the client confirms it.
        self._lag.pinged(ping.client_time_ms / 1000, newest, pong["server_time_ms"] / 1000)
        await self._send_event(pong)

    def behind(self) -> float:
        """Seconds by which the client is behind what was sent to it; 0 where it does not tell."""
        return self._lag.behind(time.monotonic())

    def beside(self, message: str | bytes) -> Iterator[ClientMessage | Trouble]:
        """Read an event of one that controls the call beside its client."""
        return read_beside(self.reader, self._pace, message)

    async def send(self, notice: Notice) -> None:
        for event in self._writer.write(notice):
            await self._send_event(event)

    async def _send_event(self, event: dict[str, object]) -> None:
        self.observers.show(event)
        try:
            await self._socket.send_text(json.dumps(event, ensure_ascii=False))
        except (WebSocketDisconnect, RuntimeError) as error:
            # Starlette raises RuntimeError for a send after the close was seen.
            raise Disconnected from error

    async def close(self, code: int, reason: str) -> None:
        self.released.set()
        if self._socket.application_state is WebSocketState.CONNECTED:
            try:
                await self._socket.close(code, reason[:120])
            except (WebSocketDisconnect, RuntimeError):
                return  # the client closed first
