"""Pre-roll: the sound before the detected start of a turn, so that its first word is not lost."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from agent.audio.samples import AudioChunk, Samples


@dataclass(slots=True)
class PreRoll:
    """The newest sound of the caller that the recogniser was not given."""

    _chunks: deque[AudioChunk] = field(default_factory=deque)

    def append(self, chunk: AudioChunk) -> None:
        """Add the next sound."""
        self._chunks.append(chunk)

    def keep(self, seconds: float) -> None:
        """Drop all but the last ``seconds`` of sound."""
        end = self._chunks[-1].end
        while end - self._chunks[0].end > seconds * self._chunks[0].rate:
            self._chunks.popleft()

    @property
    def start(self) -> float:
        """Start of the pre-roll, in seconds of sound since the call began."""
        return self._chunks[0].start / self._chunks[0].rate

    def take(self) -> Samples | None:
        """Take all of the sound out; None if there is none."""
        pieces = [chunk.samples for chunk in self._chunks]
        self._chunks.clear()
        return np.concatenate(pieces) if pieces else None

    def clear(self) -> None:
        """Drop all of the sound."""
        self._chunks.clear()
