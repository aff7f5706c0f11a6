"""The plan of a load test: the question of each caller's turns and when they are due. Pure."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from agent.errors import ConfigError

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}


def seconds(text: str) -> float:
    """Read a duration such as ``24h``, ``1h30m``, ``90s`` or ``90``, in seconds.

    Raises:
        ConfigError: the text is not a duration, or the duration is zero.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([hms]?)", text)
    whole = "".join(number + unit for number, unit in parts) == text
    total = sum(float(number) * _UNITS[unit or "s"] for number, unit in parts)
    if not whole or total <= 0:
        raise ConfigError(f"--duration: {text!r} is not a duration; write 24h, 1h30m or 90s")
    return total


@dataclass(frozen=True, slots=True)
class PlannedTurn:
    """One turn of a plan.

    Attributes:
        number: number of the turn over all callers, from 1; warm-up turns are numbered separately.
        question: index in the list of questions.
        due: seconds after the caller's first call began; None: after the reply before it.
        warmup: whether the turn is left out of the figures.
    """

    number: int
    question: int
    due: float | None
    warmup: bool


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """Number and pace of the turns of a load test.

    With a ``rate`` the loop is open: turns are due at equal intervals, whether the agent keeps up
    or not. Without a ``rate`` the loop is closed: each turn waits for the end of the reply before
    it and a pause.

    Attributes:
        turns: turns over all callers, without warm-up; None: as many as fit into ``duration``.
        duration: seconds after which a caller asks nothing more; None: no limit.
        callers: number of concurrent calls.
        rate: turns per minute over all callers; None: closed loop.
        warmup: turns at the start of each caller that are left out of the figures.
        turns_per_call: turns after which a caller hangs up and calls again.
        seed: seed of the order of the questions.

    Raises:
        ConfigError: neither ``turns`` nor ``duration`` is given, the rate is not positive, or
            there are fewer turns than callers.
    """

    turns: int | None = 20
    duration: float | None = None
    callers: int = 1
    rate: float | None = None
    warmup: int = 1
    turns_per_call: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if self.turns is None and self.duration is None:
            raise ConfigError("the run has no end; give --turns or --duration")
        if self.rate is not None and self.rate <= 0:
            raise ConfigError("--rate must be more than zero turns per minute")
        if self.turns is not None and self.turns < self.callers:
            raise ConfigError(
                f"{self.turns} turns are not enough for {self.callers} calls; raise --turns"
            )

    def turns_of(self, caller: int, questions: int) -> Iterator[PlannedTurn]:
        """Yield the turns of one caller, in order.

        Args:
            caller: index of the caller, from 0.
            questions: number of questions to choose from.
        """
        for place in range(self.warmup):
            yield self._turn(place + 1, place, caller, questions, warmup=True)
        for place in itertools.count():
            index = place * self.callers + caller
            if self.turns is not None and index >= self.turns:
                return
            yield self._turn(index + 1, self.warmup + place, caller, questions, warmup=False)

    def _turn(
        self, number: int, place: int, caller: int, questions: int, *, warmup: bool
    ) -> PlannedTurn:
        """``place`` is the index of the turn among those of the caller, from 0."""
        slot = place * self.callers + caller
        due = None if self.rate is None else slot * 60 / self.rate
        return PlannedTurn(number, self._question(slot, questions), due, warmup)

    def _question(self, slot: int, questions: int) -> int:
        """Index of the question: every question once per round, in a new random order."""
        lap, place = divmod(slot, questions)
        order = list(range(questions))
        random.Random(f"{self.seed} {lap}").shuffle(order)
        return order[place]
