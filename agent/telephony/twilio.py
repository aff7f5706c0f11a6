"""Twilio Media Streams, and two that took their protocol over: SignalWire and Exotel.

JSON text both ways, sound as base64. (twilio.com/docs/voice/media-streams/websocket-messages;
developer.exotel.com, "Stream and Voicebot applet")
"""

from __future__ import annotations

from dataclasses import dataclass

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
from agent.telephony.envelope import Fields, base64_text, read_object, written


@dataclass(frozen=True, slots=True)
class Spelling:
    """How a provider writes the names of the protocol."""

    stream: str = "streamSid"
    call: str = "callSid"
    form: str = "mediaFormat"
    rate: str = "sampleRate"
    parameters: str = "customParameters"
    encoding: Encoding | None = None
    """Used whatever the provider calls it."""


CAMEL_CASE = Spelling()
EXOTEL = Spelling(
    "stream_sid", "call_sid", "media_format", "sample_rate", "custom_parameters", Encoding.L16
)


class MediaStream:
    """One stream. Numbers may come as strings, and ``stop`` may never come."""

    capabilities = Capabilities()

    def __init__(self, spelling: Spelling = CAMEL_CASE) -> None:
        self._spelling = spelling
        self._encoding: Encoding | None = None
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
            case "mark":
                return [MarkReached(fields.section("mark").text("name"))]
            case "stop":
                return [Stopped("the caller hung up")]
            case _:
                return []

    def _start(self, start: Fields, message: Fields) -> Started:
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

    def _media(self, media: Fields) -> list[PeerEvent]:
        if media.text("track", "inbound") not in ("inbound", "inbound_track"):
            return []
        at = media.integer("timestamp") / 1000 if media.has("timestamp") else None
        return [Sound(self._form.decode(media.data("payload")), at)]

    @property
    def _form(self) -> Encoding:
        if self._encoding is None:
            raise DialectError("sound came before the start message")
        return self._encoding

    def sound(self, samples: Samples) -> list[Wire]:
        payload = base64_text(self._form.encode(samples))
        return [self._command("media", {"payload": payload})]

    def mark(self, name: str) -> list[Wire]:
        return [self._command("mark", {"name": name})]

    def clear(self) -> list[Wire]:
        return [self._command("clear")]

    def hang_up(self) -> list[Wire]:
        return []

    def transfer(self, destination: str) -> list[Wire]:
        raise Unsupported(
            "this provider transfers over its REST API; let the answer of the webhook go on with "
            "a Dial verb, and hang up"
        )

    def _command(self, event: str, body: dict[str, str] | None = None) -> str:
        command: dict[str, object] = {"event": event, self._spelling.stream: self._stream_id}
        return written(command if body is None else command | {event: body})


class ExotelStream(MediaStream):
    """Exotel: snake case and 16-bit sound, in pieces of at least 3200 bytes."""

    capabilities = Capabilities(frame_samples=1600)

    def __init__(self) -> None:
        super().__init__(EXOTEL)
