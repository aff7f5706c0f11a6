"""From the wire's sound to frames with a speech probability."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from agent.audio import AudioChunk, Samples, StreamResampler
from agent.errors import AudioError
from agent.events import Heard
from agent.vad import SpeechGate
from asr.engine import RATE

MAX_AHEAD_SECONDS = 60.0
"""Sound may arrive this much faster than real time before it is refused."""
INAUDIBLE = 10 ** (-75 / 20)
"""Under -75 dBFS the line is muted: the network that costs most of a quiet call is not asked."""


class Ear:
    """Resamples one caller's sound, cuts it into frames and asks the gate about each."""

    def __init__(self, gate: SpeechGate, source_rate: int, started_at: float) -> None:
        self._gate = gate
        self._resampler = StreamResampler(source_rate, RATE)
        self._started_at = started_at
        self._raw: list[Samples] = []
        self._raw_length = 0
        self._rest: Samples = np.zeros(0, np.float32)
        self._position = 0

    def push(self, samples: Samples, now: float) -> Iterator[Heard]:
        """Yield the frames that are complete.

        Raises:
            AudioError: the caller sends much more sound than time has passed.
        """
        ahead = self._position / RATE - (now - self._started_at)
        if ahead > MAX_AHEAD_SECONDS:
            raise AudioError(f"{ahead:.0f} s more sound than time has passed; send it in real time")
        size = self._gate.frame_samples
        self._raw.append(samples)
        self._raw_length += len(samples)
        if self._raw_length * RATE < (size - len(self._rest)) * self._resampler.source_rate:
            # Not a frame yet. On a core that is idle otherwise every call costs its cold caches.
            return
        new = self._resampler.push(np.concatenate(self._raw))
        self._raw, self._raw_length = [], 0
        sound = np.concatenate([self._rest, new])
        whole = len(sound) - len(sound) % size
        self._rest = sound[whole:]
        for start in range(0, whole, size):
            frame = sound[start : start + size]
            chunk = AudioChunk(frame, RATE, self._position, now)
            self._position += size
            yield Heard(chunk, self._probability(frame))

    def _probability(self, frame: Samples) -> float:
        quiet = max(float(frame.max()), -float(frame.min())) < INAUDIBLE
        return 0.0 if quiet else self._gate.probability(frame)
