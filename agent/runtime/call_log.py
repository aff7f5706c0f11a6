"""One line for the start of a call, each turn, and its end; and the same figures as metrics.

A line holds ids and figures. What was said is in it only where ``log.words`` allows; never digits
that were pressed, keys, tokens or addresses with passwords.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from agent.runtime.logs import current_call
from agent.session.notices import (
    DecisionMade,
    Notice,
    ReplyFinished,
    TranscriptUpdated,
    Trouble,
    TurnTimed,
)

log = logging.getLogger("onebreath.calls")

SECONDS = (0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.3, 1.7, 2.5, 4.0, 8.0, 15.0)
MAX_CODES = 64
"""Kinds of errors that are counted by name; the rest count as ``other``."""

CALLS = Counter(
    "onebreath_calls", "Calls that ended, by transport and outcome.", ["kind", "outcome"]
)
RUNNING = Gauge("onebreath_calls_running", "Calls that are up.", multiprocess_mode="livesum")
REFUSED = Counter("onebreath_calls_refused", "Calls that were not admitted, by reason.", ["code"])
TURNS = Counter("onebreath_turns", "Replies that ended, by outcome.", ["status"])
V2V = Histogram(
    "onebreath_voice_to_voice_seconds",
    "From the end of the caller's speech to the first sound of the reply at the wire.",
    buckets=SECONDS,
)
SPANS = Histogram(
    "onebreath_span_seconds", "The spans of a turn, by name.", ["span"], buckets=SECONDS
)
ERRORS = Counter("onebreath_errors", "Errors that clients were told of, by code.", ["code"])

# Prometheus has no rate of an event with which its series begins, so known series begin at 0.
for _status in ("completed", "cancelled", "failed"):
    TURNS.labels(_status)
for _code in ("server_full", "server_stopping", "too_many_calls"):
    REFUSED.labels(_code)
for _stage in ("asr", "responder", "tts"):
    ERRORS.labels(f"{_stage}_failed")


def line(what: str, fields: Mapping[str, Any], level: int = logging.INFO) -> None:
    """Log ``what`` happened, with its fields; ``agent.runtime.logs`` formats both."""
    log.log(level, what, extra={"fields": dict(fields)})


@dataclass(slots=True)
class TurnLog:
    """Watches the notices of one call and writes a line for each reply that ended.

    Attributes:
        words: whether the lines hold what was said.
    """

    words: bool
    call_id: str = field(default_factory=current_call.get)
    _asked: tuple[str, str] = ("", "")
    """Item and text of the caller's last turn."""
    _timed: dict[str, TurnTimed] = field(default_factory=dict)
    _trouble: str = ""
    """Code of the newest error; a reply fails with one."""
    _codes: set[str] = field(default_factory=set)

    def see(self, notice: Notice) -> None:
        """Take a notice on its way to the client."""
        match notice:
            case TranscriptUpdated(final=True):
                self._asked = (notice.item_id, notice.text)
            case TurnTimed():
                self._timed = {notice.response_id: notice}
                self._measure(notice)
            case ReplyFinished():
                self._finished(notice)
            case DecisionMade():
                self._decided(notice)
            case Trouble():
                self._trouble = notice.code
                self._codes.add(notice.code)
                known = notice.code if len(self._codes) <= MAX_CODES else "other"
                ERRORS.labels(known).inc()

    def _decided(self, made: DecisionMade) -> None:
        """Log the labels of known answers; values out of the caller's words only where allowed."""
        known = {
            answer.name: answer.label if self.words or not answer.said else "..."
            for answer in made.answers
        }
        place = {"call": self.call_id, "item": made.item_id, "when": made.when}
        line("decision", known | place)

    def _measure(self, timed: TurnTimed) -> None:
        V2V.observe(sum(timed.spans.values()))
        for name, seconds in timed.spans.items():
            SPANS.labels(name).observe(seconds)

    def _finished(self, reply: ReplyFinished) -> None:
        TURNS.labels(reply.status).inc()
        item, heard = self._asked
        fields: dict[str, Any] = {
            "call": self.call_id,
            "item": item,
            "response": reply.response_id,
            "status": reply.status,
            "heard_words": len(heard.split()),
            "said_words": len(reply.text.split()),
        }
        if reply.status == "failed":
            fields["error"] = self._trouble
        timed = self._timed.pop(reply.response_id, None)
        if timed is not None:
            fields["v2v_ms"] = round(1000 * sum(timed.spans.values()))
            fields |= {f"{name}_ms": round(1000 * s) for name, s in timed.spans.items()}
        if self.words:
            fields |= {"heard": heard, "said": reply.text}
        line("turn", fields)
