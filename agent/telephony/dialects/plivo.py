"""Plivo audio streaming: JSON text, sound as base64, numbers as numbers, no ``stop``.

(plivo.com/docs, "Audio streaming reference")
"""

from __future__ import annotations

from agent.audio.samples import Samples
from agent.telephony.dialects.base import DialectError, MarkReached, PeerEvent, Started, WireMessage
from agent.telephony.dialects.encodings import Encoding, check_rate, encoding_named
from agent.telephony.dialects.json_fields import MAX_PARAMETER, MAX_PARAMETERS, JsonFields, to_json
from agent.telephony.dialects.json_stream import JsonStream

CONTENT_TYPES = {Encoding.MULAW: "audio/x-mulaw", Encoding.L16: "audio/x-l16"}


class PlivoStream(JsonStream):
    """One stream. Its timestamps are of the clock on the wall, not of the sound."""

    no_transfer = "Plivo transfers over its REST API, not over the media socket"

    def __init__(self) -> None:
        super().__init__()
        self._rate = 0
        self._stream_id = ""

    def _other(self, event: str, message: JsonFields) -> list[PeerEvent]:
        return [MarkReached(message.text("name"))] if event == "playedStream" else []

    def _start(self, start: JsonFields, message: JsonFields) -> Started:
        form = start.section("mediaFormat")
        self._encoding = encoding_named(form.text("encoding"))
        if self._encoding not in CONTENT_TYPES:
            raise DialectError("Plivo streams mu-law or 16-bit linear sound only")
        self._rate = check_rate(form.integer("sampleRate"))
        self._stream_id = start.text("streamId")
        parameters = _extra_headers(message)
        token = parameters.pop("token", None)
        return Started(
            start.text("callId"), self._stream_id, self._rate, parameters=parameters, token=token
        )

    def sound(self, samples: Samples) -> list[WireMessage]:
        media = {
            "contentType": CONTENT_TYPES[self._form],
            "sampleRate": self._rate,
            "payload": self._payload(samples),
        }
        return [to_json({"event": "playAudio", "media": media})]

    def mark(self, name: str) -> list[WireMessage]:
        return [to_json({"event": "checkpoint", "streamId": self._stream_id, "name": name})]

    def clear(self) -> list[WireMessage]:
        return [to_json({"event": "clearAudio", "streamId": self._stream_id})]


def _extra_headers(message: JsonFields) -> dict[str, str]:
    """``a=1;b=2``, or with commas."""
    raw = message.long_text("extra_headers", MAX_PARAMETER)
    pairs = [pair.partition("=") for pair in raw.replace(",", ";").split(";")]
    if len(pairs) > MAX_PARAMETERS:
        raise DialectError(f"extra_headers holds more than {MAX_PARAMETERS} values")
    return {key.strip(): value.strip() for key, found, value in pairs if found}
