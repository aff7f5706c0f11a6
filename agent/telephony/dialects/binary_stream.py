"""The common part of the dialects with audio in binary messages and all else as text."""

from __future__ import annotations

from abc import ABC, abstractmethod

from agent.audio.samples import Samples
from agent.telephony.dialects.base import AudioReceived, DialectError, PeerEvent, WireMessage
from agent.telephony.dialects.json_fields import MAX_MESSAGE
from agent.telephony.dialects.stream import ProviderStream


class BinaryStream(ProviderStream, ABC):
    """One stream. A binary message is audio in the encoding of the start message."""

    def read(self, message: WireMessage) -> list[PeerEvent]:
        return self._audio(message) if isinstance(message, bytes) else self._text(message)

    @abstractmethod
    def _text(self, message: str) -> list[PeerEvent]:
        """The events of a text message; unknown kinds mean nothing."""

    def _audio(self, data: bytes) -> list[PeerEvent]:
        if len(data) > MAX_MESSAGE:
            raise DialectError(f"a message of {len(data)} bytes; {MAX_MESSAGE} are allowed")
        return [AudioReceived(self._decode(data))]

    def sound(self, samples: Samples) -> list[WireMessage]:
        return [self._encode(samples)]
