"""A run in figures: percentiles by stage, errors, words, answers. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from agent.latency.estimate import PERCENTILES, Estimate, estimates
from agent.latency.results import TurnResult

TOTAL = "total"
BUSY_MS = 20.0
"""A caller whose own frames are later than this at p95 is too busy to measure."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What ``summarise`` finds in the rows that are no warm-up."""

    turns: int
    errors: Mapping[str, int]
    """How often each was told."""
    failed: int
    """Turns with an error."""
    unanswered: int
    """Turns without a reply that count with the time that was waited for it."""
    figures: Mapping[str, Mapping[str, Estimate]]
    """Percentiles in milliseconds by figure; ``total`` first where any turn has one."""
    samples: Mapping[str, int]
    """How many values each figure has."""
    checked: int
    passed: int
    """Answers that were compared, and those that were right."""
    words: tuple[tuple[str, str], ...]
    """What was said and what was understood, where both are known."""

    @property
    def too_busy(self) -> bool:
        """Whether the caller itself was late with its sound."""
        return "frame_late" in self.figures and self.figures["frame_late"]["p95"].value > BUSY_MS

    def to_row(self, wer: float | None) -> dict[str, Any]:
        """As JSON; the percentiles of the total stand at the top."""
        total = self.figures.get(TOTAL, {})
        return {
            "kind": "summary",
            **dict.fromkeys(PERCENTILES),
            **{name: round(estimate.value, 3) for name, estimate in total.items()},
            "turns": self.turns,
            "errors": self.failed,
            "unanswered": self.unanswered,
            "messages": dict(self.errors),
            "wer": None if wer is None else round(wer, 4),
            "checked": self.checked,
            "passed": self.passed,
            "figures": {
                figure: {"n": self.samples[figure]}
                | {name: _rounded(estimate) for name, estimate in found.items()}
                for figure, found in self.figures.items()
            },
        }


def _rounded(estimate: Estimate) -> dict[str, float]:
    return {name: round(value, 3) for name, value in asdict(estimate).items()}


def figures_of(rows: Sequence[TurnResult]) -> dict[str, list[float]]:
    """The values of every figure, in milliseconds, in the order of the rows.

    A figure that no row has is left out.
    """
    figures: dict[str, list[float | None]] = {TOTAL: [row.total_ms for row in rows]}
    ear = [row.voice_to_voice_ms for row in rows]
    if ear != figures[TOTAL]:  # turns were late, or not answered
        figures["voice_to_voice"] = ear
    for span in dict.fromkeys(name for row in rows for name in row.spans):
        figures[span] = [row.spans.get(span) for row in rows]
    figures["leading_silence"] = [row.leading_silence_ms for row in rows]
    figures["longest_gap"] = [
        max(row.gaps_ms, default=0.0) for row in rows if row.voice_to_voice_ms is not None
    ]
    figures["talked_over"] = [row.talked_over_ms for row in rows if row.talked_over_ms]
    figures["interrupt"] = [row.interrupt_ms for row in rows]
    figures["recovery"] = [row.recovery_ms for row in rows]
    figures["frame_late"] = [row.frame_late_ms for row in rows if row.call]
    known = {
        name: [value for value in values if value is not None] for name, values in figures.items()
    }
    return {name: values for name, values in known.items() if values}


def summarise(rows: Sequence[TurnResult], seed: int = 0) -> Summary:
    """Fold the rows of one run; warm-up turns count for nothing."""
    rows = [row for row in rows if not row.warmup]
    values = figures_of(rows)
    understood = any(row.heard for row in rows)
    checks = [row.check for row in rows if row.check is not None]
    return Summary(
        turns=len(rows),
        errors=Counter(row.error for row in rows if row.error is not None),
        failed=sum(row.error is not None for row in rows),
        unanswered=sum(row.voice_to_voice_ms is None and row.total_ms is not None for row in rows),
        figures={name: estimates(found, seed) for name, found in values.items()},
        samples={name: len(found) for name, found in values.items()},
        checked=len(checks),
        passed=sum(checks),
        words=tuple(
            (row.expected, row.heard)
            for row in rows
            if row.expected is not None and understood and row.voice_to_voice_ms is not None
        ),
    )
