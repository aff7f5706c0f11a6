"""The contract of a transport: messages of the client in, notices of the session out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol, runtime_checkable

from agent.protocol import ClientMessage
from agent.session.notices import Notice, Trouble


class Disconnected(Exception):
    """The client is gone, or never connected."""


WayBack = tuple[str, float]
"""The token by which a client may come back, and the seconds that it has for it."""


class Transport(Protocol):
    """The connection to one client. ``receive`` and ``send`` run at the same time."""

    @property
    def rate(self) -> int:
        """Samples per second of the audio that ``receive`` yields."""

    def receive(self) -> AsyncIterator[ClientMessage | Trouble]:
        """Yield the client's messages until it hangs up; unreadable ones as ``Trouble``.

        Raises:
            Disconnected: the connection ended without hang-up.
        """

    async def send(self, notice: Notice) -> None:
        """Send ``notice`` to the client, waiting while the connection is congested.

        Raises:
            Disconnected: the client is gone.
        """

    async def close(self, code: int, reason: str) -> None:
        """Close the connection; closing twice is harmless.

        Args:
            code: close code (``agent.close_codes``).
            reason: one sentence for the client.
        """


@runtime_checkable
class Lagging(Protocol):
    """A transport that knows how far its client is behind."""

    def behind(self) -> float:
        """Seconds by which the client is behind what was sent to it."""
