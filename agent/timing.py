"""Latency accounting of a turn: marks, spans that sum exactly, budgets.

All times are seconds of one clock, which the calling code reads; no function here does.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum


class Stage(IntEnum):
    """The marks of a turn, in flow order."""

    SPEECH_END = 0
    """The last sample of the caller's speech arrived."""
    TURN_END = 1
    """The caller was judged to have finished."""
    TRANSCRIPT = 2
    """The final words are known."""
    PROMPT = 3
    """The whole prompt is in the cache."""
    FIRST_TEXT = 4
    """The first speakable words of the reply are final."""
    FIRST_SOUND = 5
    """The first audible sample of the reply exists."""
    FIRST_PLAYED = 6
    """The first audible sample of the reply was handed to the wire or heard."""


SPAN_NAMES: Mapping[Stage, str] = {
    Stage.TURN_END: "endpoint_wait",
    Stage.TRANSCRIPT: "asr",
    Stage.PROMPT: "prefill",
    Stage.FIRST_TEXT: "denoise",
    Stage.FIRST_SOUND: "tts",
    Stage.FIRST_PLAYED: "transport",
}
"""The span that ends at each mark."""


@dataclass(slots=True)
class StageTimings:
    """The marks of one turn, each set once, in order."""

    marks: dict[Stage, float] = field(default_factory=dict)

    def mark(self, stage: Stage, at: float) -> None:
        """Mark ``stage`` as reached at ``at`` seconds; only the first time counts.

        Raises:
            ValueError: a later stage was marked before, or an earlier one after ``at``.
        """
        if stage in self.marks:
            return
        for other, when in self.marks.items():
            if (other < stage and when > at) or other > stage:
                raise ValueError(f"{stage.name} at {at} against {other.name} at {when}")
        self.marks[stage] = at

    def settle(self, worked: StageTimings, at: float) -> None:
        """Take the marks of speculative work; those before ``at`` count as reached at ``at``."""
        for stage, when in sorted(worked.marks.items()):
            self.mark(stage, max(at, when))

    @property
    def total(self) -> float:
        """Seconds from the first mark to the last."""
        return max(self.marks.values()) - min(self.marks.values()) if self.marks else 0.0

    def spans(self) -> dict[str, float]:
        """Seconds by span name, summing to ``total``; zero for a stage that was not marked."""
        spans = dict.fromkeys(SPAN_NAMES.values(), 0.0)
        reached = sorted(self.marks)
        for before, stage in itertools.pairwise(reached):
            spans[SPAN_NAMES[stage]] = self.marks[stage] - self.marks[before]
        return spans


@dataclass(frozen=True, slots=True)
class WorkSpan:
    """Work of one engine, from ``start`` to ``end`` seconds of any clock."""

    name: str
    start: float
    end: float

    def shifted(self, zero: float) -> WorkSpan:
        """The same span, counted from ``zero``."""
        return WorkSpan(self.name, self.start - zero, self.end - zero)

    def before(self, at: float) -> float:
        """Seconds of the work that lie before ``at``."""
        return max(0.0, min(self.end, at) - self.start)


@dataclass(frozen=True, slots=True)
class Speculation:
    """The outcome of speculative work, done before the end of a turn was certain.

    Attributes:
        hit: whether the reply was drafted ahead and used.
        revisions: number of pauses with speculative work.
        saved: seconds of useful work that were done when the turn was over.
        wasted: seconds of work whose results were thrown away.
    """

    hit: bool
    revisions: int
    saved: float
    wasted: float


@dataclass(frozen=True, slots=True)
class LatencyBudget:
    """Latency limits in seconds: for the whole turn, and for spans by name.

    Raises:
        ValueError: an unknown span, or a limit that is not above zero.

    >>> LatencyBudget(1.2, {"asr": 0.4}).overruns({"asr": 0.5, "tts": 0.1})
    {'asr': 0.09999999999999998}
    """

    total: float | None = None
    per_span: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = set(self.per_span) - set(SPAN_NAMES.values())
        if unknown:
            known = ", ".join(SPAN_NAMES.values())
            raise ValueError(f"no such span: {', '.join(sorted(unknown))}; there are {known}")
        limits = [*self.per_span.values(), *([] if self.total is None else [self.total])]
        if any(limit <= 0 for limit in limits):
            raise ValueError("a latency limit must be more than zero seconds")

    def overruns(self, spans: Mapping[str, float]) -> dict[str, float]:
        """Seconds by which each missed limit was exceeded; ``total`` names the whole turn's."""
        over = {
            name: spans.get(name, 0.0) - limit
            for name, limit in self.per_span.items()
            if spans.get(name, 0.0) > limit
        }
        whole = sum(spans.values())
        if self.total is not None and whole > self.total:
            over["total"] = whole - self.total
        return over
