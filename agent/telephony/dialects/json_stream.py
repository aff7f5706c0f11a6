"""What the providers share whose streams are JSON text, with the sound in base64.

Twilio's protocol came first; the others renamed its fields and events.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from agent.audio.samples import Samples
from agent.telephony.dialects.base import (
    AudioReceived,
    Capabilities,
    DialectError,
    Dtmf,
    MarkReached,
    PeerEvent,
    Started,
    Stopped,
    Unsupported,
    WireMessage,
)
from agent.telephony.dialects.encodings import Encoding
from agent.telephony.dialects.json_fields import JsonFields, base64_text, read_object

CALLER = ("inbound", "inbound_track")
"""Names of the track that carries the caller's sound."""


class JsonStream(ABC):
    """One stream. ``stop`` may never come; what the agent sends is a matter of each provider."""

    capabilities = Capabilities()
    no_transfer: ClassVar[str]
    """Why there is no transfer over the socket, and what to do instead."""

    def __init__(self) -> None:
        self._encoding: Encoding | None = None

    def read(self, message: WireMessage) -> list[PeerEvent]:
        fields = read_object(message)
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

    @abstractmethod
    def _start(self, start: JsonFields, message: JsonFields) -> Started:
        """Read the call and the form of its sound, which is kept in ``_encoding``."""

    def _other(self, event: str, message: JsonFields) -> list[PeerEvent]:
        """An event that is this provider's alone; unknown ones say nothing."""
        return []

    def _media(self, media: JsonFields) -> list[PeerEvent]:
        if media.text("track", CALLER[0]) not in CALLER:
            return []
        return self._heard(self._form.decode(media.data("payload")), media)

    def _heard(self, samples: Samples, media: JsonFields) -> list[PeerEvent]:
        return [AudioReceived(samples)]

    @property
    def _form(self) -> Encoding:
        if self._encoding is None:
            raise DialectError("sound came before the start message")
        return self._encoding

    def _payload(self, samples: Samples) -> str:
        return base64_text(self._form.encode(samples))

    def hang_up(self) -> list[WireMessage]:
        return []

    def transfer(self, destination: str) -> list[WireMessage]:
        raise Unsupported(self.no_transfer)
