"""Upper limits on the figures of a run, for a gate in continuous integration. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from agent.errors import ConfigError
from agent.latency.estimate import PERCENTILES
from agent.latency.summary import Summary
from agent.timing import SPAN_NAMES

DEFAULT_PERCENTILE = "p95"
FIGURES = (
    "total",
    "voice_to_voice",
    *SPAN_NAMES.values(),
    "playout",
    "leading_silence",
    "longest_gap",
    "talked_over",
    "interrupt",
    "recovery",
    "frame_late",
    "wer",
    "errors",
    "wrong",
)
"""Figures that can have a limit."""
SHARES = ("wer", "errors", "wrong")
"""Limits given as shares (0 to 1): word error rate, failed turns, wrong answers."""


@dataclass(frozen=True, slots=True)
class Overrun:
    """A limit that the run exceeded.

    Attributes:
        name: figure and percentile, such as ``asr.p95``, or one of ``SHARES``.
        limit: upper limit, in milliseconds or as a share.
        found: measured value in the same unit; None: the run has no such figure, which counts as
            exceeded because nothing shows that the limit was kept.
    """

    name: str
    limit: float
    found: float | None

    def __str__(self) -> str:
        if self.found is None:
            return f"{self.name}: the limit is {self.limit:g}, and the run has no such figure"
        return f"{self.name}: {self.found:g} is more than {self.limit:g}"


class RunBudget:
    """Limits such as ``total=800,asr=200,recovery.p50=900,wer=0.1``.

    Times are in milliseconds and are compared at the 95th percentile, or at the percentile named
    after the dot. ``wer``, ``errors`` and ``wrong`` are shares between 0 and 1.
    """

    def __init__(self, limits: Mapping[str, float]) -> None:
        self._limits = dict(limits)

    @classmethod
    def parse(cls, text: str) -> RunBudget:
        """Read the value of ``--budget``.

        Raises:
            ConfigError: a part is not ``FIGURE=LIMIT``, names an unknown percentile, or its limit
                is not a number of at least zero.
        """
        limits = {}
        for part in text.split(","):
            name, _, value = part.strip().partition("=")
            figure, _, percentile = name.partition(".")
            percentile = percentile or ("" if figure in SHARES else DEFAULT_PERCENTILE)
            if not figure or percentile not in ("", *PERCENTILES):
                raise ConfigError(
                    f"--budget: {part!r} is not FIGURE=LIMIT; write total=800,asr.p50=200"
                )
            try:
                limit = float(value)
            except ValueError:
                raise ConfigError(
                    f"--budget: the limit of {figure} is a number, not {value!r}"
                ) from None
            if figure not in FIGURES:
                near = get_close_matches(figure, FIGURES, 1)
                guess = f"did you mean {near[0]}? " if near else ""
                raise ConfigError(
                    f"--budget: no run has the figure {figure!r}; {guess}There are "
                    f"{', '.join(FIGURES)}"
                )
            if not limit >= 0:
                raise ConfigError(f"--budget: {figure} must be zero or more")
            limits[f"{figure}.{percentile}" if percentile else figure] = limit
        return cls(limits)

    def overruns(self, summary: Summary, wer: float | None) -> list[Overrun]:
        """Return every limit that the run exceeded.

        Args:
            wer: word error rate of the run (0 to 1), if it is known.
        """
        found = self._found(summary, wer)
        missed = []
        for name, limit in self._limits.items():
            value = found.get(name)
            if value is None or value > limit:
                missed.append(Overrun(name, limit, None if value is None else round(value, 4)))
        return missed

    def _found(self, summary: Summary, wer: float | None) -> dict[str, float | None]:
        found: dict[str, float | None] = {
            f"{figure}.{name}": estimate.value
            for figure, percentiles in summary.figures.items()
            for name, estimate in percentiles.items()
        }
        found["wer"] = wer
        found["errors"] = summary.failed / summary.turns if summary.turns else None
        wrong = summary.checked - summary.passed
        found["wrong"] = wrong / summary.checked if summary.checked else None
        return found
