"""Asterisk's chan_websocket: binary audio, control messages as JSON or as plain text.

The first message shows which of the two. (docs.asterisk.org, "WebSocket channel
driver"; channels/chan_websocket.c) Asterisk silently drops a control message of more than 128
bytes, the part of an audio message that fills no frame, and audio beyond 1000 frames.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from agent.telephony.dialects.base import (
    Capabilities,
    Complaint,
    DialectError,
    Dtmf,
    Held,
    MarkReached,
    PeerEvent,
    Resumed,
    Started,
    WireMessage,
)
from agent.telephony.dialects.binary_stream import BinaryStream
from agent.telephony.dialects.encodings import check_rate, encoding_named
from agent.telephony.dialects.json_fields import MAX_MESSAGE, JsonFields, read_object, to_json

MAX_CONTROL = 128
"""Bytes of a control message, at most."""
_SLIN = re.compile(r"slin(\d*)")


class AsteriskStream(BinaryStream):
    """One channel, in the form of control messages that its first message has."""

    def __init__(self) -> None:
        super().__init__()
        # A channel whose caller is muted or on hold sends no sound.
        self.capabilities = Capabilities(steady=False)
        self._json = True

    def _text(self, message: str) -> list[PeerEvent]:
        if len(message) > MAX_MESSAGE:
            raise DialectError(f"a message of {len(message)} characters")
        event, fields = self._control(message)
        match event:
            case "MEDIA_START":
                return [self._start(fields)]
            case "MEDIA_MARK_PROCESSED":
                return [MarkReached(fields.text("correlation_id"))]
            case "DTMF_END":
                return [Dtmf(fields.text("digit"))]
            case "MEDIA_XOFF":
                return [Held()]
            case "MEDIA_XON":
                return [Resumed()]
            case "ERROR":
                return [Complaint(fields.text("error_text", ""))]
            case _:
                return []

    def _audio(self, data: bytes) -> list[PeerEvent]:
        # Under load, audio may overtake MEDIA_START.
        return [] if self._encoding is None else super()._audio(data)

    def _control(self, message: str) -> tuple[str, JsonFields]:
        if message.startswith("{"):
            fields = read_object(message)
            return fields.text("event"), fields
        event, _, rest = message.partition(" ")
        return event, JsonFields(_text_fields(event, rest))

    def _start(self, fields: JsonFields) -> Started:
        self._json = fields.has("event")
        name = fields.text("format")
        self._encoding = encoding_named(name)
        rate = _rate(name)
        size = fields.integer("optimal_frame_size")
        samples, rest = divmod(size, self._encoding.sample_bytes)
        if rest or not 1 <= samples <= rate:
            raise DialectError(f"frames of {size} bytes")
        self.capabilities = Capabilities(frame_samples=samples, steady=False)
        variables = fields.parameters("channel_variables")
        channel = fields.text("channel_id")
        return Started(channel, fields.text("connection_id"), rate, parameters=variables)

    def mark(self, name: str) -> list[WireMessage]:
        return [self._command("MARK_MEDIA", name)]

    def clear(self) -> list[WireMessage]:
        return [self._command("FLUSH_MEDIA")]

    def hang_up(self) -> list[WireMessage]:
        return [self._command("HANGUP")]

    def _command(self, command: str, name: str | None = None) -> str:
        if self._json:
            body = {"command": command}
            return to_json(body if name is None else body | {"correlation_id": name})
        return command if name is None else f"{command} {name}"


def _text_fields(event: str, rest: str) -> Mapping[str, str]:
    """Fields of a plain-text message: ``key:value`` pairs, or one field for marks and errors."""
    if event == "MEDIA_MARK_PROCESSED":
        return {"correlation_id": rest.removeprefix("correlation_id:")}
    if event == "ERROR":
        return {"error_text": rest.partition("error_text:")[2][:200]}
    pairs = (pair.partition(":") for pair in rest.split(" "))
    return {key: value for key, found, value in pairs if found}


def _rate(name: str) -> int:
    """Samples per second of a format: slin is 8000, slin16 is 16000, slin44 is 44100."""
    linear = _SLIN.fullmatch(name)
    if linear is None or not linear[1]:
        return 8000
    return 44_100 if linear[1] == "44" else check_rate(int(linear[1][:4]) * 1000)
