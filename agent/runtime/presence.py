"""When the client of a call was last there, as its messages tell."""

from __future__ import annotations

from typing import Final

STEADY_GAP: Final = 1.0
STEADY_SECONDS: Final = 2.0
"""A client that has sent messages for so long, never more than ``STEADY_GAP`` apart, was last there
when the last one came; of others only the end of the connection tells."""


class Presence:
    """Presence of a client on its connection.

    Args:
        now: monotonic second at which the connection began.

    Attributes:
        last_message_at: monotonic second of the last message, or of the connection's beginning.
    """

    def __init__(self, now: float) -> None:
        self.last_message_at = self._steady_since = now

    def note(self, now: float) -> None:
        """Note a message."""
        if now - self.last_message_at > STEADY_GAP:
            self._steady_since = now
        self.last_message_at = now

    def last_seen(self, now: float) -> float:
        """Monotonic second at which the client was last known to be there."""
        steady = self.last_message_at - self._steady_since >= STEADY_SECONDS
        return self.last_message_at if steady else now
