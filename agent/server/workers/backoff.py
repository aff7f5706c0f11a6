"""The wait before a worker that died is started again."""

from __future__ import annotations

from dataclasses import dataclass

SHORTEST = 0.5
LONGEST = 30.0
"""Seconds of the first wait, and of the longest; each is twice the one before."""
STEADY = 60.0
"""Seconds that a worker must have served for the waits to begin anew."""


@dataclass(slots=True)
class Backoff:
    """The waits of one worker."""

    _wait: float = SHORTEST

    def after(self, served: float) -> float:
        """Seconds to wait after a worker died.

        Args:
            served: seconds that it had served.
        """
        if served >= STEADY:
            self._wait = SHORTEST
        wait = self._wait
        self._wait = min(LONGEST, 2 * wait)
        return wait
