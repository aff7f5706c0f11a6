"""Two runs side by side: ratio, interval, and a verdict only where the interval allows one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agent.latency.estimate import PERCENTILES, interval, quantile, resampled
from agent.latency.results import TurnResult
from agent.latency.summary import TOTAL, figures_of

CONFIDENCE = 0.99
"""Several figures are compared at once; at 95 % one in twenty would differ by chance."""
RESOLUTION_MS = 1.0
"""Smaller times count as this: a ratio of less than a millisecond means nothing."""
MIN_TURNS = {"p50": 10, "p95": 60}
"""With fewer turns in either run there is no verdict: the interval itself would not hold.

The 95th percentile of 60 turns has three turns above it.
"""


@dataclass(frozen=True, slots=True)
class Ratio:
    """A percentile of the second run over that of the first."""

    figure: str
    percentile: str
    first: float
    second: float
    """Milliseconds."""
    ratio: float
    low: float
    high: float
    enough: bool
    """Whether both runs have enough turns for a verdict."""

    @property
    def verdict(self) -> str:
        if not self.enough:
            return "too few turns"
        if self.low <= 1 <= self.high:
            return "no difference"
        return "slower" if self.ratio > 1 else "faster"


def compare(
    first: Sequence[TurnResult], second: Sequence[TurnResult], seed: int = 0
) -> list[Ratio]:
    """The second run against the first, for every figure that both have.

    The median of each, and the 95th percentile of the total.
    """
    before, after = (figures_of([row for row in run if not row.warmup]) for run in (first, second))
    return [
        _ratio(figure, percentile, before[figure], after[figure], seed)
        for figure in before
        if figure in after and figure not in ("frame_late", "voice_to_voice")
        for percentile in (("p50", "p95") if figure == TOTAL else ("p50",))
    ]


def _ratio(
    figure: str, percentile: str, first: Sequence[float], second: Sequence[float], seed: int
) -> Ratio:
    share = PERCENTILES[percentile]
    before, after = (np.maximum(values, RESOLUTION_MS) for values in (first, second))
    base, value = float(quantile(before, share)), float(quantile(after, share))
    # The two runs are independent, so they are drawn independently.
    bases = quantile(resampled(before, 2 * seed), share)
    values = quantile(resampled(after, 2 * seed + 1), share)
    low, high = interval(values / bases, CONFIDENCE)
    enough = min(len(before), len(after)) >= MIN_TURNS[percentile]
    return Ratio(figure, percentile, base, value, value / base, low, high, enough)
