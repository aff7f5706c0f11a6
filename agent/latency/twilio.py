"""A telephone provider's end of a call: what Twilio sends to an agent, and does with its answer.

Twilio Media Streams, bidirectional (twilio.com/docs/voice/media-streams/websocket-messages):
JSON text, mu-law at 8 kHz. What arrives is buffered and played in order; a ``mark`` comes
back when it is reached, or at once when the buffer is cleared.
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


class TwilioWire:
    """One call.

    Args:
        url: where the agent takes media streams.
        token: goes into the parameters of the call as ``token``.
    """

    rate = RATE
    tells_replies = False
    resends = False

    def __init__(self, url: str, token: str | None = None) -> None:
        self._url = url
        self._token = token
        self._connection: ClientConnection | None = None
        self._stream = f"MZ{uuid.uuid4().hex}"
        self._call = f"CA{uuid.uuid4().hex}"
        self._messages = 0
        self._frames = 0
        self._playout = Playout(self._reached)

    async def dial(self) -> None:
        self._connection = await open_socket(self._url)
        await self._tell({"event": "connected", "protocol": "Call", "version": "1.0.0"})
        start = {
            "streamSid": self._stream,
            "accountSid": f"AC{uuid.uuid4().hex}",
            "callSid": self._call,
            "tracks": ["inbound"],
            "customParameters": {"token": self._token} if self._token else {},
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": RATE, "channels": 1},
        }
        await self._tell({"event": "start", "start": start})

    async def send(self, frame: Samples) -> None:
        media = {
            "track": "inbound",
            "chunk": str(self._frames + 1),
            "timestamp": str(self._frames * 20),
            "payload": base64.b64encode(encode_mulaw(frame)).decode("ascii"),
        }
        self._frames += 1
        await self._tell({"event": "media", "media": media})

    async def receive(self) -> AsyncIterator[Arrival]:
        assert self._connection is not None, "dial first"
        try:
            async for message in self._connection:
                for arrival in self._read(json.loads(message)):
                    yield arrival
        except ConnectionClosed as error:
            raise lost(error) from None
        raise hung_up(self._connection.close_reason)

    async def close(self) -> None:
        self._playout.stop()
        if self._connection is not None:
            await self._connection.close()

    def _read(self, command: dict[str, Any]) -> Iterator[Arrival]:
        match command["event"]:
            case "media":
                samples = decode_mulaw(base64.b64decode(command["media"]["payload"]))
                self._playout.play(len(samples) / RATE)
                yield Sound(samples)
            case "mark":
                self._playout.mark(command["mark"]["name"])
            case "clear":
                self._playout.clear()
                yield Hush()

    async def _reached(self, name: str) -> None:
        await self._tell({"event": "mark", "mark": {"name": name}})

    async def _tell(self, message: dict[str, Any]) -> None:
        assert self._connection is not None, "dial first"
        if message["event"] != "connected":
            self._messages += 1
            message |= {"sequenceNumber": str(self._messages), "streamSid": self._stream}
        try:
            await self._connection.send(json.dumps(message))
        except ConnectionClosed as error:
            raise lost(error) from None
