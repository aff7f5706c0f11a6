"""Summary of a run: percentiles of each figure, errors, transcripts, checked answers. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from agent.latency.estimate import PERCENTILES, PercentileEstimate, estimates
from agent.latency.results import TurnResult

TOTAL = "total"
"""Name of the figure for the whole latency of a turn."""
BUSY_MS = 20.0
"""A caller whose frames are later than this at p95 is too busy to measure, in milliseconds."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Summary of the turns of a run, without warm-up.

    Attributes:
        turns: number of turns.
        errors: number of occurrences of each error message.
        failed: number of turns with an error.
        unanswered: number of turns without a reply; they count with the time that was waited.
        figures: percentiles in milliseconds by figure; ``total`` first where any turn has one.
        samples: number of values of each figure.
        checked: number of answers with a check.
        passed: number of answers that passed their check.
        words: pairs of the question's words and the agent's transcript, where both are known.
    """

    turns: int
    errors: Mapping[str, int]
    failed: int
    unanswered: int
    figures: Mapping[str, Mapping[str, PercentileEstimate]]
    samples: Mapping[str, int]
    checked: int
    passed: int
    words: tuple[tuple[str, str], ...]

    @property
    def too_busy(self) -> bool:
        """Whether the caller sent its own audio too late for valid figures."""
        return "frame_late" in self.figures and self.figures["frame_late"]["p95"].value > BUSY_MS

    def to_row(self, wer: float | None) -> dict[str, Any]:
        """The summary as a JSON row, with the percentiles of the total at the top.

        Args:
            wer: word error rate (0 to 1), if it is known.
        """
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


def _rounded(estimate: PercentileEstimate) -> dict[str, float]:
    return {name: round(value, 3) for name, value in asdict(estimate).items()}


def figures_of(rows: Sequence[TurnResult]) -> dict[str, list[float]]:
    """Collect the values of every figure, in milliseconds, in the order of the rows.

    Figures without any value are left out.
    """
    figures: dict[str, list[float | None]] = {TOTAL: [row.total_ms for row in rows]}
    ear = [row.voice_to_voice_ms for row in rows]
    if ear != figures[TOTAL]:  # some turns were late or unanswered
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
    """Summarise the rows of one run; warm-up turns are left out.

    Args:
        seed: seed of the bootstrap.
    """
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
