"""The contract of a transport: messages of the client in, notices of the session out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol, runtime_checkable

from websockets.frames import CloseCode

from agent.protocol import ClientMessage
from agent.session.notices import Notice, Trouble


class Disconnected(Exception):
    """The client is gone, or never connected."""


def lost(code: int | None) -> Disconnected:
    """The loss of a websocket, with the close code that tells more of it; 1006 tells nothing."""
    known = code is not None and code != CloseCode.ABNORMAL_CLOSURE
    return Disconnected(f"the connection was lost ({code})" if known else "the connection was lost")


class RuleBroken(Exception):
    """The client broke a rule of its connection, and is hung up on.

    Args:
        code: close code (``agent.close_codes``).
        reason: one sentence for the client and the log.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


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
            RuleBroken: the client is to be hung up on.
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
