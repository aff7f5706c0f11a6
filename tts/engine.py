"""The contract of a speech synthesiser: speakable text in, float32 mono sound out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class TtsError(Exception):
    """A synthesiser could not be loaded or failed; the message says what to do."""


@dataclass(frozen=True, slots=True)
class WordSpan:
    """One spoken word and where it lies in the sound of its chunk."""

    text: str
    start: int
    """First sample, counted from the start of the chunk."""
    end: int
    """One past the last sample. A word cut by a chunk border ends in the later chunk."""


@dataclass(frozen=True, slots=True)
class SpeechChunk:
    """A piece of sound and the words in it."""

    samples: NDArray[np.float32]
    """float32 mono in [-1, 1]."""
    rate: int
    """Samples per second."""
    text: str
    """Words whose sound *ends* in this chunk, so a playback position maps to words."""
    words: tuple[WordSpan, ...] = ()


class Synthesizer(Protocol):
    """A loaded voice, shared by all calls; ``speak`` may run on several threads at once."""

    @property
    def rate(self) -> int:
        """Samples per second of every chunk."""

    def speak(self, text: str) -> Iterator[SpeechChunk]:
        """Yield the sound of ``text`` piece by piece (blocking); closing the iterator cancels."""

    def warm_up(self) -> None:
        """Run every code path once so that the first caller does not pay for it."""

    def close(self) -> None: ...
