"""Comparison of two runs: ratios with confidence intervals, and a verdict where they allow one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agent.latency.estimate import PERCENTILES, interval, quantile, resampled
from agent.latency.results import TurnResult
from agent.latency.summary import TOTAL, figures_of

CONFIDENCE = 0.99
"""Confidence of the intervals; at 95 %, one of twenty figures compared would differ by chance."""
RESOLUTION_MS = 1.0
"""Times below this count as this: a ratio of times under a millisecond has no meaning."""
MIN_TURNS = {"p50": 10, "p95": 60}
"""Turns that both runs need for a verdict at a percentile; with fewer, the interval is unreliable.

Three of 60 turns lie above the 95th percentile.
"""


@dataclass(frozen=True, slots=True)
class Ratio:
    """Ratio of one percentile of two runs, the second over the first.

    Attributes:
        figure: name of the figure, such as ``total`` or ``asr``.
        percentile: ``p50`` or ``p95``.
        first: percentile of the first run, in milliseconds.
        second: percentile of the second run, in milliseconds.
        ratio: ``second / first``.
        low: lower end of the confidence interval of the ratio.
        high: upper end of the confidence interval of the ratio.
        enough: whether both runs have enough turns for a verdict.
    """

    figure: str
    percentile: str
    first: float
    second: float
    ratio: float
    low: float
    high: float
    enough: bool

    @property
    def verdict(self) -> str:
        """``faster``, ``slower``, ``no difference`` or ``too few turns``."""
        if not self.enough:
            return "too few turns"
        if self.low <= 1 <= self.high:
            return "no difference"
        return "slower" if self.ratio > 1 else "faster"


def compare(
    first: Sequence[TurnResult], second: Sequence[TurnResult], seed: int = 0
) -> list[Ratio]:
    """Compare the second run with the first in every figure that both have.

    Compares the median of each figure and the 95th percentile of the total.

    Args:
        seed: seed of the bootstrap.
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
    # The runs are independent, so their bootstrap samples are, too.
    bases = quantile(resampled(before, 2 * seed), share)
    values = quantile(resampled(after, 2 * seed + 1), share)
    low, high = interval(values / bases, CONFIDENCE)
    enough = min(len(before), len(after)) >= MIN_TURNS[percentile]
    return Ratio(figure, percentile, base, value, value / base, low, high, enough)
