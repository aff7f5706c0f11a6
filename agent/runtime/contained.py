"""Engines at a distance: whatever one raises or yields ends its work, and never the call."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Sequence
from typing import Any, TypeVar, cast, get_args

from agent.compute import Compute
from agent.decision import Answer, Question
from agent.reply import PLAIN, Message, Prefilled, ReplyDone, ReplyOptions, ReplyPiece, ReplyText
from agent.responders.base import Responder, ResponderError, WaitingCall
from agent.responders.computed import awaited

log = logging.getLogger("onebreath.engines")

T = TypeVar("T")

FAULT = "the {} failed; the server's log says more"
"""Words for the caller in place of a fault's own, which may hold paths or secrets."""


def explain(stage: str, error: Exception, expected: type[Exception]) -> str:
    """The words for a failure of ``stage``, which is logged.

    They are its own if they are meant for users, else ``FAULT``.
    """
    if isinstance(error, expected):
        if not isinstance(error.__cause__, expected):  # else it was told already
            log.warning("the %s failed: %s", stage, getattr(error, "for_log", error))
        return str(error)
    log.error("the %s failed", stage, exc_info=error)
    return FAULT.format(stage)


class ContainedCall(WaitingCall):
    """A responder's call, of which every failure is a ``ResponderError``.

    Args:
        responder: the responder to open; one that cannot be opened fails with its first reply.
    """

    def __init__(self, responder: Responder, compute: Compute) -> None:
        self._call: WaitingCall | None = None
        self._why = ""
        try:
            self._call = awaited(responder.open(), compute)
        except Exception as error:  # of a plug-in, any
            self._why = explain("responder", error, ResponderError)

    @property
    def _opened(self) -> WaitingCall:
        if self._call is None:
            raise ResponderError(self._why)
        return self._call

    async def prepare(
        self, messages: Sequence[Message], options: ReplyOptions = PLAIN
    ) -> Prefilled:
        return await _contained(self._opened.prepare(messages, options))

    async def reply(
        self,
        messages: Sequence[Message],
        deadline: float | None = None,
        options: ReplyOptions = PLAIN,
    ) -> AsyncGenerator[ReplyPiece, None]:
        try:
            pieces = self._opened.reply(messages, deadline, options)
            try:
                async for piece in pieces:
                    yield _checked(piece)
            finally:
                await pieces.aclose()
        except Exception as error:  # of a plug-in, any
            raise ResponderError(explain("responder", error, ResponderError)) from error

    async def decide(
        self,
        messages: Sequence[Message],
        questions: Sequence[Question],
        words: str = "",
        *,
        quick: bool = False,
    ) -> Sequence[Answer] | None:
        return await _contained(self._opened.decide(messages, questions, words, quick=quick))

    async def close(self) -> None:
        if self._call is not None:
            try:
                await self._call.close()
            except Exception:  # the call is over in any case
                log.exception("the responder's state could not be closed")


async def _contained(work: Awaitable[T]) -> T:
    try:
        return await work
    except Exception as error:  # of a plug-in, any
        raise ResponderError(explain("responder", error, ResponderError)) from error


def _checked(piece: Any) -> ReplyPiece:
    """``piece`` with text that can be sent and spoken.

    Raises:
        TypeError: it is no piece of a reply.
    """
    if not isinstance(piece, get_args(ReplyPiece)):
        raise TypeError(f"a responder yielded {type(piece).__name__}, which is no piece of a reply")
    if isinstance(piece, (ReplyText, ReplyDone)) and not isinstance(piece.text, str):
        raise TypeError(f"the text of a reply is {type(piece.text).__name__}, not str")
    if isinstance(piece, ReplyText) and not piece.text.isascii():
        return ReplyText(_encodable(piece.text))
    return cast("ReplyPiece", piece)


def _encodable(text: str) -> str:
    """``text`` without lone surrogates, which no client can be sent."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
