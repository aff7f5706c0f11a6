"""Which question is due on which line, and when. Pure."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from agent.errors import ConfigError

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}


def seconds(text: str) -> float:
    """Read a length of time: ``24h``, ``1h30m``, ``90s``, ``90``.

    Raises:
        ConfigError: it is something else, or no time at all.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([hms]?)", text)
    whole = "".join(number + unit for number, unit in parts) == text
    total = sum(float(number) * _UNITS[unit or "s"] for number, unit in parts)
    if not whole or total <= 0:
        raise ConfigError(f"--duration: {text!r}; write 24h, 1h30m or 90s")
    return total


@dataclass(frozen=True, slots=True)
class DueTurn:
    """One turn of a plan."""

    number: int
    """Counts from 1 over all lines; warm-up turns count from 1 on their own."""
    question: int
    """Place in the set of questions."""
    due: float | None
    """Seconds after the line began; None: when the reply before it was heard."""
    warmup: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is asked and how fast.

    With a ``rate`` the loop is open: turns are due at even distances whether the agent
    keeps up or not. Without one, each turn waits for the reply before it and a pause.
    """

    turns: int | None = 20
    """Over all lines, warm-up not counted. None: as many as fit into ``duration``."""
    duration: float | None = None
    """Seconds after which a line asks nothing more."""
    lines: int = 1
    """Calls at the same time."""
    rate: float | None = None
    """Turns per minute, over all lines."""
    warmup: int = 1
    """Turns that each line asks first, and that count for nothing."""
    turns_per_call: int = 10
    """After so many a line hangs up and dials again."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.turns is None and self.duration is None:
            raise ConfigError("say when to stop: give --turns or --duration")
        if self.rate is not None and self.rate <= 0:
            raise ConfigError("--rate must be more than zero turns per minute")
        if self.turns is not None and self.turns < self.lines:
            raise ConfigError(
                f"{self.turns} turns are not enough for {self.lines} calls; raise --turns"
            )

    def line(self, line: int, questions: int) -> Iterator[DueTurn]:
        """The turns of one line, in order.

        Args:
            line: counts from 0.
            questions: how many there are to choose from.
        """
        for place in range(self.warmup):
            yield self._turn(place + 1, place, line, questions, warmup=True)
        for place in itertools.count():
            index = place * self.lines + line
            if self.turns is not None and index >= self.turns:
                return
            yield self._turn(index + 1, self.warmup + place, line, questions, warmup=False)

    def _turn(self, number: int, place: int, line: int, questions: int, *, warmup: bool) -> DueTurn:
        """``place`` counts the turns of the line from 0."""
        slot = place * self.lines + line
        due = None if self.rate is None else slot * 60 / self.rate
        return DueTurn(number, self._question(slot, questions), due, warmup)

    def _question(self, slot: int, questions: int) -> int:
        """Every question once, in an order of its own in each round."""
        turn, place = divmod(slot, questions)
        order = list(range(questions))
        random.Random(f"{self.seed} {turn}").shuffle(order)
        return order[place]
