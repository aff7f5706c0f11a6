"""Cost model and deadline: how many denoising steps fit into the time that is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np

Clock = Callable[[], float]
"""Seconds of a monotonic clock."""

_KEPT = 0.8
"""Weight of the old correction when a step is observed."""
_OUTLIER = 4.0
"""Bound of the ratio of observed to expected time, either way: one stall is no load."""
_CAUTION = 2.0
"""Mean deviations by which the last step may exceed its expectation and still be begun."""


@dataclass(slots=True)
class CostModel:
    """Milliseconds of one step: `fixed + per_row * rows + per_pair * rows * visible`.

    The coefficients are fitted to measurements at warm-up; a running factor corrects them, because
    the machine's load changes. The mean deviation of the steps is kept, too: the busier the
    machine, the larger.

    Attributes:
        fixed: milliseconds of a step without rows.
        per_row: milliseconds of a row.
        per_pair: milliseconds of a row for each position that it attends to.
        correction: running factor on the sum.
        deviation: mean distance of a step from its expectation, as a share of it.
    """

    fixed: float = 0.0
    per_row: float = 0.0
    per_pair: float = 0.0
    correction: float = field(default=1.0, init=False)
    deviation: float = field(default=0.1, init=False)

    @classmethod
    def fitted(cls, measured: Sequence[tuple[int, int, float]]) -> CostModel:
        """Fit by least squares to (rows, visible, ms) of at least three different shapes.

        Negative coefficients are left out and the others fitted again, for a longer canvas must
        never seem cheaper.
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
        """Move the correction towards the `ms` that a step has taken."""
        if not (self.fixed or self.per_row or self.per_pair):
            self.fixed = ms  # never measured: a factor cannot correct zero
        ratio = min(max(ms / self.predict(rows, visible), 1 / _OUTLIER), _OUTLIER)
        self.correction *= _KEPT + (1 - _KEPT) * ratio
        self.deviation += (1 - _KEPT) * (abs(ratio - 1) - self.deviation)

    def at_most(self, rows: int, visible: int) -> float:
        """Milliseconds that a step hardly exceeds: its expectation plus two mean deviations."""
        return self.predict(rows, visible) * (1 + _CAUTION * self.deviation)


@dataclass(slots=True)
class Deadline:
    """The pace of a reply that must be complete at a point in time.

    Before every step the reply asks how many more fit. When only one fits, that one commits all
    open positions, so a reply is late by at most its last step, even if the cost model is wrong.

    Attributes:
        due: seconds on the clock at which the reply is due.
        cost: the cost model of a step.
        clock: monotonic seconds.
    """

    due: float
    cost: CostModel
    clock: Clock = perf_counter

    def fitting(self, rows: int, visible: int) -> int:
        """Number of steps of this shape that are done in time."""
        left_ms = (self.due - self.clock()) * 1e3
        one, last = self.cost.predict(rows, visible), self.cost.at_most(rows, visible)
        return 0 if left_ms < last else 1 + int((left_ms - last) / one)

    @property
    def over(self) -> bool:
        """Whether the deadline has passed."""
        return self.clock() >= self.due

    def share(self, part: float) -> Deadline:
        """The deadline of a part, 0 to 1, of the time that is left."""
        now = self.clock()
        return replace(self, due=now + (self.due - now) * part)
