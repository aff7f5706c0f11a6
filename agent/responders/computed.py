"""Adapts a call that computes to the form that waits: it waits for the compute thread."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from agent.compute import Compute, Urgency
from agent.responders.base import (
    PLAIN,
    Answer,
    DecidingCall,
    Message,
    Prefilled,
    Question,
    ReplyOptions,
    ReplyPiece,
    ResponderCall,
    ResponderError,
    ToolUsingCall,
    WaitingCall,
    plain_messages,
)


class ComputedCall(WaitingCall):
    """A call whose work runs on the compute thread, piece by piece, the most urgent first."""

    def __init__(self, call: ResponderCall, compute: Compute) -> None:
        self._call = call
        self._compute = compute

    async def prepare(
        self, messages: Sequence[Message], options: ReplyOptions = PLAIN
    ) -> Prefilled:
        call = self._call
        if isinstance(call, ToolUsingCall):
            return await self._compute.run(
                Urgency.PREPARE, lambda: call.prepare_with(messages, options)
            )
        plain = plain_messages(messages)
        return await self._compute.run(Urgency.PREPARE, lambda: self._call.prepare(plain))

    def reply(
        self,
        messages: Sequence[Message],
        deadline: float | None = None,
        options: ReplyOptions = PLAIN,
    ) -> AsyncGenerator[ReplyPiece, None]:
        if options.schema is not None and not isinstance(self._call, ToolUsingCall):
            raise ResponderError("this responder writes no documents of a JSON schema")
        if isinstance(self._call, ToolUsingCall):
            pieces = self._call.reply_with(messages, options, deadline)
        else:
            pieces = self._call.reply(plain_messages(messages), deadline)
        return self._compute.iterate(Urgency.REPLY, pieces)

    async def decide(
        self,
        messages: Sequence[Message],
        questions: Sequence[Question],
        words: str = "",
        *,
        quick: bool = False,
    ) -> Sequence[Answer] | None:
        call = self._call
        if not isinstance(call, DecidingCall):
            return ()
        # Replies go first; what the cache tells takes a few milliseconds, a pass some tens of them.
        urgency = Urgency.PREPARE if quick else Urgency.PARTIAL
        return await self._compute.run(
            urgency, lambda: call.decide(messages, questions, words, quick=quick)
        )

    async def close(self) -> None:
        await self._compute.run(Urgency.REPLY, self._call.close)


def awaited(call: ResponderCall | WaitingCall, compute: Compute) -> WaitingCall:
    """``call`` in the form that is awaited; a `ResponderCall` is wrapped."""
    return call if isinstance(call, WaitingCall) else ComputedCall(call, compute)
