"""The contract of a responder: the conversation in, a reply out, piece by piece.

There are two forms. What computes is blocking: a `ResponderCall`, iterated on the one compute
thread, where the runner looks between two pieces whether the reply is still wanted. What waits for
another machine is a `WaitingCall`, awaited on the event loop, so that it never holds that thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

from agent.reply import (
    PLAIN,
    CanvasStep,
    FunctionTool,
    Message,
    Prefilled,
    ReplyDone,
    ReplyOptions,
    ReplyPiece,
    ReplyText,
    Role,
    ToolArguments,
    ToolCall,
    ToolCallStarted,
)

__all__ = [
    "PLAIN",
    "CanvasStep",
    "FunctionTool",
    "Message",
    "Prefilled",
    "ReplyDone",
    "ReplyOptions",
    "ReplyPiece",
    "ReplyText",
    "Responder",
    "ResponderCall",
    "ResponderError",
    "Role",
    "ToolArguments",
    "ToolCall",
    "ToolCallStarted",
    "ToolUsingCall",
    "WaitingCall",
    "plain_messages",
    "uses_tools",
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


@runtime_checkable
class ToolUsingCall(Protocol):
    """A `ResponderCall` that also knows the options of a reply: function tools and its length.

    Its `prepare` and `reply_with` take all roles of messages, with calls and their outputs. A
    `ResponderCall` without ``reply_with`` is given `plain_messages` and no options.
    """

    def prepare(self, messages: Sequence[Message]) -> Prefilled:
        """As of `ResponderCall`."""

    def reply_with(
        self, messages: Sequence[Message], options: ReplyOptions, deadline: float | None = None
    ) -> Iterator[ReplyPiece]:
        """As `ResponderCall.reply`, with the calls of functions that the reply makes.

        The arguments of every `ToolCall` parse, and are valid by the tool's schema.
        """


class WaitingCall(ABC):
    """The same for one call of a responder that waits for another machine and computes nothing.

    A class to inherit from and no protocol: it is told from a `ResponderCall` by its type.
    """

    @abstractmethod
    async def prepare(self, messages: Sequence[Message]) -> Prefilled:
        """As of `ResponderCall`."""

    @abstractmethod
    def reply(
        self,
        messages: Sequence[Message],
        deadline: float | None = None,
        options: ReplyOptions = PLAIN,
    ) -> AsyncGenerator[ReplyPiece, None]:
        """As of `ResponderCall`; closing it gives up what it waits for, at once."""

    @abstractmethod
    async def close(self) -> None: ...


class Responder(Protocol):
    """A loaded responder, shared by all calls."""

    def open(self) -> ResponderCall | WaitingCall: ...

    def warm_up(self) -> None: ...

    def close(self) -> None: ...


def uses_tools(responder: Responder) -> bool:
    """Whether the calls of ``responder`` honour `ReplyOptions`: its attribute ``uses_tools``."""
    return bool(getattr(responder, "uses_tools", False))


def plain_messages(messages: Sequence[Message]) -> Sequence[Message]:
    """``messages`` for a responder that knows neither tools nor late system messages.

    Every system message joins the first, the output of a call becomes a message of the user, and
    the call itself is left out.
    """
    if all(m.role in ("user", "assistant") and not m.calls for m in messages[1:]):
        return messages
    rules = "\n\n".join(m.content for m in messages if m.role == "system")
    names = {call.call_id: call.name for m in messages for call in m.calls}
    plain = [Message("system", rules)] if rules else []
    for message in messages:
        if message.role == "tool":
            said = f"({names.get(message.call_id, 'function')} returned: {message.content})"
            _append(plain, Message("user", said))
        elif message.role != "system" and message.content:
            _append(plain, replace(message, calls=()))
    return plain


def _append(messages: list[Message], message: Message) -> None:
    """Append a message; one of the same role as the last continues that one."""
    if messages and messages[-1].role == message.role:
        message = replace(message, content=f"{messages.pop().content} {message.content}")
    messages.append(message)
