"""How many denoising steps fit into the time that is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

Clock = Callable[[], float]
"""Seconds of a monotonic clock."""

_KEPT = 0.8
"""Weight of the old correction when a new measurement comes in."""


@dataclass(slots=True)
class CostModel:
    """Milliseconds of one step by its rows and the positions they attend to.

    `fixed + per_row * rows + per_pair * rows * visible`, fitted to measurements at warm-up and
    corrected by a running factor, because the machine's load changes.
    """

    fixed: float = 0.0
    per_row: float = 0.0
    per_pair: float = 0.0
    correction: float = field(default=1.0, init=False)

    @classmethod
    def fitted(cls, measured: Sequence[tuple[int, int, float]]) -> CostModel:
        """Least squares over (rows, visible, ms); at least three different shapes.

        No coefficient may be negative, for a longer canvas must never seem cheaper: one that
        would be is left out and the others are fitted again.
        """
        table = np.array([(1.0, rows, rows * visible) for rows, visible, _ in measured])
        times = np.array([ms for _, _, ms in measured])
        kept = [0, 1, 2]
        found = np.zeros(3)
        while kept:
            solution = np.linalg.lstsq(table[:, kept], times, rcond=None)[0]
            if (solution >= 0).all():
                found[kept] = solution
                break
            del kept[int(solution.argmin())]
        return cls(*(float(value) for value in found))

    def predict(self, rows: int, visible: int) -> float:
        """Expected milliseconds of a step."""
        raw = self.fixed + self.per_row * rows + self.per_pair * rows * visible
        return max(raw * self.correction, 1e-3)

    def observe(self, rows: int, visible: int, ms: float) -> None:
        """Move the correction towards what a step really took."""
        ratio = ms / self.predict(rows, visible)
        self.correction *= _KEPT + (1 - _KEPT) * ratio


@dataclass(slots=True)
class Deadline:
    """The pace of a reply that must be complete at a point in time.

    Before every step it asks how many more fit. When only one fits, that one commits all that
    is open: a reply is late by at most the last step, whatever the cost model believed.
    """

    due: float
    """On the clock, in seconds."""
    cost: CostModel
    clock: Clock = perf_counter

    def steps_left(self, step: int, rows: int, visible: int) -> int:
        """Steps that fit, this one included, although its forward pass is done already.

        The pace is asked when the logits are there, so the time that counts is what the
        steps after this one have.
        """
        left_ms = (self.due - self.clock()) * 1e3
        return 1 + max(0, int(left_ms / self.cost.predict(rows, visible)))
