"""Twilio Media Streams, and two that took their protocol over: SignalWire and Exotel.

JSON text both ways, sound as base64. (twilio.com/docs/voice/media-streams/websocket-messages;
developer.exotel.com, "Stream and Voicebot applet")
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.audio.samples import Samples
from agent.telephony.dialects.base import (
    AudioReceived,
    Capabilities,
    PeerEvent,
    Started,
    WireMessage,
)
from agent.telephony.dialects.encodings import Encoding, check_rate, encoding_named
from agent.telephony.dialects.json_fields import JsonFields, to_json
from agent.telephony.dialects.json_stream import JsonStream


@dataclass(frozen=True, slots=True)
class FieldNames:
    """How a provider writes the names of the protocol."""

    stream: str = "streamSid"
    call: str = "callSid"
    form: str = "mediaFormat"
    rate: str = "sampleRate"
    parameters: str = "customParameters"
    encoding: Encoding | None = None
    """Used whatever the provider calls it."""


CAMEL_CASE = FieldNames()
EXOTEL = FieldNames(
    "stream_sid", "call_sid", "media_format", "sample_rate", "custom_parameters", Encoding.L16
)


class MediaStream(JsonStream):
    """One stream. Numbers may come as strings."""

    no_transfer = (
        "this provider transfers over its REST API; let the answer of the webhook go on with "
        "a Dial verb, and hang up"
    )

    def __init__(self, spelling: FieldNames = CAMEL_CASE) -> None:
        super().__init__()
        self._spelling = spelling
        self._stream_id = ""

    def _start(self, start: JsonFields, message: JsonFields) -> Started:
        names = self._spelling
        form = start.section(names.form)
        self._encoding = names.encoding or encoding_named(form.text("encoding"))
        holder = start if start.has(names.stream) else message
        self._stream_id = holder.text(names.stream)
        parameters = start.parameters(names.parameters)
        return Started(
            start.text(names.call),
            self._stream_id,
            check_rate(form.integer(names.rate)),
            start.text("from", ""),
            start.text("to", ""),
            parameters,
            parameters.pop("token", None),
        )

    def _heard(self, samples: Samples, media: JsonFields) -> list[PeerEvent]:
        at = media.integer("timestamp") / 1000 if media.has("timestamp") else None
        return [AudioReceived(samples, at)]

    def sound(self, samples: Samples) -> list[WireMessage]:
        return [self._command("media", {"payload": self._payload(samples)})]

    def mark(self, name: str) -> list[WireMessage]:
        return [self._command("mark", {"name": name})]

    def clear(self) -> list[WireMessage]:
        return [self._command("clear")]

    def _command(self, event: str, body: dict[str, str] | None = None) -> str:
        command: dict[str, object] = {"event": event, self._spelling.stream: self._stream_id}
        return to_json(command if body is None else command | {event: body})


class ExotelStream(MediaStream):
    """Exotel: snake case and 16-bit sound, in pieces of at least 3200 bytes."""

    capabilities = Capabilities(frame_samples=1600)

    def __init__(self) -> None:
        super().__init__(EXOTEL)
