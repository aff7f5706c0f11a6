"""How many denoising steps fit into the time that is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np

Clock = Callable[[], float]
"""Seconds of a monotonic clock."""

_KEPT = 0.8
"""Weight of the old correction when a new measurement comes in."""
_OUTLIER = 4.0
"""How many times longer or shorter than expected a step counts at most: one stall is no load."""
_CAUTION = 2.0
"""Mean deviations by which the last step that is begun may take longer than expected."""


@dataclass(slots=True)
class CostModel:
    """Milliseconds of one step by its rows and the positions they attend to.

    `fixed + per_row * rows + per_pair * rows * visible`, fitted to measurements at warm-up and
    corrected by a running factor, because the machine's load changes. How far steps stray from
    what was expected is kept, too: the busier the machine, the wider.
    """

    fixed: float = 0.0
    per_row: float = 0.0
    per_pair: float = 0.0
    correction: float = field(default=1.0, init=False)
    deviation: float = field(default=0.1, init=False)
    """Mean distance of a step from its expectation, as a share of it."""

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
        if not (self.fixed or self.per_row or self.per_pair):
            self.fixed = ms  # nothing was measured before: a factor could not correct zero
        ratio = min(max(ms / self.predict(rows, visible), 1 / _OUTLIER), _OUTLIER)
        self.correction *= _KEPT + (1 - _KEPT) * ratio
        self.deviation += (1 - _KEPT) * (abs(ratio - 1) - self.deviation)

    def at_most(self, rows: int, visible: int) -> float:
        """Milliseconds that a step hardly exceeds."""
        return self.predict(rows, visible) * (1 + _CAUTION * self.deviation)


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

    def fitting(self, rows: int, visible: int) -> int:
        """Steps of this shape that can still be begun and are done in time."""
        left_ms = (self.due - self.clock()) * 1e3
        one, last = self.cost.predict(rows, visible), self.cost.at_most(rows, visible)
        return 0 if left_ms < last else 1 + int((left_ms - last) / one)

    @property
    def over(self) -> bool:
        return self.clock() >= self.due

    def share(self, part: float) -> Deadline:
        """The end of this part of the time that is left."""
        now = self.clock()
        return replace(self, due=now + (self.due - now) * part)
