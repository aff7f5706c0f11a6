"""The contract of a speech synthesiser: speakable text in, float32 mono sound out."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

MAX_TEXT = 2000
"""Characters that one ``speak`` accepts: about two minutes of sound."""


class TtsError(Exception):
    """A synthesiser could not be loaded or failed; the message says what to do."""


@dataclass(frozen=True, slots=True)
class WordSpan:
    """One spoken word and its place in the sound of its chunk.

    Attributes:
        text: the word as it stands in the text, punctuation included.
        start: first sample, counted from the start of the chunk; negative if the word began in an
            earlier chunk.
        end: one past the last sample. A word cut by a chunk border belongs to the later chunk.
    """

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class SpeechChunk:
    """A piece of sound and the words that end in it.

    Attributes:
        samples: float32 mono in [-1, 1]; never empty.
        rate: samples per second.
        words: the words in order; over all chunks of a ``speak``, exactly the words of its text
            (``text.split()``).
    """

    samples: NDArray[np.float32]
    rate: int
    words: tuple[WordSpan, ...] = ()

    @property
    def text(self) -> str:
        """The words whose sound ends here, so that a playback position maps to words."""
        return " ".join(word.text for word in self.words)


@runtime_checkable
class Synthesizer(Protocol):
    """A loaded voice, shared by all calls; ``speak`` may run on several threads at once."""

    @property
    def rate(self) -> int:
        """Samples per second of every chunk."""

    def speak(self, text: str) -> Generator[SpeechChunk, None, None]:
        """Yield the sound of ``text`` piece by piece (blocking); closing the generator cancels.

        As every generator, it is closed on the thread that iterates, between two chunks. Text
        without a letter or digit has no sound and yields no chunk.

        Raises:
            TtsError: at the call if the text is longer than ``MAX_TEXT``, while iterating if the
                engine fails.
        """

    def warm_up(self) -> None:
        """Run every code path once so that the first caller does not pay for it."""

    def close(self) -> None:
        """Free everything; running calls end with ``TtsError``. Closing twice is harmless."""


def check_text(text: str) -> None:
    """Refuse text that no engine accepts.

    Raises:
        TtsError: it is longer than ``MAX_TEXT``.
    """
    if len(text) > MAX_TEXT:
        raise TtsError(
            f"{len(text)} characters to speak, at most {MAX_TEXT}: cut the text with tts.segments"
        )


def has_sound(text: str) -> bool:
    """Whether anything in ``text`` can be said."""
    return any(character.isalnum() for character in text)
