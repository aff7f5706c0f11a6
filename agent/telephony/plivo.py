"""Plivo audio streaming: JSON text, sound as base64, numbers as numbers, no ``stop``.

(plivo.com/docs, "Audio streaming reference")
"""

from __future__ import annotations

from agent.audio import Samples
from agent.telephony.dialect import (
    Capabilities,
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
from agent.telephony.envelope import (
    MAX_PARAMETER,
    MAX_PARAMETERS,
    Fields,
    base64_text,
    read_object,
    written,
)

CONTENT_TYPES = {Encoding.MULAW: "audio/x-mulaw", Encoding.L16: "audio/x-l16"}


class PlivoStream:
    """One stream."""

    capabilities = Capabilities()

    def __init__(self) -> None:
        self._encoding: Encoding | None = None
        self._rate = 0
        self._stream_id = ""

    def read(self, message: Wire) -> list[PeerEvent]:
        fields = read_object(message)
        match fields.text("event"):
            case "start":
                return [self._start(fields.section("start"), fields)]
            case "media":
                return self._media(fields.section("media"))
            case "dtmf":
                return [Dtmf(fields.section("dtmf").text("digit"))]
            case "playedStream":
                return [MarkReached(fields.text("name"))]
            case "stop":
                return [Stopped("the caller hung up")]
            case _:
                return []

    def _start(self, start: Fields, message: Fields) -> Started:
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

    def _media(self, media: Fields) -> list[PeerEvent]:
        if media.text("track", "inbound") != "inbound":
            return []
        # Its timestamps are of the clock on the wall, not of the sound.
        return [Sound(self._form.decode(media.data("payload")))]

    @property
    def _form(self) -> Encoding:
        if self._encoding is None:
            raise DialectError("sound came before the start message")
        return self._encoding

    def sound(self, samples: Samples) -> list[Wire]:
        media = {
            "contentType": CONTENT_TYPES[self._form],
            "sampleRate": self._rate,
            "payload": base64_text(self._form.encode(samples)),
        }
        return [written({"event": "playAudio", "media": media})]

    def mark(self, name: str) -> list[Wire]:
        return [written({"event": "checkpoint", "streamId": self._stream_id, "name": name})]

    def clear(self) -> list[Wire]:
        return [written({"event": "clearAudio", "streamId": self._stream_id})]

    def hang_up(self) -> list[Wire]:
        return []

    def transfer(self, destination: str) -> list[Wire]:
        raise Unsupported("Plivo transfers over its REST API, not over the media socket")


def _extra_headers(message: Fields) -> dict[str, str]:
    """``a=1;b=2``, or with commas."""
    raw = message.long_text("extra_headers", MAX_PARAMETER)
    pairs = [pair.partition("=") for pair in raw.replace(",", ";").split(";")]
    if len(pairs) > MAX_PARAMETERS:
        raise DialectError(f"extra_headers holds more than {MAX_PARAMETERS} values")
    return {key.strip(): value.strip() for key, found, value in pairs if found}
