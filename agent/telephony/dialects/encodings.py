"""Encodings of audio in telephony: G.711 and linear PCM."""

from __future__ import annotations

from enum import Enum
from typing import assert_never

from agent.audio.g711 import decode_alaw, decode_mulaw, encode_alaw, encode_mulaw
from agent.audio.samples import Samples, from_pcm16, to_pcm16
from agent.telephony.dialects.base import DialectError

RATES = (8000, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
"""Samples per second that a peer may use."""


class Encoding(Enum):
    """An encoding, by the name used in error messages. Linear PCM is little-endian."""

    MULAW = "mu-law"
    ALAW = "A-law"
    L16 = "16-bit linear"

    @property
    def sample_bytes(self) -> int:
        return 1 if self in (Encoding.MULAW, Encoding.ALAW) else 2

    def decode(self, data: bytes) -> Samples:
        """Decode bytes to float32 in [-1, 1].

        Raises:
            DialectError: the bytes end within a sample.
        """
        if len(data) % self.sample_bytes:
            raise DialectError(f"{len(data)} bytes are no whole number of {self.value} samples")
        match self:
            case Encoding.MULAW:
                return decode_mulaw(data)
            case Encoding.ALAW:
                return decode_alaw(data)
            case Encoding.L16:
                return from_pcm16(data)
            case _:
                assert_never(self)

    def encode(self, samples: Samples) -> bytes:
        """Encode float32 in [-1, 1] to bytes; louder samples are clipped."""
        match self:
            case Encoding.MULAW:
                return encode_mulaw(samples)
            case Encoding.ALAW:
                return encode_alaw(samples)
            case Encoding.L16:
                return to_pcm16(samples)
            case _:
                assert_never(self)


_NAMES = {
    "mulaw": Encoding.MULAW,
    "ulaw": Encoding.MULAW,
    "pcmu": Encoding.MULAW,
    "alaw": Encoding.ALAW,
    "pcma": Encoding.ALAW,
    "l16": Encoding.L16,
    "slin": Encoding.L16,
}


def encoding_named(name: str) -> Encoding:
    """The encoding that a peer calls ``name``, such as ``audio/x-mulaw``, ``PCMU`` or ``slin16``.

    Raises:
        DialectError: the encoding is not supported.
    """
    plain = name.lower().removeprefix("audio/").removeprefix("x-")
    # "l16;rate=8000", "L16@24000h" and "slin16" carry the rate too, which is read elsewhere.
    plain = plain.partition(";")[0].partition("@")[0]
    if plain.startswith("slin"):
        plain = "slin"
    if plain not in _NAMES:
        known = "mu-law, A-law or 16-bit linear"
        raise DialectError(f"the encoding {name[:40]!r} is not spoken here; choose {known}")
    return _NAMES[plain]


def check_rate(rate: int) -> int:
    """Return ``rate`` (samples per second) if it is supported.

    Raises:
        DialectError: it is not one of ``RATES``.
    """
    if rate not in RATES:
        raise DialectError(f"{rate} Hz is not spoken here; choose 8000 or 16000 Hz")
    return rate
