"""A loudspeaker, a room and a microphone: what returns of the sound that an agent plays. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np

from agent.audio.samples import Samples

DELAYS: Final = (0.02, 0.12, 0.3)
"""Delays of the rooms, in seconds."""
LEVELS: Final = (-6.0, -12.0, -20.0, -30.0)
"""Levels of their echoes, in dB of what is played."""
REVERBERATION: Final = 0.3
"""Seconds in which the sound in a room falls by 60 dB."""
DRIVE: Final = 3.0
"""Factor by which a small loudspeaker is overdriven; its tone is clipped from there on."""
UNEVEN: Final = 0.15
"""Share of even harmonics of the loudspeaker."""


@dataclass(frozen=True, slots=True)
class EchoRoom:
    """One place of a call on a loudspeaker.

    Attributes:
        delay: seconds from the sound's arrival at the client to its return in the microphone.
        decibels: level of the echo, in dB of what is played.
        reverberation: seconds in which the sound falls by 60 dB.
    """

    delay: float
    decibels: float
    reverberation: float = REVERBERATION

    @property
    def name(self) -> str:
        """Name for tables, such as ``120 ms -6 dB``."""
        return f"{1000 * self.delay:.0f} ms {self.decibels:.0f} dB"


ROOMS: Final = tuple(EchoRoom(delay, level) for delay, level in product(DELAYS, LEVELS))


def spread(count: int) -> list[EchoRoom]:
    """Up to ``count`` rooms that differ much from each other."""
    step = 5  # prime to 12, and odd, so that delay and level both change
    return [ROOMS[place * step % len(ROOMS)] for place in range(min(count, len(ROOMS)))]


class EchoPath:
    """The way of the sound through one room, piece by piece.

    Args:
        room: the room.
        rate: samples per second.
        piece: samples of a piece.
        seed: of the reflections of the room.
    """

    def __init__(self, room: EchoRoom, rate: int, piece: int, seed: int = 1) -> None:
        response = _response(room, rate, seed) * 10 ** (room.decibels / 20)
        self._size = 1 << (piece + len(response) - 2).bit_length()
        self._spectrum = np.fft.rfft(response, self._size)
        self._tail = np.zeros(self._size, np.float64)
        self._piece = piece

    def returned(self, played: Samples) -> Samples:
        """What the microphone gets while the next piece is played; float32 mono at the rate."""
        made = np.fft.irfft(np.fft.rfft(loudspeaker(played), self._size) * self._spectrum)
        self._tail += made
        now = self._tail[: self._piece].astype(np.float32)
        self._tail = np.pad(self._tail[self._piece :], (0, self._piece))
        return now


def loudspeaker(sound: Samples) -> Samples:
    """The sound after a small loudspeaker that clips softly; quiet sound is as loud as before."""
    driven = DRIVE * sound
    return np.asarray(np.tanh(driven + UNEVEN * driven**2) / DRIVE, np.float32)


def _response(room: EchoRoom, rate: int, seed: int) -> Samples:
    """Impulse response of power 1: a direct sound, and noise that decays."""
    length = int(room.reverberation * rate)
    tail = np.random.default_rng(seed).normal(0, 1, length) * 10 ** (
        -3 * np.arange(length) / length
    )
    tail *= np.sqrt(0.7 / np.square(tail).sum())
    tail[0] += np.sqrt(0.3)
    return np.pad(tail, (round(room.delay * rate), 0)).astype(np.float32)
