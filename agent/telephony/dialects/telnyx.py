"""Telnyx media streaming in RTP mode: JSON text, sound as base64, in any order.

(developers.telnyx.com, "Stream call media over WebSocket"; the webhook must ask for
``bidirectionalMode="rtp"``, or what is sent is taken for MP3 and dropped)
"""

from __future__ import annotations

from agent.audio.samples import Samples
from agent.telephony.dialects.base import (
    AudioReceived,
    Complaint,
    DialectError,
    PeerEvent,
    Started,
    WireMessage,
)
from agent.telephony.dialects.encodings import Encoding, check_rate, encoding_named
from agent.telephony.dialects.json_fields import JsonFields, to_json
from agent.telephony.dialects.json_stream import JsonStream

WINDOW = 3
"""Chunks that may wait for an earlier one: 60 ms."""
RESTART = 1000
"""A chunk number that falls back by more than this begins a new count."""


class ChunkReorderer:
    """Puts numbered chunks in order again; one that is missing is waited for, but not long."""

    def __init__(self) -> None:
        self._next: int | None = None
        self._early: dict[int, AudioReceived] = {}

    def push(self, number: int, sound: AudioReceived) -> list[PeerEvent]:
        """What can be heard now. A chunk that comes too late is dropped."""
        if self._next is None or number < self._next - RESTART:
            self._next = number
            self._early.clear()
        if number < self._next:
            return []
        self._early[number] = sound
        if len(self._early) > WINDOW:
            self._next = min(self._early)
        ready: list[PeerEvent] = []
        while (waiting := self._early.pop(self._next, None)) is not None:
            ready.append(waiting)
            self._next += 1
        return ready


class TelnyxStream(JsonStream):
    """One stream. The call's id is inside ``start``, the stream's outside."""

    no_transfer = "Telnyx transfers over its Call Control API, not over the media socket"

    def __init__(self) -> None:
        super().__init__()
        self._token: str | None = None
        self._order = ChunkReorderer()

    def _other(self, event: str, message: JsonFields) -> list[PeerEvent]:
        if event == "connected":
            self._token = message.text("x-telnyx-streaming-auth-token", "") or None
        if event == "error":
            return [Complaint("Telnyx reports an error in what it was sent")]
        return []

    def _start(self, start: JsonFields, message: JsonFields) -> Started:
        form = start.section("media_format")
        self._encoding = encoding_named(form.text("encoding"))
        if self._encoding is Encoding.L16:
            raise DialectError("choose PCMU or PCMA: Telnyx does not tell the byte order of L16")
        parameters = start.parameters("custom_parameters")
        return Started(
            start.text("call_control_id"),
            message.text("stream_id"),
            check_rate(form.integer("sample_rate")),
            start.text("from", ""),
            start.text("to", ""),
            parameters,
            parameters.pop("token", None) or self._token,
        )

    def _heard(self, samples: Samples, media: JsonFields) -> list[PeerEvent]:
        return self._order.push(media.integer("chunk"), AudioReceived(samples))

    def sound(self, samples: Samples) -> list[WireMessage]:
        return [to_json({"event": "media", "media": {"payload": self._payload(samples)}})]

    def mark(self, name: str) -> list[WireMessage]:
        return [to_json({"event": "mark", "mark": {"name": name}})]

    def clear(self) -> list[WireMessage]:
        return [to_json({"event": "clear"})]
