"""One figure of a table, with what it was taken from and what it should be."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

Progress = Callable[[str], None]
"""Told what is being measured, for people who wait."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table."""

    name: str
    unit: str
    value: float
    """The median, where there are several samples."""
    worst: float
    n: int
    target: float | None

    @property
    def met(self) -> bool | None:
        """Whether the target was reached; None where there is none."""
        return None if self.target is None else self.value <= self.target

    def to_row(self) -> dict[str, Any]:
        return {**asdict(self), "met": self.met}


def figure(name: str, unit: str, samples: list[float], target: float | None = None) -> Figure:
    median = statistics.median(samples)
    return Figure(name, unit, round(median, 2), round(max(samples), 2), len(samples), target)
