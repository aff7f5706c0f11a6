"""How far a client is behind what was sent to it, by pings that tell which pong came last. Pure.

What is under way lies in buffers that nobody can look into: of the kernel, of proxies, of the radio
network, where a slow link has seconds of it. A ping that names the newest pong confirms it, and
all that was sent before it.
"""

from __future__ import annotations

from collections import deque
from typing import Final

MIN_INTERVAL: Final = 0.5
"""Least seconds that are taken for the time between two pings."""
MAX_PONGS: Final = 64
"""Pongs that are remembered; the oldest of more is the one that counts."""


class ClientLag:
    """The lag of one connection's client; 0 for clients whose pings name no pong.

    All times are seconds.
    """

    def __init__(self) -> None:
        self._unconfirmed: deque[float] = deque(maxlen=MAX_PONGS)
        """Monotonic second of each pong that was not confirmed, oldest first."""
        self._confirms = False
        self._least_up: float | None = None
        self._up = 0.0
        """How much longer the newest ping was on its way than the fastest one."""
        self._interval = MIN_INTERVAL
        self._pinged_at: float | None = None

    def pinged(self, client_time: float, newest_pong: float | None, now: float) -> None:
        """Take a ping, which is answered at ``now``.

        Args:
            client_time: on the client's clock, when it was sent.
            newest_pong: monotonic second of the newest pong that the client has; None: it does not
                tell.
        """
        way = now - client_time
        self._least_up = way if self._least_up is None else min(self._least_up, way)
        self._up = way - self._least_up
        if self._pinged_at is not None:
            self._interval = max(MIN_INTERVAL, client_time - self._pinged_at)
        self._pinged_at = client_time
        if newest_pong is not None:
            self._confirms = True
            while self._unconfirmed and self._unconfirmed[0] <= newest_pong:
                self._unconfirmed.popleft()
        self._unconfirmed.append(now)

    def behind(self, now: float) -> float:
        """Seconds by which the client is behind, at least."""
        if not self._confirms or not self._unconfirmed:
            return 0.0
        return max(0.0, now - self._unconfirmed[0] - self._interval - self._up)
