"""The formats of audio in events: 16-bit PCM of any rate, and G.711 at 8000 Hz."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from agent.audio.g711 import decode_alaw, decode_mulaw, encode_alaw, encode_mulaw
from agent.audio.samples import Samples, from_pcm16, to_pcm16

G711_RATE = 8000


@dataclass(frozen=True, slots=True)
class WireFormat:
    """A format of mono audio.

    Attributes:
        kind: ``pcm`` is 16-bit little-endian; ``pcmu`` and ``pcma`` are G.711's mu-law and A-law.
        rate: samples per second.
    """

    kind: Literal["pcm", "pcmu", "pcma"] = "pcm"
    rate: int = 24_000

    def decode(self, data: bytes) -> Samples:
        """float32 in [-1, 1].

        Raises:
            AudioError: the bytes are no whole number of samples.
        """
        match self.kind:
            case "pcmu":
                return decode_mulaw(data)
            case "pcma":
                return decode_alaw(data)
            case "pcm":
                return from_pcm16(data)

    def encode(self, samples: Samples) -> bytes:
        """The samples as bytes; louder ones are clipped."""
        match self.kind:
            case "pcmu":
                return encode_mulaw(samples)
            case "pcma":
                return encode_alaw(samples)
            case "pcm":
                return to_pcm16(samples)
