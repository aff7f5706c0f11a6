"""Polyphase resampling: rates of a small ratio, one matrix product for each piece of a stream.

Telephone lines carry 8 kHz and the recogniser takes 16 kHz; every call converts fifty pieces a
second in each direction. libswresample behind PyAV costs a filter graph and an exception for each
piece, twice the time at these rates (ADR 18). (Polyphase filter: Crochiere and Rabiner, Multirate
Digital Signal Processing, 1983, section 3.3; window: Kaiser, 1974.)
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

MAX_TERM = 8
"""Largest term of the ratio in lowest terms; matrices of larger terms are mostly zeros."""
_CROSSINGS = 16
"""Zero crossings of the filter on each side, at the lower rate: 2 ms at 8 kHz are held back."""
_ROLLOFF = 0.96
"""Half-amplitude frequency over half of the lower rate; at 8 kHz, 3.4 kHz passes unattenuated."""
_BETA = 5.65
"""Beta of the Kaiser window, for 60 dB of attenuation."""


def is_small(source_rate: int, target_rate: int) -> bool:
    """Whether the ratio of the rates is small enough for `Polyphase`."""
    divisor = math.gcd(source_rate, target_rate)
    return max(source_rate, target_rate) // divisor <= MAX_TERM


class Polyphase:
    """Resampler of one stream; output sample ``n`` lies at ``n / target_rate`` seconds of it."""

    def __init__(self, source_rate: int, target_rate: int) -> None:
        divisor = math.gcd(source_rate, target_rate)
        self._up, self._down = target_rate // divisor, source_rate // divisor
        self._matrix, self._ahead = _matrix(self._up, self._down)
        self._waiting: Samples = np.zeros(self._ahead - 1, np.float32)
        self._fed = self._made = 0

    def push(self, samples: Samples) -> Samples:
        """Convert the next samples, float32 ``[n]``."""
        self._fed += len(samples)
        return self._convert(samples)

    def flush(self) -> Samples:
        """End the stream; returns the samples that were held back."""
        left = -(-self._fed * self._up // self._down) - self._made
        return self._convert(np.zeros(len(self._matrix) + self._down, np.float32))[:left]

    def _convert(self, samples: Samples) -> Samples:
        sound = np.concatenate([self._waiting, samples], dtype=np.float32)
        blocks = max(0, (len(sound) - len(self._matrix)) // self._down + 1)
        self._waiting = sound[blocks * self._down :]
        if not blocks:
            return np.zeros(0, np.float32)
        # numpy's sliding_window_view would take longer than all the rest; BLAS wants a copy.
        shape, strides = (blocks, len(self._matrix)), (self._down * sound.itemsize, sound.itemsize)
        spans = np.ndarray(shape, np.float32, sound, strides=strides).copy()
        converted: Samples = (spans @ self._matrix).reshape(-1)
        self._made += len(converted)
        return converted


@lru_cache(maxsize=64)
def _matrix(up: int, down: int) -> tuple[Samples, int]:
    """The filter matrix: from the samples around a block of ``down`` to ``up`` output samples.

    Returns:
        The matrix, and the number of samples after its own time that each output needs.
    """
    narrower = min(1.0, up / down)
    ahead = math.ceil(_CROSSINGS / narrower)
    places = np.arange(2 * ahead + down - 1)[:, None]
    times = (ahead - 1) + np.arange(up) * down / up
    distance = places - times
    window = np.i0(_BETA * np.sqrt(np.clip(1 - (distance / ahead) ** 2, 0, None)))
    taps = np.sinc(_ROLLOFF * narrower * distance) * np.where(np.abs(distance) < ahead, window, 0)
    return (taps / taps.sum(axis=0)).astype(np.float32), ahead
