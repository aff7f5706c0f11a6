"""Percentiles with confidence intervals. Pure numpy.

The bootstrap draws blocks of neighbouring turns, not single ones: a stall hits several turns
in a row, and drawing them one by one would make the intervals too narrow. (Circular block
bootstrap: Politis and Romano, "A circular block-resampling procedure for stationary data",
1992; block length n^(1/3) as in Künsch 1989. Intervals are the percentile method's.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PERCENTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "max": 1.0}
RESAMPLES = 2000
CONFIDENCE = 0.95

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """One percentile of a sample."""

    value: float
    low: float
    high: float
    """Ends of the confidence interval. Of the maximum there is none: both are the value."""


def quantile(values: Values, share: float) -> Values:
    """The smallest value that ``share`` of the values do not exceed, along the last axis.

    A value that occurred, never one between two.
    """
    place = max(0, math.ceil(values.shape[-1] * share - 1))
    return np.asarray(np.partition(values, place, axis=-1)[..., place])


def resampled(values: Values, seed: int, count: int = RESAMPLES) -> Values:
    """``count`` bootstrap samples of the size of ``values``, as rows."""
    n = len(values)
    block = max(1, round(n ** (1 / 3)))
    blocks = -(-n // block)
    starts = np.random.default_rng(seed).integers(0, n, (count, blocks))
    ring = np.concatenate([values, values[: block - 1]])
    drawn = np.lib.stride_tricks.sliding_window_view(ring, block)[starts]
    return drawn.reshape(count, -1)[:, :n]


def estimates(values: Sequence[float], seed: int = 0) -> dict[str, Estimate]:
    """Every percentile of at least one value, in the order in which they were taken."""
    sample = np.asarray(values, np.float64)
    draws = resampled(sample, seed)
    found = {}
    for name, share in PERCENTILES.items():
        value = float(quantile(sample, share))
        low, high = value, value
        if share < 1:
            low, high = interval(quantile(draws, share), CONFIDENCE)
        found[name] = Estimate(value, low, high)
    return found


def interval(draws: Values, confidence: float) -> tuple[float, float]:
    """The middle ``confidence`` of the draws."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)
