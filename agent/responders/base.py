"""The contract of a responder: the conversation in, a reply out, piece by piece.

Implementations are blocking; the runner iterates them on its compute thread and
looks between two pieces whether the reply is still wanted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from agent.reply import CanvasStep, Message, Prefilled, ReplyDone, ReplyPiece, ReplyText, Role

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


class Responder(Protocol):
    """A loaded responder, shared by all calls."""

    def open(self) -> ResponderCall: ...

    def warm_up(self) -> None: ...

    def close(self) -> None: ...
