"""How far a client is behind what was sent to it, by pings that tell which pong came last. Pure.

What is under way lies in buffers that nobody can look into: of the kernel, of proxies, of the radio
network, where a slow link has seconds of it. A ping that names the newest pong confirms it, and
all that was sent before it.
"""

from __future__ import annotations

from collections import deque
from typing import Final

MAX_PONGS: Final = 64
"""Pongs that are remembered; the oldest of more is the one that counts."""
WINDOW_SECONDS: Final = 8.0
"""Seconds of pings whose least lag is that of the way itself: a delay that stays, such as that of a
download beside the call, is none of what was sent."""
STALE_SECONDS: Final = 3.0
"""Seconds after a ping for which it says something; a page that is hidden pings once a minute."""


class ClientLag:
    """The lag of one connection's client; 0 for clients whose pings name no pong.

    All times are seconds.
    """

    def __init__(self) -> None:
        self._unconfirmed: deque[float] = deque(maxlen=MAX_PONGS)
        """Monotonic second of each pong that was not confirmed, oldest first."""
        self._least_up: float | None = None
        self._ages: deque[tuple[float, float]] = deque(maxlen=MAX_PONGS)
        """Second of each ping of late, and how late the oldest pong was then."""
        self._behind = 0.0
        self._pinged_at = 0.0

    def pinged(self, client_time: float, newest_pong: float | None, now: float) -> None:
        """Take a ping, which is answered at ``now``.

        Args:
            client_time: on the client's clock, when it was sent.
            newest_pong: monotonic second of the newest pong that the client had by then; None: it
                does not tell.
        """
        way = now - client_time
        self._least_up = way if self._least_up is None else min(self._least_up, way)
        self._pinged_at = now
        if newest_pong is not None:
            while self._unconfirmed and self._unconfirmed[0] <= newest_pong:
                self._unconfirmed.popleft()
            # The oldest pong that had not come when the ping left is so much late at least.
            left_at = now - (way - self._least_up)
            age = max(0.0, left_at - self._unconfirmed[0]) if self._unconfirmed else 0.0
            self._ages.append((now, age))
            while now - self._ages[0][0] > WINDOW_SECONDS:
                self._ages.popleft()
            self._behind = age - min(each for _, each in self._ages)
        self._unconfirmed.append(now)

    def behind(self, now: float) -> float:
        """Seconds by which the client was behind when it last pinged, at least."""
        return self._behind if now - self._pinged_at < STALE_SECONDS else 0.0
