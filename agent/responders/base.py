"""The contract of a responder: the conversation in, a reply out, piece by piece.

There are two forms. What computes is blocking: a `ResponderCall`, iterated on the one compute
thread, where the runner looks between two pieces whether the reply is still wanted. What waits for
another machine is a `WaitingCall`, awaited on the event loop, so that it never holds that thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Protocol

from agent.reply import (
    CanvasStep,
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
    """The responder's state for one call (its prompt cache)."""

    def prepare(self, messages: Sequence[Message]) -> Prefilled:
        """Put a prompt that may still grow into the cache (blocking)."""

    def reply(
        self, messages: Sequence[Message], deadline: float | None = None
    ) -> Iterator[ReplyPiece]:
        """Yield Prefilled, then steps and text, then ReplyDone; closing it cancels.

        ``deadline`` is the second of `time.monotonic` at which the words should be there; a
        responder whose quality depends on its time takes no longer.
        """

    def close(self) -> None: ...


class WaitingCall(ABC):
    """The same for one call of a responder that waits for another machine and computes nothing.

    A class to inherit from and no protocol: it is told from a `ResponderCall` by its type.
    """

    @abstractmethod
    async def prepare(self, messages: Sequence[Message]) -> Prefilled:
        """As of `ResponderCall`."""

    @abstractmethod
    def reply(
        self, messages: Sequence[Message], deadline: float | None = None
    ) -> AsyncGenerator[ReplyPiece, None]:
        """As of `ResponderCall`; closing it gives up what it waits for, at once."""

    @abstractmethod
    async def close(self) -> None: ...


class Responder(Protocol):
    """A loaded responder, shared by all calls."""

    def open(self) -> ResponderCall | WaitingCall: ...

    def warm_up(self) -> None: ...

    def close(self) -> None: ...
