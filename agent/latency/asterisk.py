"""Asterisk's end of a call over chan_websocket: binary sound, control messages as JSON.

(docs.asterisk.org, "WebSocket channel driver")
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from agent.audio import Samples
from agent.latency.playout import Playout
from agent.latency.realtime import hung_up, lost, open_socket
from agent.latency.wire import Arrival, Hush, Sound
from agent.telephony.g711 import decode_mulaw, encode_mulaw

RATE = 8000
FRAME_BYTES = RATE // 50


class AsteriskWire:
    """One channel, in mu-law.

    Args:
        url: where the agent takes media sockets.
        login: ``user:password``, as in Asterisk's websocket_client.conf.
    """

    rate = RATE
    tells_replies = False
    resends = False

    def __init__(self, url: str, login: str | None = None) -> None:
        self._url = url
        self._login = login
        self._connection: ClientConnection | None = None
        self._playout = Playout(self._reached)

    async def dial(self) -> None:
        headers = {}
        if self._login is not None:
            login = base64.b64encode(self._login.encode()).decode("ascii")
            headers["Authorization"] = f"Basic {login}"
        self._connection = await open_socket(self._url, headers)
        start = {
            "event": "MEDIA_START",
            "connection_id": str(uuid.uuid4()),
            "channel": "WebSocket/latency-0001",
            "channel_id": str(uuid.uuid4()),
            "format": "ulaw",
            "optimal_frame_size": FRAME_BYTES,
            "ptime": 20,
            "channel_variables": {},
        }
        await self._tell(json.dumps(start))

    async def send(self, frame: Samples) -> None:
        await self._tell(encode_mulaw(frame))

    async def receive(self) -> AsyncIterator[Arrival]:
        assert self._connection is not None, "dial first"
        try:
            async for message in self._connection:
                if isinstance(message, bytes):
                    self._playout.play(len(message) / RATE)
                    yield Sound(decode_mulaw(message))
                    continue
                for arrival in self._read(json.loads(message)):
                    yield arrival
        except ConnectionClosed as error:
            raise lost(error) from None
        raise hung_up(self._connection.close_reason)

    async def close(self) -> None:
        self._playout.stop()
        if self._connection is not None:
            await self._connection.close()

    def _read(self, message: dict[str, Any]) -> Iterator[Arrival]:
        match message["command"]:
            case "MARK_MEDIA":
                self._playout.mark(message["correlation_id"])
            case "FLUSH_MEDIA":
                self._playout.clear()
                yield Hush()
            case "HANGUP":
                raise hung_up("HANGUP")

    async def _reached(self, name: str) -> None:
        event = {"event": "MEDIA_MARK_PROCESSED", "correlation_id": name}
        await self._tell(json.dumps(event))

    async def _tell(self, message: str | bytes) -> None:
        assert self._connection is not None, "dial first"
        try:
            await self._connection.send(message)
        except ConnectionClosed as error:
            raise lost(error) from None
