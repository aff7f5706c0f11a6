"""Sideband control: a websocket that sees and steers a WebRTC call of another client."""

from __future__ import annotations

import asyncio
import json

from starlette.websockets import WebSocket, WebSocketDisconnect

from agent.runtime.calls import CallRegistry
from agent.runtime.connection_slot import ConnectionSlot
from agent.server.access import Refused
from agent.server.forwarding import Forwarding
from agent.transports.observers import Events, Observable
from agent.transports.webrtc import WebRtcTransport

MAX_UNSENT = 1024
"""Events that may wait for a slow observer; then it is let go."""
MAX_OBSERVERS = 4
"""Observers of one call."""


class Sideband:
    """Attaches websockets to the calls of a server.

    Args:
        calls: of the server.
        forwarding: finds the calls of other processes and machines.
    """

    def __init__(self, calls: CallRegistry, forwarding: Forwarding) -> None:
        self._calls = calls
        self._forwarding = forwarding

    async def attach(self, websocket: WebSocket, call_id: str, key: str) -> None:
        """Serve a websocket as an observer of a call, until either ends.

        Args:
            key: name of the observer's key; calls of other keys are none of its business.

        Raises:
            Refused: there is no such call over WebRTC, or it has observers enough.
        """
        call = self._calls.find(call_id)
        if call is None and (target := self._forwarding.target(call_id, websocket)) is not None:
            gone = Refused(404, "call_not_found", "the server of this call is gone")
            await self._forwarding.websocket(target, websocket, gone)
            return
        place = None if call is None or call.key != key else call.transport
        transport = place.transport if isinstance(place, ConnectionSlot) else place
        if not isinstance(transport, WebRtcTransport):
            raise Refused(404, "call_not_found", f"there is no WebRTC call {call_id[:80]!r}")
        observers = transport.observers  # those of the call, whatever becomes of the connection
        if len(observers) >= MAX_OBSERVERS:
            raise Refused(429, "too_many_observers", f"{MAX_OBSERVERS} observers are here already")
        protocols = websocket.scope.get("subprotocols", [])
        await websocket.accept("realtime" if "realtime" in protocols else None)
        events: Events = asyncio.Queue(MAX_UNSENT)
        events.put_nowait(transport.greeting())
        observers.add(events)
        steered = place if isinstance(place, ConnectionSlot) else transport
        reading = asyncio.create_task(_read(websocket, steered))
        writing = asyncio.create_task(_write(websocket, events))
        try:
            await asyncio.wait({reading, writing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            observers.remove(events)
            for task in (reading, writing):
                task.cancel()
            await asyncio.gather(reading, writing, return_exceptions=True)


async def _read(websocket: WebSocket, steered: ConnectionSlot | WebRtcTransport) -> None:
    """Pass on the events of an observer, to the connection that the call has by then."""
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            return
        text = message.get("text")
        _steer(steered, message["bytes"] if text is None else text)


def _steer(steered: ConnectionSlot | WebRtcTransport, message: str | bytes) -> None:
    if isinstance(steered, WebRtcTransport):
        steered.take_message(message)
    elif isinstance(steered.transport, Observable):
        # Not by way of the connection, which may be lost at present.
        for item in steered.transport.beside(message):
            steered.steer(item)


async def _write(websocket: WebSocket, events: Events) -> None:
    try:
        while (event := await events.get()) is not None:
            await websocket.send_text(json.dumps(event, ensure_ascii=False))
        await websocket.close()
    except (WebSocketDisconnect, RuntimeError):
        return  # the observer is gone
