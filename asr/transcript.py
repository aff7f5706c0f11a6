"""Transcript of an utterance: its text and the stable part of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Word:
    """One word of an utterance.

    Attributes:
        text: the word.
        start: seconds from the start of the utterance to the start of the word.
        end: seconds from the start of the utterance to the end of the word.
    """

    text: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Transcript:
    """One hypothesis of an utterance.

    Attributes:
        text: the words.
        stable: number of characters at the start of ``text`` that will not change.
        final: whether the whole utterance was decoded; then all of the text is stable.
        words: times of the words; empty if the engine does not give them.
        audio_end: seconds of the utterance that this hypothesis covers.

    Raises:
        ValueError: ``stable`` does not fit ``text`` or ``final``.
    """

    text: str
    stable: int
    final: bool
    words: tuple[Word, ...] = ()
    audio_end: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.stable <= len(self.text):
            raise ValueError(f"stable={self.stable} lies outside a text of {len(self.text)}")
        if self.final and self.stable != len(self.text):
            raise ValueError("a final transcript is stable to its end")

    @property
    def stable_text(self) -> str:
        """The part of the text that will not change."""
        return self.text[: self.stable]
