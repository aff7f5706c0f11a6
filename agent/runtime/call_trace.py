"""The trace of one call: watches its notices and writes the spans of each turn that ended.

Nothing here knows a tracing library; ``agent.runtime.traces`` writes the spans with one.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

from agent.runtime.span_tree import (
    CALL_OVER,
    CONNECTION_REPLACED,
    Span,
    SpanTree,
    TracedTurn,
)
from agent.session.notices import (
    Notice,
    ReplyFinished,
    ReplyStarted,
    ReplyTextDelta,
    Resumed,
    TranscriptUpdated,
    TurnTimed,
)

log = logging.getLogger("onebreath.traces")

MAX_OPEN = 16
"""Replies under way whose spans are kept; the oldest one makes room."""


class CallSpan(Protocol):
    """Writes the span of a call and those below it."""

    def write(self, span: Span) -> None:
        """Write a finished span, and those below it, below the span of the call."""

    def end(self, now: float, outcome: str, code: int, *, failed: bool) -> None:
        """End the span of the call at monotonic second ``now``."""


@dataclass(slots=True)
class CallTrace:
    """Collects what the spans of a call's turns are made of.

    A fault in it is logged and ends the trace, never the call.
    """

    span: CallSpan
    tree: SpanTree
    _asked: tuple[str, str] = ("", "")
    """Item and text of the caller's last turn."""
    _open: dict[str, TracedTurn] = field(default_factory=dict)
    _broken: bool = False

    def see(self, notice: Notice, now: float) -> None:
        """Take a notice on its way to the client, at monotonic second ``now``."""
        if self._broken:
            return
        try:
            self._see(notice, now)
        except Exception:  # a trace is worth no call
            self._break()

    def end(self, now: float, outcome: str, code: int, *, failed: bool = False) -> None:
        """End the trace with its call; turns under way end with it."""
        try:
            if not self._broken:
                self._end_all(CALL_OVER, now)
            self.span.end(now, outcome, code, failed=failed)
        except Exception:  # as in `see`
            self._break()

    def _break(self) -> None:
        self._broken = True
        log.exception("call %s is traced no further", self.tree.call_id)

    def _see(self, notice: Notice, now: float) -> None:
        match notice:
            case TranscriptUpdated(final=True):
                self._asked = (notice.item_id, notice.text)
            case ReplyStarted():
                self._begin(notice, now)
            case TurnTimed() if turn := self._open.get(notice.response_id):
                turn.timed, turn.timed_at = notice, now
            case ReplyTextDelta() if turn := self._open.get(notice.response_id):
                turn.last_text_at = now
            case ReplyFinished() if turn := self._open.pop(notice.response_id, None):
                self.span.write(self.tree.turn(turn, notice, now))
            case Resumed():
                self._end_all(CONNECTION_REPLACED, now)

    def _begin(self, started: ReplyStarted, now: float) -> None:
        if len(self._open) >= MAX_OPEN:
            self._open.pop(next(iter(self._open)))
        turn = TracedTurn(started.response_id, now, started.text_only)
        turn.item_id, turn.heard = self._asked
        self._asked = ("", "")  # a reply after this one answers something else
        self._open[started.response_id] = turn

    def _end_all(self, reason: str, now: float) -> None:
        for turn in self._open.values():
            self.span.write(self.tree.turn(turn, reason, now))
        self._open.clear()


current_trace: ContextVar[CallTrace | None] = ContextVar("current_trace", default=None)
"""The trace of the call to which the running task belongs; None where calls are not traced."""
