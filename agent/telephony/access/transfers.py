"""Callers who are to be connected to another party once the stream of their call has ended.

The agent's side ends the stream; the provider then asks what comes next, and is told to dial.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

LIFETIME = 60.0
"""Seconds within which the provider has to ask."""
MAX_WAITING = 1024
"""Callers who may wait; beyond them the oldest is forgotten."""


class Transfers:
    """The destinations by call.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting: OrderedDict[tuple[str, str], tuple[str, float]] = OrderedDict()

    def expect(self, provider: str, call_id: str, destination: str) -> None:
        """Let the provider connect the call to ``destination`` when it asks."""
        self._waiting[provider, call_id] = destination, self._clock() + LIFETIME
        if len(self._waiting) > MAX_WAITING:
            self._waiting.popitem(last=False)

    def take(self, provider: str, call_id: str) -> str | None:
        """The destination of a call, once; None where it is to be hung up."""
        destination, expires = self._waiting.pop((provider, call_id), ("", 0.0))
        return destination if destination and self._clock() < expires else None
