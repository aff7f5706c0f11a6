"""G.711 by tables: mu-law and A-law to and from float32.

The laws are those of ITU-T G.711 (11/88), tables 1a to 2b, scaled to 16 bits; an encoder's
choice between two equally near values is free within one step.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agent.audio.samples import Samples

_BIAS = 0x84


def _expand_mulaw() -> NDArray[np.int16]:
    bits = ~np.arange(256, dtype=np.uint8)
    exponent, mantissa = (bits >> 4) & 7, (bits & 15).astype(np.int32)
    magnitude = (((mantissa << 3) + _BIAS) << exponent) - _BIAS
    return np.where(bits & 0x80, -magnitude, magnitude).astype(np.int16)


def _expand_alaw() -> NDArray[np.int16]:
    bits = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent, mantissa = (bits >> 4 & 7).astype(np.int32), (bits & 15).astype(np.int32)
    linear, curved = (mantissa << 4) + 8, (mantissa << 4) + 0x108
    magnitude = np.where(exponent == 0, linear, curved << np.maximum(exponent - 1, 0))
    return np.where(bits & 0x80, magnitude, -magnitude).astype(np.int16)


def _compress(values: NDArray[np.int16]) -> NDArray[np.uint8]:
    """The nearest code for every 16-bit sample, indexed by the sample as an unsigned number."""
    # mu-law has two zeros; the positive one comes last in a stable order and is sent.
    order = np.argsort(values, kind="stable").astype(np.uint8)
    levels = values[order].astype(np.float64)
    borders = (levels[1:] + levels[:-1]) / 2
    every = np.arange(65_536, dtype=np.uint16).view(np.int16)
    return order[np.searchsorted(borders, every, side="right")]


MULAW = _expand_mulaw()
"""Value of each of the 256 mu-law codes, as int16."""
ALAW = _expand_alaw()
"""Value of each of the 256 A-law codes, as int16."""

_TO_MULAW = _compress(MULAW)
_TO_ALAW = _compress(ALAW)
_MULAW_FLOAT = (MULAW / 32768).astype(np.float32)
_ALAW_FLOAT = (ALAW / 32768).astype(np.float32)


def decode_mulaw(data: bytes) -> Samples:
    """One byte a sample to float32 in [-1, 1]."""
    return _MULAW_FLOAT[np.frombuffer(data, np.uint8)]


def decode_alaw(data: bytes) -> Samples:
    """One byte a sample to float32 in [-1, 1]."""
    return _ALAW_FLOAT[np.frombuffer(data, np.uint8)]


def encode_mulaw(samples: Samples) -> bytes:
    """float32 in [-1, 1] to one byte a sample; louder samples are clipped."""
    return _TO_MULAW[_index(samples)].tobytes()


def encode_alaw(samples: Samples) -> bytes:
    """float32 in [-1, 1] to one byte a sample; louder samples are clipped."""
    return _TO_ALAW[_index(samples)].tobytes()


def _index(samples: Samples) -> NDArray[np.uint16]:
    scaled = np.rint(np.clip(samples, -1.0, 32767 / 32768) * 32768)
    return scaled.astype(np.int16).view(np.uint16)
