"""DTMF keys become a message of the caller: "pressed 1 2 3"."""

from __future__ import annotations

KEYS = frozenset("0123456789*ABCD")
PATIENCE = 2.0
"""Seconds without a further key after which the entry is complete."""
END = "#"
MAX_KEYS = 32


class DtmfCollector:
    """Collects keys up to ``#`` or a pause."""

    def __init__(self) -> None:
        self._pressed: list[str] = []
        self._last_at = 0.0

    def press(self, digit: str, now: float) -> str | None:
        """Take a key pressed at second ``now``; returns the message if the entry is complete."""
        if digit == END:
            return self._complete()
        if digit in KEYS:
            self._pressed.append(digit)
            self._last_at = now
        return self._complete() if len(self._pressed) >= MAX_KEYS else None

    def due(self, now: float) -> str | None:
        """The message, if no further key was pressed in time."""
        at = self.complete_at
        return self._complete() if at is not None and now >= at else None

    @property
    def complete_at(self) -> float | None:
        """Second at which the entry will be complete; None while it is empty."""
        return self._last_at + PATIENCE if self._pressed else None

    def _complete(self) -> str | None:
        if not self._pressed:
            return None
        pressed, self._pressed = self._pressed, []
        return f"pressed {' '.join(pressed)}"
