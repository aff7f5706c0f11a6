"""The common part of the dialects whose streams are JSON text with the audio in base64.

Twilio's protocol came first; the others renamed its fields and events. So the messages here are
Twilio's, written with each provider's names, and a dialect adds the differences of its provider.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from agent.audio.samples import Samples
from agent.telephony.dialects.base import (
    AudioReceived,
    Complaint,
    DialectError,
    Dtmf,
    MarkReached,
    PeerEvent,
    Started,
    Stopped,
    WireMessage,
)
from agent.telephony.dialects.encodings import Encoding, check_rate, encoding_named
from agent.telephony.dialects.json_fields import JsonFields, base64_text, read_object, to_json
from agent.telephony.dialects.stream import ProviderStream

CALLER = ("inbound", "inbound_track")
"""Names of the track that carries the caller's audio."""


@dataclass(frozen=True, slots=True)
class FieldNames:
    """The provider's names for the fields of the start message.

    Attributes:
        stream: id of the stream, inside ``start`` or beside it.
        call: id of the call.
        form: section with the form of the audio.
        rate: samples per second, in that section.
        parameters: section with the custom parameters.
    """

    stream: str
    call: str
    form: str
    rate: str
    parameters: str


CAMEL_CASE = FieldNames("streamSid", "callSid", "mediaFormat", "sampleRate", "customParameters")
SNAKE_CASE = FieldNames(
    "stream_sid", "call_sid", "media_format", "sample_rate", "custom_parameters"
)


class JsonStream(ProviderStream):
    """One stream. ``stop`` may never come, and numbers may come as strings."""

    names: ClassVar[FieldNames] = CAMEL_CASE
    encodings: ClassVar[frozenset[Encoding]] = frozenset(Encoding)
    """Encodings that can be played to this provider."""
    encoding_advice: ClassVar[str] = ""
    """The error for any other encoding, with the encodings to choose."""

    def __init__(self) -> None:
        super().__init__()
        self._stream_id = ""
        self._rate = 0
        self._told = False

    def read(self, message: WireMessage) -> list[PeerEvent]:
        fields = read_object(message)
        if self._is_of_another(fields):
            told, self._told = self._told, True
            text = "messages of another stream on this connection are ignored; connect it by itself"
            return [] if told else [Complaint(text)]
        match fields.text("event"):
            case "media":
                return self._media(fields.section("media"))
            case "start":
                return [self._start(fields.section("start"), fields)]
            case "dtmf":
                return [Dtmf(fields.section("dtmf").text("digit"))]
            case "mark":
                return [MarkReached(fields.section("mark").text("name"))]
            case "stop":
                return [Stopped("the caller hung up")]
            case event:
                return self._other(event, fields)

    def _is_of_another(self, message: JsonFields) -> bool:
        """Whether a message names another stream than the one that began on this connection."""
        named = message.raw(self.names.stream)
        return named != self._stream_id and bool(named and self._stream_id)

    def _other(self, event: str, message: JsonFields) -> list[PeerEvent]:
        """The events of a message that only this provider sends; unknown kinds mean nothing."""
        return []

    def _start(self, start: JsonFields, message: JsonFields) -> Started:
        names = self.names
        form = start.section(names.form)
        self._encoding = self._encoding_of(form)
        self._rate = check_rate(form.integer(names.rate))
        self._stream_id = (start if start.has(names.stream) else message).text(names.stream)
        parameters = self._parameters(start, message)
        return Started(
            start.text(names.call),
            self._stream_id,
            self._rate,
            start.text("from", ""),
            start.text("to", ""),
            parameters,
            parameters.pop("token", None),
        )

    def _encoding_of(self, form: JsonFields) -> Encoding:
        encoding = encoding_named(form.text("encoding"))
        if encoding not in self.encodings:
            raise DialectError(self.encoding_advice)
        return encoding

    def _parameters(self, start: JsonFields, message: JsonFields) -> dict[str, str]:
        """The custom parameters of the call, with the token among them."""
        return start.parameters(self.names.parameters)

    def _media(self, media: JsonFields) -> list[PeerEvent]:
        if media.text("track", CALLER[0]) not in CALLER:
            return []
        return self._received(self._decode(media.data("payload")), media)

    def _received(self, samples: Samples, media: JsonFields) -> list[PeerEvent]:
        return [AudioReceived(samples)]

    def _payload(self, samples: Samples) -> str:
        return base64_text(self._encode(samples))

    def sound(self, samples: Samples) -> list[WireMessage]:
        return [self._command("media", {"payload": self._payload(samples)})]

    def mark(self, name: str) -> list[WireMessage]:
        return [self._command("mark", {"name": name})]

    def clear(self) -> list[WireMessage]:
        return [self._command("clear")]

    def _command(self, event: str, body: dict[str, str] | None = None) -> str:
        command: dict[str, object] = {"event": event, **self._addressed()}
        return to_json(command if body is None else command | {event: body})

    def _addressed(self) -> dict[str, str]:
        """The field of a command that names the stream."""
        return {self.names.stream: self._stream_id}
