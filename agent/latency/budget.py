"""Limits on the figures of a run, for a gate in continuous integration. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agent.errors import ConfigError
from agent.latency.estimate import PERCENTILES
from agent.latency.summary import Summary

DEFAULT_PERCENTILE = "p95"
SHARES = ("wer", "errors", "wrong")
"""Limits that are no times: word error rate, share of turns that failed, of wrong answers."""


@dataclass(frozen=True, slots=True)
class Overrun:
    """A limit that was missed."""

    name: str
    limit: float
    found: float | None
    """None: there is no such figure in the run, so nobody knows that it was kept."""

    def __str__(self) -> str:
        if self.found is None:
            return f"{self.name}: the limit is {self.limit:g}, and the run has no such figure"
        return f"{self.name}: {self.found:g} is more than {self.limit:g}"


class Budget:
    """``total=800,asr=200,recovery.p50=900,wer=0.1``: milliseconds, shares for the last three.

    A time is compared at its 95th percentile, or at the one behind the dot.
    """

    def __init__(self, limits: Mapping[str, float]) -> None:
        self._limits = dict(limits)

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read what ``--budget`` says.

        Raises:
            ConfigError: it is malformed.
        """
        limits = {}
        for part in text.split(","):
            name, _, value = part.strip().partition("=")
            figure, _, percentile = name.partition(".")
            percentile = percentile or ("" if figure in SHARES else DEFAULT_PERCENTILE)
            if not figure or percentile not in ("", *PERCENTILES):
                raise ConfigError(f"--budget: {part!r}; write total=800,asr.p50=200")
            try:
                limit = float(value)
            except ValueError:
                raise ConfigError(f"--budget: {figure} is a number, not {value!r}") from None
            if not limit >= 0:
                raise ConfigError(f"--budget: {figure} must be zero or more")
            limits[f"{figure}.{percentile}" if percentile else figure] = limit
        return cls(limits)

    def overruns(self, summary: Summary, wer: float | None) -> list[Overrun]:
        """Every limit that the run did not keep."""
        found = self._found(summary, wer)
        missed = []
        for name, limit in self._limits.items():
            value = found.get(name)
            if value is None or value > limit:
                missed.append(Overrun(name, limit, None if value is None else round(value, 4)))
        return missed

    def _found(self, summary: Summary, wer: float | None) -> dict[str, float | None]:
        found: dict[str, float | None] = {
            f"{figure}.{name}": estimate.value
            for figure, percentiles in summary.figures.items()
            for name, estimate in percentiles.items()
        }
        found["wer"] = wer
        found["errors"] = summary.failed / summary.turns if summary.turns else None
        wrong = summary.checked - summary.passed
        found["wrong"] = wrong / summary.checked if summary.checked else None
        return found
