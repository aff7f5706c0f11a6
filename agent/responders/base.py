"""The contract of a responder: the conversation in, a reply out, piece by piece.

There are two forms. A responder that computes gives a `ResponderCall`, whose blocking methods run
on the one compute thread; between two pieces the runner checks whether the reply is still wanted. A
responder that waits for another machine gives a `WaitingCall`, awaited on the event loop, which
never holds that thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Protocol

from agent.reply import (
    CanvasStep,
    DraftRound,
    Message,
    Prefilled,
    ReplyDone,
    ReplyPiece,
    ReplyText,
    Role,
    TurnEnding,
)

__all__ = [
    "CanvasStep",
    "DraftRound",
    "Message",
    "Prefilled",
    "ReplyDone",
    "ReplyPiece",
    "ReplyText",
    "Responder",
    "ResponderCall",
    "ResponderError",
    "Role",
    "TurnEnding",
    "WaitingCall",
]


class ResponderError(Exception):
    """A responder could not be loaded or failed; the message says what to do."""


class ResponderCall(Protocol):
    """The state of one call in a responder that computes, such as its prompt cache."""

    def prepare(self, messages: Sequence[Message]) -> Prefilled:
        """Read a prompt that may still grow into the cache (blocking).

        Raises:
            ResponderError: the prompt cannot be read.
        """

    def reply(
        self, messages: Sequence[Message], deadline: float | None = None
    ) -> Iterator[ReplyPiece]:
        """Yield Prefilled, then steps and text, then ReplyDone; closing it cancels.

        ``deadline`` is the time of `time.monotonic`, in seconds, at which the reply should be
        complete; a responder whose quality depends on its time takes no longer.

        Raises:
            ResponderError: there is no reply, or not the whole of it.
        """

    def close(self) -> None:
        """Release the memory and connections of the call."""


class WaitingCall(ABC):
    """The state of one call in a responder that waits for another machine and computes nothing.

    A base class and no protocol: its type distinguishes it from a `ResponderCall`.
    """

    @abstractmethod
    async def prepare(self, messages: Sequence[Message]) -> Prefilled:
        """See `ResponderCall.prepare`."""

    @abstractmethod
    def reply(
        self, messages: Sequence[Message], deadline: float | None = None
    ) -> AsyncGenerator[ReplyPiece, None]:
        """See `ResponderCall.reply`; closing the iterator ends the wait at once."""

    @abstractmethod
    async def close(self) -> None:
        """Release the memory and connections of the call."""


class Responder(Protocol):
    """A loaded responder, shared by all calls."""

    def open(self) -> ResponderCall | WaitingCall:
        """The state of a new call."""

    def warm_up(self) -> None:
        """Run everything once, so that no caller waits for it (blocking)."""

    def close(self) -> None:
        """Release the memory and connections of the responder."""
