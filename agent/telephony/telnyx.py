"""Telnyx media streaming in RTP mode: JSON text, sound as base64, in any order.

(developers.telnyx.com, "Stream call media over WebSocket"; the webhook must ask for
``bidirectionalMode="rtp"``, or what is sent is taken for MP3 and dropped)
"""

from __future__ import annotations

from agent.audio import Samples
from agent.telephony.dialect import (
    Capabilities,
    Complaint,
    DialectError,
    Dtmf,
    MarkReached,
    PeerEvent,
    Sound,
    Started,
    Stopped,
    Unsupported,
    Wire,
)
from agent.telephony.encodings import Encoding, check_rate, encoding_named
from agent.telephony.envelope import Fields, base64_text, read_object, written

WINDOW = 3
"""Chunks that may wait for an earlier one: 60 ms."""
RESTART = 1000
"""A chunk number that falls back by more than this begins a new count."""


class InOrder:
    """Puts numbered chunks in order again; one that is missing is waited for, but not long."""

    def __init__(self) -> None:
        self._next: int | None = None
        self._early: dict[int, Sound] = {}

    def push(self, number: int, sound: Sound) -> list[PeerEvent]:
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


class TelnyxStream:
    """One stream. The call's id is inside ``start``, the stream's outside."""

    capabilities = Capabilities()

    def __init__(self) -> None:
        self._encoding: Encoding | None = None
        self._token: str | None = None
        self._order = InOrder()

    def read(self, message: Wire) -> list[PeerEvent]:
        fields = read_object(message)
        match fields.text("event"):
            case "connected":
                self._token = fields.text("x-telnyx-streaming-auth-token", "") or None
                return []
            case "start":
                return [self._start(fields.section("start"), fields.text("stream_id"))]
            case "media":
                return self._media(fields.section("media"))
            case "dtmf":
                return [Dtmf(fields.section("dtmf").text("digit"))]
            case "mark":
                return [MarkReached(fields.section("mark").text("name"))]
            case "error":
                return [Complaint("Telnyx reports an error in what it was sent")]
            case "stop":
                return [Stopped("the caller hung up")]
            case _:
                return []

    def _start(self, start: Fields, stream_id: str) -> Started:
        form = start.section("media_format")
        self._encoding = encoding_named(form.text("encoding"))
        if self._encoding is Encoding.L16:
            raise DialectError("choose PCMU or PCMA: Telnyx does not tell the byte order of L16")
        parameters = start.parameters("custom_parameters")
        return Started(
            start.text("call_control_id"),
            stream_id,
            check_rate(form.integer("sample_rate")),
            start.text("from", ""),
            start.text("to", ""),
            parameters,
            parameters.pop("token", None) or self._token,
        )

    def _media(self, media: Fields) -> list[PeerEvent]:
        if media.text("track", "inbound") not in ("inbound", "inbound_track"):
            return []
        sound = Sound(self._form.decode(media.data("payload")))
        return self._order.push(media.integer("chunk"), sound)

    @property
    def _form(self) -> Encoding:
        if self._encoding is None:
            raise DialectError("sound came before the start message")
        return self._encoding

    def sound(self, samples: Samples) -> list[Wire]:
        payload = base64_text(self._form.encode(samples))
        return [written({"event": "media", "media": {"payload": payload}})]

    def mark(self, name: str) -> list[Wire]:
        return [written({"event": "mark", "mark": {"name": name}})]

    def clear(self) -> list[Wire]:
        return [written({"event": "clear"})]

    def hang_up(self) -> list[Wire]:
        return []

    def transfer(self, destination: str) -> list[Wire]:
        raise Unsupported("Telnyx transfers over its Call Control API, not over the media socket")
