"""Two runs side by side: ratio, interval, and a verdict only where the interval allows one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agent.latency.estimate import PERCENTILES, interval, quantile, resampled
from agent.latency.results import TurnResult
from agent.latency.summary import figures_of

CONFIDENCE = 0.99
"""Several figures are compared at once; at 95 % one in twenty would differ by chance."""
COMPARED = ("p50", "p95")
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
    """The second run against the first, for every figure that both have."""
    before, after = (figures_of([row for row in run if not row.warmup]) for run in (first, second))
    return [
        _ratio(figure, percentile, before[figure], after[figure], seed)
        for figure in before
        if figure in after and figure != "frame_late"
        for percentile in COMPARED
        if np.quantile(before[figure], PERCENTILES[percentile], method="inverted_cdf") > 0
    ]


def _ratio(
    figure: str, percentile: str, first: Sequence[float], second: Sequence[float], seed: int
) -> Ratio:
    share = PERCENTILES[percentile]
    before, after = np.asarray(first, np.float64), np.asarray(second, np.float64)
    base, value = float(quantile(before, share)), float(quantile(after, share))
    # The two runs are independent, so they are drawn independently.
    bases = quantile(resampled(before, 2 * seed), share)
    values = quantile(resampled(after, 2 * seed + 1), share)
    low, high = interval(values / np.maximum(bases, np.finfo(np.float64).tiny), CONFIDENCE)
    enough = min(len(before), len(after)) >= MIN_TURNS[percentile]
    return Ratio(figure, percentile, base, value, value / base, low, high, enough)
