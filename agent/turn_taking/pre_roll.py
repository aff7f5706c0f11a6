"""The sound before a detected start: it is heard too, so that no first word is lost."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from agent.audio.samples import AudioChunk, Samples


@dataclass(slots=True)
class PreRoll:
    """The last sound that nobody was given yet."""

    _chunks: deque[AudioChunk] = field(default_factory=deque)

    def append(self, chunk: AudioChunk) -> None:
        self._chunks.append(chunk)

    def keep(self, seconds: float) -> None:
        """Forget what is older than ``seconds``."""
        end = self._chunks[-1].end
        while end - self._chunks[0].end > seconds * self._chunks[0].rate:
            self._chunks.popleft()

    @property
    def start(self) -> float:
        """Where it begins, seconds of sound since the call began."""
        return self._chunks[0].start / self._chunks[0].rate

    def take(self) -> Samples | None:
        """All of it, once; None: there is none."""
        pieces = [chunk.samples for chunk in self._chunks]
        self._chunks.clear()
        return np.concatenate(pieces) if pieces else None

    def clear(self) -> None:
        self._chunks.clear()
