"""How long a hosted model is waited for: for words, and for thoughts that it tells meanwhile."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Patience:
    """The second until which the next piece of a reply is waited for. Pure.

    Args:
        word_timeout: seconds for the next sign of life.
        thinking_timeout: seconds for the next word, however many thoughts come before it.
        word_at: second of the request, then of the newest word.

    Attributes:
        thought_at: second of the newest thought behind that word; None: there was none.
    """

    word_timeout: float
    thinking_timeout: float
    word_at: float
    thought_at: float | None = None

    def word(self, now: float) -> None:
        """Take note of a word, or a piece of a function's call, at second ``now``."""
        self.word_at, self.thought_at = now, None

    def thought(self, now: float) -> None:
        """Take note of a thought at second ``now``."""
        self.thought_at = now

    @property
    def until(self) -> float:
        """The second at which the reply is given up."""
        if self.thought_at is None:
            return self.word_at + self.word_timeout
        return min(self.thought_at + self.word_timeout, self._last_thought)

    @property
    def _last_thought(self) -> float:
        return self.word_at + max(self.word_timeout, self.thinking_timeout)

    def thought_too_long(self, now: float) -> bool:
        """Whether at second ``now`` thoughts still came, and no word in their time."""
        return self.thought_at is not None and now >= self._last_thought
