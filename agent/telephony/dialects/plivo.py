"""Plivo audio streaming: JSON text, audio as base64, numbers as numbers, no ``stop``.

(plivo.com/docs, "Audio streaming reference")
"""

from __future__ import annotations

from agent.audio.samples import Samples
from agent.telephony.dialects.base import DialectError, MarkReached, PeerEvent, WireMessage
from agent.telephony.dialects.encodings import Encoding
from agent.telephony.dialects.json_fields import MAX_PARAMETER, MAX_PARAMETERS, JsonFields, to_json
from agent.telephony.dialects.json_stream import FieldNames, JsonStream

CONTENT_TYPES = {Encoding.MULAW: "audio/x-mulaw", Encoding.L16: "audio/x-l16"}


class PlivoStream(JsonStream):
    """One stream. Its timestamps are of the wall clock, not of the audio."""

    names = FieldNames("streamId", "callId", "mediaFormat", "sampleRate", "extra_headers")
    encodings = frozenset(CONTENT_TYPES)
    encoding_advice = "Plivo streams mu-law or 16-bit linear sound only"

    def _other(self, event: str, message: JsonFields) -> list[PeerEvent]:
        return [MarkReached(message.text("name"))] if event == "playedStream" else []

    def _parameters(self, start: JsonFields, message: JsonFields) -> dict[str, str]:
        return _extra_headers(message)

    def sound(self, samples: Samples) -> list[WireMessage]:
        media = {
            "contentType": CONTENT_TYPES[self._known_encoding],
            "sampleRate": self._rate,
            "payload": self._payload(samples),
        }
        return [to_json({"event": "playAudio", "media": media})]

    def mark(self, name: str) -> list[WireMessage]:
        return [to_json({"event": "checkpoint", **self._addressed(), "name": name})]

    def clear(self) -> list[WireMessage]:
        return [self._command("clearAudio")]


def _extra_headers(message: JsonFields) -> dict[str, str]:
    """The values of ``extra_headers``: ``a=1;b=2``, or with commas."""
    raw = message.long_text("extra_headers", MAX_PARAMETER)
    pairs = [pair.partition("=") for pair in raw.replace(",", ";").split(";")]
    if len(pairs) > MAX_PARAMETERS:
        raise DialectError(f"extra_headers holds more than {MAX_PARAMETERS} values")
    return {key.strip(): value.strip() for key, found, value in pairs if found}
