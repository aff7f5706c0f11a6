"""The contract of a responder: the conversation in, a reply out, piece by piece.

There are two forms. A responder that computes gives a `ResponderCall`, whose blocking methods run
on the one compute thread; between two pieces the runner checks whether the reply is still wanted. A
responder that waits for another machine gives a `WaitingCall`, awaited on the event loop, which
never holds that thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

from agent.decision import Answer, Question
from agent.reply import (
    PLAIN,
    CanvasStep,
    DraftRound,
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
    TurnEnding,
)

__all__ = [
    "PLAIN",
    "Answer",
    "CanvasStep",
    "DecidingCall",
    "DraftRound",
    "FunctionTool",
    "Message",
    "Prefilled",
    "Question",
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
    "TurnEnding",
    "WaitingCall",
    "plain_messages",
    "uses_tools",
]


class ResponderError(Exception):
    """A responder could not be loaded or failed; the message says what to do.

    Args:
        message: for the client and the log.
        quote: a service's own words, for the client alone: they may repeat the conversation.
    """

    def __init__(self, message: str, quote: str = "") -> None:
        super().__init__(f"{message}: {quote}" if quote else message)
        self.for_log = message


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


@runtime_checkable
class ToolUsingCall(Protocol):
    """A `ResponderCall` that also knows the options of a reply: function tools and its length.

    Its messages have all roles, with calls and their outputs. A `ResponderCall` without
    ``reply_with`` is given `plain_messages` and no options.
    """

    def prepare_with(self, messages: Sequence[Message], options: ReplyOptions) -> Prefilled:
        """See `ResponderCall.prepare`; ``options`` are likely those of the next reply."""

    def reply_with(
        self, messages: Sequence[Message], options: ReplyOptions, deadline: float | None = None
    ) -> Iterator[ReplyPiece]:
        """See `ResponderCall.reply`; the reply may also call functions of ``options``.

        The arguments of every `ToolCall` are valid by the schema of its function.
        """


@runtime_checkable
class DecidingCall(Protocol):
    """A `ResponderCall` that also answers questions about the conversation.

    Its responder may have an attribute ``decides``: True where it answers any question; and
    ``heads``: the names of those that it answers from the prompt cache.
    """

    def decide(
        self,
        messages: Sequence[Message],
        questions: Sequence[Question],
        words: str = "",
        *,
        quick: bool = False,
    ) -> Sequence[Answer] | None:
        """Answer questions about a conversation, in their order (blocking).

        Args:
            messages: the conversation, as for a reply to its last words.
            words: the words that values are extracted from; the caller's last words if empty.
            quick: whether to answer only what the prompt cache tells, without a forward pass.

        Returns:
            None where this must wait for the reply that is under way.

        Raises:
            ResponderError: a question cannot be asked.
        """


class WaitingCall(ABC):
    """The state of one call in a responder that waits for another machine and computes nothing.

    A base class and no protocol: its type distinguishes it from a `ResponderCall`.
    """

    @abstractmethod
    async def prepare(
        self, messages: Sequence[Message], options: ReplyOptions = PLAIN
    ) -> Prefilled:
        """See `ResponderCall.prepare`; ``options`` are likely those of the next reply."""

    @abstractmethod
    def reply(
        self,
        messages: Sequence[Message],
        deadline: float | None = None,
        options: ReplyOptions = PLAIN,
    ) -> AsyncGenerator[ReplyPiece, None]:
        """See `ResponderCall.reply`; closing the iterator ends the wait at once."""

    async def decide(
        self,
        messages: Sequence[Message],
        questions: Sequence[Question],
        words: str = "",
        *,
        quick: bool = False,
    ) -> Sequence[Answer] | None:
        """See `DecidingCall.decide`; a call that answers no questions gives no answers."""
        return ()

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


def uses_tools(responder: Responder) -> bool:
    """Whether the calls of ``responder`` honour `ReplyOptions`: its attribute ``uses_tools``."""
    return bool(getattr(responder, "uses_tools", False))


def decoding_of(responder: Responder) -> Mapping[str, Any]:
    """Options by which ``responder`` decodes, for display: its attribute ``decoding``, if any."""
    found: Mapping[str, Any] = getattr(responder, "decoding", {})
    return found


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
