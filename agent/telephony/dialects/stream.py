"""The common part of all dialects over a websocket: the encoding."""

from __future__ import annotations

from agent.audio.samples import Samples
from agent.telephony.dialects.base import Capabilities, DialectError, WireMessage
from agent.telephony.dialects.encodings import Encoding


class ProviderStream:
    """One stream of a provider. Its encoding is known once the call has started."""

    capabilities = Capabilities()

    def __init__(self) -> None:
        self._encoding: Encoding | None = None

    def _decode(self, data: bytes) -> Samples:
        return self._known_encoding.decode(data)

    def _encode(self, samples: Samples) -> bytes:
        return self._known_encoding.encode(samples)

    @property
    def _known_encoding(self) -> Encoding:
        if self._encoding is None:
            raise DialectError("audio came before the message that starts the call")
        return self._encoding

    def hang_up(self) -> list[WireMessage]:
        return []
