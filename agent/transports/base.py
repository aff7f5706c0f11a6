"""The contract of a transport: what the caller sends in, notices for the client out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from agent.protocol import ClientMessage
from agent.session.notices import Notice, Trouble


class Disconnected(Exception):
    """The client is gone."""


class Transport(Protocol):
    """One client on the line. ``receive`` and ``send`` run at the same time."""

    @property
    def rate(self) -> int:
        """Samples per second of the sound that ``receive`` yields."""

    def receive(self) -> AsyncIterator[ClientMessage | Trouble]:
        """Yield what the client sends until it hangs up; what cannot be read, as trouble."""

    async def send(self, notice: Notice) -> None:
        """Give ``notice`` to the client, waiting as long as the line is full.

        Raises:
            Disconnected: the client is gone.
        """

    async def close(self, code: int, reason: str) -> None:
        """Hang up."""
