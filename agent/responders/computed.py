"""Adapts a call that computes to the form that waits: it waits for the compute thread."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from agent.compute import Compute, Urgency
from agent.responders.base import Message, Prefilled, ReplyPiece, ResponderCall, WaitingCall


class ComputedCall(WaitingCall):
    """A call whose work runs on the compute thread, piece by piece, the most urgent first."""

    def __init__(self, call: ResponderCall, compute: Compute) -> None:
        self._call = call
        self._compute = compute

    async def prepare(self, messages: Sequence[Message]) -> Prefilled:
        return await self._compute.run(Urgency.PREPARE, lambda: self._call.prepare(messages))

    def reply(
        self, messages: Sequence[Message], deadline: float | None = None
    ) -> AsyncGenerator[ReplyPiece, None]:
        return self._compute.iterate(Urgency.REPLY, self._call.reply(messages, deadline))

    async def close(self) -> None:
        await self._compute.run(Urgency.REPLY, self._call.close)


def awaited(call: ResponderCall | WaitingCall, compute: Compute) -> WaitingCall:
    """``call`` in the form that is awaited; a `ResponderCall` is wrapped."""
    return call if isinstance(call, WaitingCall) else ComputedCall(call, compute)
