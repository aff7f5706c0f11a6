"""Percentiles with bootstrap confidence intervals. Pure numpy.

The bootstrap draws blocks of neighbouring turns: a stall affects several turns in a row, and
single draws would make the intervals too narrow.

Sources: circular block bootstrap, Politis and Romano, "A circular block-resampling procedure for
stationary data", 1992; block length n^(1/3), Künsch 1989; percentile method for the intervals.
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
class PercentileEstimate:
    """One percentile of a sample with its confidence interval.

    Attributes:
        value: the percentile, in the unit of the sample.
        low: lower end of the interval; for the maximum, which has no interval, the value itself.
        high: upper end of the interval; for the maximum, the value itself.
    """

    value: float
    low: float
    high: float


def quantile(values: Values, share: float) -> Values:
    """The smallest value that ``share`` of the values do not exceed, along the last axis.

    The result is always an element of ``values``; nothing is interpolated.
    """
    place = max(0, math.ceil(values.shape[-1] * share - 1))
    return np.asarray(np.partition(values, place, axis=-1)[..., place])


def resampled(values: Values, seed: int, count: int = RESAMPLES) -> Values:
    """Bootstrap samples of ``values``, shape ``(count, len(values))``."""
    n = len(values)
    block = max(1, round(n ** (1 / 3)))
    blocks = -(-n // block)
    starts = np.random.default_rng(seed).integers(0, n, (count, blocks))
    ring = np.concatenate([values, values[: block - 1]])
    drawn = np.lib.stride_tricks.sliding_window_view(ring, block)[starts]
    return drawn.reshape(count, -1)[:, :n]


def estimates(values: Sequence[float], seed: int = 0) -> dict[str, PercentileEstimate]:
    """Estimate every percentile of ``PERCENTILES``.

    Args:
        values: at least one value, in the order of measurement.
        seed: seed of the bootstrap.
    """
    sample = np.asarray(values, np.float64)
    draws = resampled(sample, seed)
    found = {}
    for name, share in PERCENTILES.items():
        value = float(quantile(sample, share))
        low, high = value, value
        if share < 1:
            low, high = interval(quantile(draws, share), CONFIDENCE)
        found[name] = PercentileEstimate(value, low, high)
    return found


def interval(draws: Values, confidence: float) -> tuple[float, float]:
    """Bounds of the central share ``confidence`` of the draws."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)
