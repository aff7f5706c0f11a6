"""Telnyx media streaming in RTP mode: JSON text, audio as base64, in any order.

(developers.telnyx.com, "Stream call media over WebSocket"; the webhook must ask for
``bidirectionalMode="rtp"``, or our audio is taken for MP3 and dropped)
"""

from __future__ import annotations

from agent.audio.samples import Samples
from agent.telephony.dialects.base import AudioReceived, Complaint, PeerEvent
from agent.telephony.dialects.encodings import Encoding
from agent.telephony.dialects.json_fields import JsonFields
from agent.telephony.dialects.json_stream import FieldNames, JsonStream

WINDOW = 3
"""Chunks that may wait for an earlier one: 60 ms."""
RESTART = 1000
"""A chunk number that falls back by more than this begins a new count."""


class ChunkReorderer:
    """Puts numbered chunks in order again; a missing chunk is waited for, but not long."""

    def __init__(self) -> None:
        self._next: int | None = None
        self._early: dict[int, AudioReceived] = {}

    def push(self, number: int, audio: AudioReceived) -> list[PeerEvent]:
        """Take chunk ``number``; returns the chunks whose turn has come. Late ones are dropped."""
        if self._next is None or number < self._next - RESTART:
            self._next = number
            self._early.clear()
        if number < self._next:
            return []
        self._early[number] = audio
        if len(self._early) > WINDOW:
            self._next = min(self._early)
        ready: list[PeerEvent] = []
        while (waiting := self._early.pop(self._next, None)) is not None:
            ready.append(waiting)
            self._next += 1
        return ready


class TelnyxStream(JsonStream):
    """One stream. The call's id is inside ``start``, the stream's outside."""

    names = FieldNames(
        "stream_id", "call_control_id", "media_format", "sample_rate", "custom_parameters"
    )
    encodings = frozenset({Encoding.MULAW, Encoding.ALAW})
    encoding_advice = "choose PCMU or PCMA: Telnyx does not tell the byte order of L16"

    def __init__(self) -> None:
        super().__init__()
        self._token = ""
        self._order = ChunkReorderer()

    def _other(self, event: str, message: JsonFields) -> list[PeerEvent]:
        if event == "connected":
            self._token = message.text("x-telnyx-streaming-auth-token", "")
        if event == "error":
            return [Complaint("Telnyx reports an error in what it was sent")]
        return []

    def _parameters(self, start: JsonFields, message: JsonFields) -> dict[str, str]:
        found = super()._parameters(start, message)
        return found if found.get("token") or not self._token else found | {"token": self._token}

    def _received(self, samples: Samples, media: JsonFields) -> list[PeerEvent]:
        return self._order.push(media.integer("chunk"), AudioReceived(samples))

    def _addressed(self) -> dict[str, str]:
        return {}  # a socket has one stream
