"""A figure of a benchmark with its samples and target."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

Progress = Callable[[str], None]
"""Called with a description of the current step, for display."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a table.

    Attributes:
        name: name of the figure.
        unit: unit of ``value``, ``worst`` and ``target``.
        value: median of the samples.
        worst: largest sample.
        n: number of samples.
        target: upper bound to reach; None: there is no target.
    """

    name: str
    unit: str
    value: float
    worst: float
    n: int
    target: float | None

    @property
    def met(self) -> bool | None:
        """Whether the target was reached; None without a target."""
        return None if self.target is None else self.value <= self.target

    def to_row(self) -> dict[str, Any]:
        """The figure as a JSON row."""
        return {**asdict(self), "met": self.met}


def figure(name: str, unit: str, samples: list[float], target: float | None = None) -> Figure:
    """Make a figure from at least one sample."""
    median = statistics.median(samples)
    return Figure(name, unit, round(median, 2), round(max(samples), 2), len(samples), target)
