"""What was heard: text, and how much of it will not change any more."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Word:
    """One word and where it lies in the utterance."""

    text: str
    start: float
    """Seconds from the start of the utterance."""
    end: float


@dataclass(frozen=True, slots=True)
class Transcript:
    """One hypothesis of an utterance."""

    text: str
    stable: int
    """Characters at the start of ``text`` that will not change; prompt prefill may use them."""
    final: bool
    words: tuple[Word, ...] = ()
    """Word times where the engine gives them, else empty."""
    audio_end: float = 0.0
    """Seconds of the utterance that this hypothesis covers."""

    def __post_init__(self) -> None:
        if not 0 <= self.stable <= len(self.text):
            raise ValueError(f"stable={self.stable} lies outside a text of {len(self.text)}")
        if self.final and self.stable != len(self.text):
            raise ValueError("a final transcript is stable to its end")

    @property
    def stable_text(self) -> str:
        return self.text[: self.stable]
