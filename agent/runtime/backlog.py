"""Watch over the sound that waits for a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

LOOK_SECONDS: Final = 0.1
"""Seconds between two looks at a connection for which a reply is held back."""


class BacklogWatch:
    """Tells a session when sound begins to wait for its connection, and when it has gone.

    Args:
        full: whether too much waits now, given whether that was so before.
        tell: called when that changes.
    """

    def __init__(self, full: Callable[[bool], bool], tell: Callable[[bool], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._full = full
        self._tell = tell
        self._held_back = False
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    def look(self) -> None:
        """Look now, and while too much waits every ``LOOK_SECONDS``.

        A client may send nothing but pings, which the session does not hear of.
        """
        full = self._full(self._held_back)
        if full is not self._held_back:
            self._held_back = full
            self._tell(full)
        if full and self._timer is None and not self._stopped:
            self._timer = self._loop.call_later(LOOK_SECONDS, self._look_again)

    def begin(self) -> None:
        """Begin with another connection, for which nothing waits."""
        self._held_back = False

    def stop(self) -> None:
        """Look no more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def _look_again(self) -> None:
        self._timer = None
        self.look()
