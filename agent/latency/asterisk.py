"""Asterisk's end of a call over chan_websocket: binary mu-law audio and JSON control messages.

Source: docs.asterisk.org, "WebSocket channel driver".
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterable, Iterator

from agent.audio.g711 import encode_mulaw
from agent.audio.samples import Samples
from agent.latency.connection import ReceivedEvent
from agent.latency.realtime import hung_up
from agent.latency.telephony import RATE, Message, TelephonyConnection

FRAME_BYTES = RATE // 50


class AsteriskConnection(TelephonyConnection):
    """One Asterisk channel that sends and plays mu-law at 8 kHz.

    Args:
        url: address of the agent's media socket.
        login: ``user:password`` for HTTP basic authentication, as in websocket_client.conf.
    """

    def __init__(self, url: str, login: str | None = None) -> None:
        headers = {}
        if login is not None:
            coded = base64.b64encode(login.encode()).decode("ascii")
            headers["Authorization"] = f"Basic {coded}"
        super().__init__(url, headers)

    def _opening(self) -> Iterable[Message]:
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
        return [json.dumps(start)]

    def _said(self, frame: Samples) -> Message:
        return encode_mulaw(frame)

    def _played(self, mark: str) -> Message:
        return json.dumps({"event": "MEDIA_MARK_PROCESSED", "correlation_id": mark})

    def _read(self, message: Message) -> Iterator[ReceivedEvent]:
        if isinstance(message, bytes):
            yield self._plays(message)
            return
        control = json.loads(message)
        match control["command"]:
            case "MARK_MEDIA":
                self._playout.mark(control["correlation_id"])
            case "FLUSH_MEDIA":
                yield self._clears()
            case "HANGUP":
                raise hung_up("HANGUP")
